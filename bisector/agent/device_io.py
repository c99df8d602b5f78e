# SPDX-License-Identifier: GPL-2.0-only
"""Plain I/O on a device or a file of the VM, operation by operation."""

from __future__ import annotations

import errno
import mmap
import os
from dataclasses import replace

from .outcome import Again, Outcome
from .plan import Io

PAGE = mmap.PAGESIZE


def device_io(path: str, io: Io, again: Again = lambda: False) -> Outcome:
    """Do ``io`` on ``path`` once, and over and over as long as ``again`` says.

    The buffer starts ``buffer_offset`` bytes past a page boundary: an mmap is page-aligned, a bytearray is not.
    ``errno`` is the first one seen; a short transfer counts as failed and is named in ``detail``.
    """
    reading = io.operation == "read"
    flags = (os.O_RDONLY if reading else os.O_WRONLY) | os.O_CLOEXEC | (os.O_DIRECT if io.direct else 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        return Outcome(errno=errno_name(error), failed=1, detail=f"open {path}: {error.strerror}")
    seen = Outcome()
    memory = mmap.mmap(-1, io.block + io.buffer_offset + PAGE)
    buffer = memoryview(memory)[io.buffer_offset : io.buffer_offset + io.block]
    if not reading:
        buffer[:] = pattern(io.block)
    while True:
        for index in range(io.count):
            seen = _transfer(seen, descriptor, buffer, io.offset + index * io.block, reading)
        if not again():
            break
    return _flushed(seen, descriptor, flush=io.flush and not reading)


def _transfer(seen: Outcome, descriptor: int, buffer: memoryview, offset: int, reading: bool) -> Outcome:
    try:
        moved = os.preadv(descriptor, [buffer], offset) if reading else os.pwritev(descriptor, [buffer], offset)
    except OSError as error:
        where = seen.detail or f"at {offset}: {error.strerror}"
        return replace(seen, failed=seen.failed + 1, errno=seen.errno or errno_name(error), detail=where)
    if moved == len(buffer):
        return replace(seen, count=seen.count + 1)
    short = seen.detail or f"at {offset}: {moved} of {len(buffer)} bytes"
    return replace(seen, failed=seen.failed + 1, detail=short)


def _flushed(seen: Outcome, descriptor: int, *, flush: bool) -> Outcome:
    try:
        if flush:
            os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        where = seen.detail or f"flush: {error.strerror}"
        return replace(seen, failed=seen.failed + 1, errno=seen.errno or errno_name(error), detail=where)
    return seen


def pattern(size: int) -> bytes:
    """Bytes that are not zero and differ from one 8-byte word to the next."""
    words = (size + 7) // 8
    return b"".join((0xB15EC70200000000 + index).to_bytes(8, "big") for index in range(words))[:size]


def errno_name(error: OSError) -> str:
    """``EINVAL`` for an OSError."""
    return errno.errorcode.get(error.errno or 0, f"E{error.errno}")
