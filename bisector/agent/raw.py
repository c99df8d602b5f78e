# SPDX-License-Identifier: GPL-2.0-only
"""One block of a device or a file, read and written past the page cache; through it where a file wants that."""

from __future__ import annotations

import mmap
import os

from .blocks import BLOCK
from .command import Halt


def read_block(path: str, offset: int) -> bytes:
    """The 4096 bytes at ``offset``. Raises OSError, and Halt(step) for a short read."""
    memory = mmap.mmap(-1, BLOCK)
    node = _open(path, os.O_RDONLY)
    try:
        if os.preadv(node, [memory], offset) != BLOCK:
            raise Halt("step", f"a short read of {path} at {offset}")
    finally:
        os.close(node)
    return memory[:]


def write_block(path: str, offset: int, data: bytes) -> None:
    """Write 4096 bytes at ``offset``; a page cache forgets what it held there.

    Raises OSError, and Halt(step) for a short write.
    """
    memory = mmap.mmap(-1, BLOCK)
    memory[:] = data
    node = _open(path, os.O_WRONLY)
    try:
        if os.pwrite(node, memory, offset) != BLOCK:
            raise Halt("step", f"a short write to {path} at {offset}")
        os.fsync(node)
    finally:
        os.close(node)


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return os.open(path, flags | os.O_CLOEXEC)
