# SPDX-License-Identifier: GPL-2.0-only
"""Plain I/O on a device or a file of the VM, operation by operation."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from dataclasses import replace

from .outcome import Again, Outcome
from .plan import Io

PAGE = mmap.PAGESIZE
RANGES = {"discard": 0x1277, "write_zeroes": 0x127F}
"""BLKDISCARD and BLKZEROOUT, which take a begin and a length (include/uapi/linux/fs.h)."""


def device_io(path: str, io: Io, again: Again = lambda: False, *, makes: bool = False) -> Outcome:
    """Do ``io`` on ``path`` once, and over and over as long as ``again`` says.

    Each buffer starts ``buffer_offset`` bytes past a page boundary: an mmap is page-aligned, a bytearray is not.
    ``errno`` is the first one seen; a short transfer counts as failed and is named in ``detail``.

    ``makes``: a write makes the file where there is none.
    """
    if io.operation in RANGES:
        return _ranges(path, io, again)
    reading = io.operation == "read"
    flags = os.O_RDONLY if reading else os.O_WRONLY | (os.O_CREAT if makes else 0)
    flags |= os.O_CLOEXEC | (os.O_DIRECT if io.direct else 0) | (os.O_SYNC if io.sync else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        return Outcome(errno=errno_name(error), failed=1, detail=f"open {path}: {error.strerror}")
    seen = Outcome()
    buffers = _buffers(io)
    for index, buffer in enumerate([] if reading else buffers):
        buffer[:] = pattern(io.block)[index * len(buffer) : (index + 1) * len(buffer)]
    while True:
        for index in range(io.count):
            seen = _transfer(seen, descriptor, buffers, io.offset + index * io.block, reading)
        if not again():
            break
    return _flushed(seen, descriptor, flush=io.flush and not reading)


def _buffers(io: Io) -> list[memoryview]:
    """Memory for one operation: parts of one size, with a page between them, so that none goes on where one ends."""
    count = io.vectors or 1
    size = io.block // count
    stride = -(-(size + io.buffer_offset) // PAGE) * PAGE + PAGE
    memory = memoryview(mmap.mmap(-1, count * stride))
    begins = [index * stride + io.buffer_offset for index in range(count)]
    return [memory[begin : begin + size] for begin in begins]


def _ranges(path: str, io: Io, again: Again) -> Outcome:
    """What moves no data: the device does it on a range."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        return Outcome(errno=errno_name(error), failed=1, detail=f"open {path}: {error.strerror}")
    seen = Outcome()
    while True:
        for index in range(io.count):
            begin = io.offset + index * io.block
            try:
                fcntl.ioctl(descriptor, RANGES[io.operation], struct.pack("=QQ", begin, io.block))
            except OSError as error:
                seen = _failed(seen, error, f"at {begin}: {error.strerror}")
            else:
                seen = replace(seen, count=seen.count + 1)
        if not again():
            break
    os.close(descriptor)
    return seen


def _failed(seen: Outcome, error: OSError, where: str) -> Outcome:
    """With one more error; the first one is named."""
    named = seen.errno or errno_name(error)
    return replace(seen, failed=seen.failed + 1, errno=named, detail=seen.detail or where)


def _transfer(seen: Outcome, descriptor: int, buffers: list[memoryview], offset: int, reading: bool) -> Outcome:
    try:
        moved = os.preadv(descriptor, buffers, offset) if reading else os.pwritev(descriptor, buffers, offset)
    except OSError as error:
        return _failed(seen, error, f"at {offset}: {error.strerror}")
    wanted = sum(map(len, buffers))
    if moved == wanted:
        return replace(seen, count=seen.count + 1)
    short = seen.detail or f"at {offset}: {moved} of {wanted} bytes"
    return replace(seen, failed=seen.failed + 1, detail=short)


def _flushed(seen: Outcome, descriptor: int, *, flush: bool) -> Outcome:
    try:
        if flush:
            os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        return _failed(seen, error, f"flush: {error.strerror}")
    return seen


def pattern(size: int) -> bytes:
    """Bytes that are not zero and differ from one 8-byte word to the next."""
    words = (size + 7) // 8
    return b"".join((0xB15EC70200000000 + index).to_bytes(8, "big") for index in range(words))[:size]


def errno_name(error: OSError) -> str:
    """``EINVAL`` for an OSError."""
    return errno.errorcode.get(error.errno or 0, f"E{error.errno}")
