# SPDX-License-Identifier: GPL-2.0-only
"""A night's budget of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bisector.seams import Listener, Progress
from bisector.workbench import Workbench

SPENT = "the night's budget of time is spent"

Clock = Callable[[], float]
"""Seconds since 1970."""


class Budget:
    """Wishes everything to stop once the time is spent: builds and trials tell that they live, and are asked then.

    Args:
        bench: what works within the budget; what it tells passes through here.
        seconds: from now on.
    """

    def __init__(self, bench: Workbench, seconds: float, clock: Clock) -> None:
        self.spent = False
        self._cancel, self._clock, self._end = bench.cancel, clock, clock() + seconds
        self._inner: Listener = bench.setting.listener
        bench.setting = replace(bench.setting, listener=self._listen)

    def _listen(self, progress: Progress) -> None:
        self._inner(progress)
        if not self.spent and not self._cancel.cancelled() and self._clock() >= self._end:
            self.spent = True
            self._cancel.cancel()
