# SPDX-License-Identifier: GPL-2.0-only
"""Notes in the store what slots did that no trial records: builds, control boots, and work that was broken off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bisector.execute.work import Work
from bisector.interfaces import Listener, Phase, Progress
from bisector.stage import Stage
from bisector.store import Store, WorkRow

BUILDING = frozenset((Phase.CHECKOUT, Phase.DOWNLOAD, Phase.UNPACK, Phase.BUILD))
RUNNING = frozenset((Phase.BOOT, Phase.STORAGE, Phase.WORKLOAD))


class WorkLog:
    """Hears the events of one campaign's slots, from any thread.

    A build that was in the cache reports nothing, and took no time.

    Args:
        clock: gives seconds since 1970.
    """

    def __init__(self, store: Store, campaign: str, clock: Callable[[], float] = time.time) -> None:
        self._store, self._campaign, self._clock = store, campaign, clock
        self._lock = threading.Lock()
        self._begun: dict[Work, tuple[Progress, float]] = {}

    def listen(self, progress: Progress) -> None:
        """A listener. Raises InfraError where the store cannot be written."""
        if progress.work is None:
            return
        with self._lock:
            if progress.phase in BUILDING | RUNNING:
                self._begun.setdefault(progress.work, (progress, self._clock()))
            begun = self._begun.pop(progress.work, None) if progress.phase is Phase.FREE else None
        if begun and (row := self._row(*begun, progress)):
            self._store.add_work(self._campaign, row)

    def beside(self, listener: Listener) -> Listener:
        """A listener that calls both."""

        def both(progress: Progress) -> None:
            self.listen(progress)
            listener(progress)

        return both

    def _row(self, first: Progress, began: float, last: Progress) -> WorkRow | None:
        assert last.work is not None
        building, control = first.phase in BUILDING, first.stage == Stage.CONTROL
        if not building and last.detail != "stopped" and not control:
            return None  # a trial, which the store has
        label = first.candidate if building else ", ".join(filter(None, (first.candidate, first.stage)))
        kind = "build" if building else "control boot" if control else "trial"
        return WorkRow(kind, label, last.work.slot, last.work.worker, began, self._clock(), last.detail)
