# SPDX-License-Identifier: GPL-2.0-only
"""The deadline of a night: it ends when its budget of time is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bisector.interfaces import Listener, Progress
from bisector.session import Session

SPENT = "the night's budget of time is spent"

Clock = Callable[[], float]
"""Seconds of a clock that is never set (time.monotonic). What the time of day does says nothing of how long we worked:
a host without a battery wakes up years behind."""


class Deadline:
    """Stops everything once the time is spent: builds and trials report that they live, and it is checked then.

    Args:
        session: what works until then; its events pass through here.
        seconds: of one night, over all calls that it takes.
        clock: a steady one.
        used: seconds that earlier calls of the night have spent.
    """

    def __init__(self, session: Session, seconds: float, clock: Clock, used: float = 0.0) -> None:
        self.spent = False
        self._cancel, self._clock, self._seconds = session.cancel, clock, seconds
        self._began = clock() - used
        self._inner: Listener = session.setting.listener
        session.setting = replace(session.setting, listener=self._listen)

    @property
    def used(self) -> float:
        """Seconds spent by this night, in earlier calls too."""
        return self._clock() - self._began

    def _listen(self, progress: Progress) -> None:
        self._inner(progress)
        if not self.spent and not self._cancel.cancelled() and self.used >= self._seconds:
            self.spent = True
            self._cancel.cancel()
