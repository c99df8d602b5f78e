# SPDX-License-Identifier: GPL-2.0-only
"""What the slots do right now: a line of text for each that is busy. The terminal draws them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from bisector.execute.work import Work
from bisector.interfaces import Phase, Progress

LINES = 8
"""Lines that are drawn at most; the last one counts what has no line of its own."""

QUIET_SECONDS = 60.0
"""Without a terminal a live phase is shown only when it lasts, once in so many seconds."""


@dataclass(frozen=True)
class _SlotWork:
    """What one slot does. ``since``: when the phase began; ``shown``: when it was last shown without a terminal."""

    candidate: str
    progress: Progress
    since: float
    shown: float

    @property
    def phase(self) -> Phase:
        return self.progress.phase

    @property
    def percent(self) -> str:
        fraction = self.progress.fraction
        return f" {fraction:.0%}" if fraction is not None else ""


class BusySlots:
    """Takes in the events of builds and trials, from any thread. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doing: dict[Work | None, _SlotWork] = {}
        self._about = ""

    def begin(self, candidate: str) -> None:
        """A candidate's turn: what says no candidate of its own is about this one."""
        with self._lock:
            self._about = candidate

    def take(self, progress: Progress, now: float) -> str:
        """Take in an event of a phase that goes on; gives a line to show where nothing is drawn, "" for none yet."""
        with self._lock:
            known = self._doing.get(progress.work)
            candidate = progress.candidate or self._about
            if known is None or (known.phase, known.candidate) != (progress.phase, candidate):
                self._doing[progress.work] = _SlotWork(candidate, progress, now, now)
                return ""
            due = now - known.shown >= QUIET_SECONDS
            doing = _SlotWork(candidate, progress, known.since, now if due else known.shown)
            self._doing[progress.work] = doing
        place = f" on {progress.work.worker}" if progress.work and progress.work.worker else ""
        if not due or (progress.work and progress.work.ahead):
            return ""
        return f"{candidate}: {doing.phase}{doing.percent}{place}, {now - doing.since:.0f} s"

    def free(self, work: Work | None) -> None:
        """The slot has ended what it did; None: whatever ran outside of slots."""
        with self._lock:
            self._doing.pop(work, None)

    def lines(self, now: float, most: int = LINES) -> list[str]:
        """A line for each busy slot: candidate, phase, seconds, machine where it is another one. At most ``most``; the
        last is indented where it only says how many more there are."""
        with self._lock:
            busy = sorted(self._doing.items(), key=lambda item: _order(item[0]))
        drawn = busy if len(busy) <= most else busy[: most - 1]
        width = max((len(doing.candidate) for _, doing in drawn), default=0)
        lines = [_line(doing, work, width, now) for work, doing in drawn]
        return lines + ([f"  and {len(busy) - len(drawn)} more"] if len(busy) > len(drawn) else [])


def _line(doing: _SlotWork, work: Work | None, width: int, now: float) -> str:
    place = f" on {work.worker}" if work and work.worker else ""
    head = f"{doing.candidate}:".ljust(width + 1)
    phase = f"{doing.phase} ahead" if work and work.ahead else doing.phase
    return f"{head} {phase}{doing.percent} {now - doing.since:.0f} s{place} {doing.progress.detail}".rstrip()


def _order(work: Work | None) -> tuple[int, str, int]:
    """Builds, then trials, then what is built ahead; of these this host before others, by number."""
    slot, worker = (work.slot, work.worker) if work else ("", "")
    kind, _, number = slot.rpartition(" ")
    return {"": 0, "build": 0, "trial": 1}.get(kind, 2), worker, int(number) if number.isdecimal() else 0
