# SPDX-License-Identifier: GPL-2.0-only
"""Locks: ours, which a kill -9 cannot leave behind, and the removal of git's, which it can."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bisector.errors import InfraError

PATIENCE = 10.0  # seconds that a killed campaign's last git may take to die
TICK = 0.1


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


def clear_stale(locks: Iterable[Path]) -> None:
    """Remove git's lock files whose owners are dead. The caller holds our lock over what they guard.

    git keeps its lock file open while it lives, so a lock that no process has open has no owner.
    Raises InfraError when one is still owned after 10 s.
    """
    present = [path for path in locks if path.exists()]
    end = time.monotonic() + PATIENCE
    while present and (owners := _owners(present)):
        if time.monotonic() > end:
            path, pid = owners[0]
            raise InfraError(f"{path} belongs to process {pid}, which still runs", hint=f"kill {pid}")
        time.sleep(TICK)
    for path in present:
        path.unlink(missing_ok=True)


def _owners(paths: list[Path]) -> list[tuple[Path, int]]:
    wanted = {(status.st_dev, status.st_ino): path for path in paths if (status := _status(path))}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            handles = list((entry / "fd").iterdir())
        except OSError:  # it ended, or it is another user's, who cannot write into our folder
            continue
        for handle in handles:
            status = _status(handle)
            if status and (path := wanted.get((status.st_dev, status.st_ino))):
                found.append((path, int(entry.name)))
    return found


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
