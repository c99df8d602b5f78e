# SPDX-License-Identifier: GPL-2.0-only
"""Locks that a kill -9 cannot leave behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bisector.errors import InfraError


@contextmanager
def locked(path: Path, *, busy: str = "") -> Iterator[None]:
    """Hold the lock ``path``. The kernel frees it with our death, however we die.

    Args:
        busy: when given, do not wait: raise InfraError with this sentence when another process holds the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InfraError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise InfraError(busy, hint="wait for it, or end it") from error
        yield
    finally:
        os.close(handle)
