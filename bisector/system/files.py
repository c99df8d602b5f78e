# SPDX-License-Identifier: GPL-2.0-only
"""Files read whole (those that a person names, within a limit and never waited for) and written whole."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from pathlib import Path

from bisector.errors import InfraError

CHUNK = 1 << 20
GZIP = b"\x1f\x8b"


class ReadError(Exception):
    """A file that was named cannot be used; the text says why, in words that go on after the file's name."""


def read_named(path: Path, limit: int) -> bytes:
    """The content of a file that somebody named.

    Args:
        limit: bytes; a file that is larger is not read.

    Raises ReadError for what is not there or not to be read, for what is larger, and for whatever is not a regular
    file: a FIFO or a terminal would be waited for, a device may have no end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: that alone makes some devices act
            raise ReadError("is a folder" if path.is_dir() else "is not a regular file")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ReadError("is not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise ReadError(f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:  # a NUL byte in its name
        raise ReadError(f"cannot be read: {error}") from error
    if len(data) > limit:
        raise ReadError(f"is larger than {_size(limit)}")
    return data


def unzipped(data: bytes, limit: int) -> bytes:
    """What a gzip file holds, or ``data`` itself when it is none. No more than ``limit`` bytes are ever expanded.

    Raises ReadError for one that is damaged, cut short, or holds more.
    """
    if not data.startswith(GZIP):
        return data
    found = bytearray()
    rest = data
    try:
        while rest.startswith(GZIP):
            inflating = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            found += inflating.decompress(rest, limit + 1 - len(found))
            if len(found) > limit:
                raise ReadError(f"holds more than {_size(limit)}")
            if not inflating.eof:
                raise ReadError("cannot be read: it is cut short")
            rest = inflating.unused_data
    except zlib.error as error:
        raise ReadError("cannot be read: it is damaged") from error
    return bytes(found)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one, and so that nobody reads half of it.

    Half of a surrogate pair, which no UTF-8 has, becomes a question mark. Raises InfraError.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode(errors="replace") if isinstance(content, str) else content
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise InfraError(f"{path} cannot be written: {error.strerror or error}", hint="is the disk full?") from error


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
