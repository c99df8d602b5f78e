# SPDX-License-Identifier: GPL-2.0-only
"""Where a job runs: the slot, and the machine that the slot is of. An engine says it, whatever runs inside reads it."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    """Where a job runs. ``slot``: "trial 2", "" outside of slots; ``worker``: name of the machine, "" for this host."""

    slot: str = ""
    worker: str = ""

    @property
    def ahead(self) -> bool:
        """Whether it is a build that nobody needs yet."""
        return self.slot.startswith("ahead")


NOWHERE = Work()
_HERE = ContextVar("_HERE", default=NOWHERE)


def here() -> Work:
    """Where the calling job runs."""
    return _HERE.get()


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Meanwhile what this thread runs, runs there."""
    before = _HERE.set(work)
    try:
        yield
    finally:
        _HERE.reset(before)


@dataclass(eq=False)
class SlotNumbers:
    """Numbers the slots of one kind, from 1; the lowest free number is given first."""

    _free: list[int] = field(default_factory=list)
    _most: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def taken(self) -> Iterator[int]:
        """A number that nobody else has meanwhile."""
        with self._lock:
            if not self._free:
                self._most += 1
                heapq.heappush(self._free, self._most)
            number = heapq.heappop(self._free)
        try:
            yield number
        finally:
            with self._lock:
                heapq.heappush(self._free, number)
