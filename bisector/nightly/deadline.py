# SPDX-License-Identifier: GPL-2.0-only
"""The deadline of a night: it ends when its budget of time is spent, or that of machine time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bisector.execute.work import Work
from bisector.interfaces import Listener, Phase, Progress
from bisector.session import Session

SPENT = "the night's budget of time is spent"
LOOK = 5.0
"""Seconds between two looks at the budgets while nothing is heard of what works: a tree travels, or is checked out."""
MACHINE_SPENT = "the night's budget of machine time is spent"

Clock = Callable[[], float]
"""Seconds of a clock that is never set (time.monotonic). What the time of day does says nothing of how long we worked:
a host without a battery wakes up years behind."""


@dataclass(frozen=True)
class Spent:
    """Seconds: ``wall`` as they pass, ``machine`` of each slot that built or ran a trial, added up."""

    wall: float = 0.0
    machine: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.machine + other.machine)


class Deadline:
    """Stops everything once a budget is spent: it is looked at each time that something is heard of builds and trials,
    and every few seconds (``watched``).

    Args:
        session: what works until then; its events pass through here.
        budget: of one night, over all calls that it takes; no end to machine time where it is 0.
        clock: a steady one.
        used: what earlier calls of the night have spent of it.
        before: what earlier calls of the night took in all.
    """

    def __init__(
        self, session: Session, budget: Spent, clock: Clock, used: Spent = Spent(), before: Spent = Spent()
    ) -> None:
        self.spent = ""
        """Which budget is spent, as a sentence; "" while there is time."""
        self._cancel, self._clock, self._budget = session.cancel, clock, budget
        self._earlier, self._before = used, before
        self._began = clock()
        self._lock = threading.Lock()
        self._machine = 0.0  # of work that has ended
        self._at_work: dict[Work, float] = {}  # since when
        self._inner: Listener = session.setting.listener
        session.setting = replace(session.setting, listener=self._listen)

    @property
    def used(self) -> Spent:
        """What this night has spent of its budget, in earlier calls too; nothing once one of them was used up."""
        return Spent() if self.spent else self._earlier + self._taken()

    @property
    def taken(self) -> Spent:
        """What this night took, in earlier calls too."""
        return self._before + self._taken()

    def _taken(self) -> Spent:
        with self._lock:
            now = self._clock()
            return Spent(now - self._began, self._machine + sum(now - since for since in self._at_work.values()))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Meanwhile the budgets are looked at also while nothing is heard."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), name="deadline", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK):
            self._look()

    def _listen(self, progress: Progress) -> None:
        self._count(progress)
        self._inner(progress)
        self._look()

    def _look(self) -> None:
        if not self.spent and not self._cancel.cancelled() and (spent := self._which()):
            self.spent = spent
            self._cancel.cancel()

    def _count(self, progress: Progress) -> None:
        if progress.work is None:
            return
        with self._lock:
            now = self._clock()
            since = self._at_work.setdefault(progress.work, now)
            if progress.phase is Phase.FREE:
                self._machine += now - since
                del self._at_work[progress.work]

    def _which(self) -> str:
        used = self._earlier + self._taken()
        if used.wall >= self._budget.wall:
            return SPENT
        return MACHINE_SPENT if 0 < self._budget.machine <= used.machine else ""
