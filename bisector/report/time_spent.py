# SPDX-License-Identifier: GPL-2.0-only
"""Where a campaign's time went, in figures and in one line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bisector.report.spans import STOPPED, Span, SpanKind
from bisector.report.timeline import duration

Interval = tuple[float, float]
Run = tuple[float, float | None]
"""When a command began to work on the campaign, and when it ended: None where it was killed, or works still."""

BESIDE = 1.01
"""Machine time over wall time from which on it is said that work ran beside other work: ends are noted by two clocks"""


@dataclass(frozen=True)
class Share:
    """So many builds, trials or control boots.

    ``count``: without what was broken off, and without trials that were not needed; ``wall``: seconds in which at
    least one ran, and ``machine``: the sum of their seconds, with those.
    """

    count: int = 0
    wall: float = 0.0
    machine: float = 0.0


@dataclass(frozen=True)
class TimeSpent:
    """``seconds``: while a command worked on the campaign, without the pauses between an interruption and --resume.

    They are ``builds.wall`` + ``trials.wall`` + ``controls.wall`` - ``both`` + ``rest``.

    Args:
        both: seconds in which two kinds of work ran beside each other; twice those in which three did.
        rest: seconds in which none ran.
        ahead: builds among ``builds`` that were made before they were needed.
        saved: builds that were not made, as an image of equal inputs was there.
        controls: boots of a kernel that should boot, beside one that did not.
        unneeded: trials that ran ahead and that no decision has looked at.
        stopped: work of any kind that was broken off.
    """

    seconds: float
    builds: Share
    trials: Share
    both: float
    rest: float
    ahead: int = 0
    saved: int = 0
    controls: Share = Share()
    unneeded: int = 0
    stopped: int = 0


def time_spent(spans: Sequence[Span], runs: Sequence[Run] = (), *, saved: int = 0) -> TimeSpent | None:
    """The figures; None where nothing took time.

    Args:
        runs: in order, in seconds since the campaign began; none: one run, from its begin to the last end.
        saved: as of ``TimeSpent``.
    """
    if not spans:
        return None
    worked = [(span.begin, span.end) for span in spans]
    open_from = _intervals(runs, worked) if runs else [(0.0, max(end for _, end in worked))]
    builds, trials, controls = (_share(spans, kind) for kind in SpanKind)
    busy, whole = length(worked), length([*open_from, *worked])
    both = max(0.0, builds.wall + trials.wall + controls.wall - busy)
    return TimeSpent(
        whole,
        builds,
        trials,
        both,
        whole - busy,
        ahead=sum(_counts(span, SpanKind.BUILD) and span.slot.startswith("ahead") for span in spans),
        saved=saved,
        controls=controls,
        unneeded=sum(not span.needed for span in spans),
        stopped=sum(span.ended == STOPPED for span in spans),
    )


def line(spent: TimeSpent) -> str:
    """One line for people."""
    shares = zip(SpanKind, (spent.builds, spent.trials, spent.controls), strict=True)
    parts = [_said(share, kind) for kind, share in shares if share.count or share.machine]
    if spent.both >= 1:
        parts.append(f"of these {duration(spent.both)} one kind beside another")
    parts.append(f"rest {duration(spent.rest)}")
    others = [f"{_counted(spent.saved, 'build')} saved by equal inputs"] if spent.saved else []
    others += [f"{spent.ahead if others else _counted(spent.ahead, 'build')} made ahead"] if spent.ahead else []
    others += [f"{_counted(spent.unneeded, 'trial')} not needed"] if spent.unneeded else []
    others += [f"{spent.stopped} broken off"] if spent.stopped else []
    return "; ".join(filter(None, (f"{duration(spent.seconds)}: {', '.join(parts)}", ", ".join(others))))


def length(intervals: Iterable[Interval]) -> float:
    """Seconds that lie in at least one of the intervals."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def _intervals(runs: Sequence[Run], worked: Sequence[Interval]) -> list[Interval]:
    """Runs with their ends: one that was killed reaches to the last end of its work."""
    found: list[Interval] = []
    for number, (begin, ended) in enumerate(runs):
        following = runs[number + 1][0] if number + 1 < len(runs) else float("inf")
        last = max((end for _, end in worked if begin <= end <= following), default=begin)
        found.append((begin, last if ended is None else ended))
    return found


def _share(spans: Sequence[Span], kind: SpanKind) -> Share:
    own = [(span.begin, span.end) for span in spans if span.kind is kind]
    count = sum(_counts(span, kind) for span in spans)
    return Share(count, length(own), sum(end - begin for begin, end in own))


def _counts(span: Span, kind: SpanKind) -> bool:
    return span.kind is kind and span.needed and span.ended != STOPPED


def _said(share: Share, word: str) -> str:
    beside = f" (machine time {duration(share.machine)})" if share.machine > BESIDE * share.wall + 1 else ""
    return f"{_counted(share.count, word)} {duration(share.wall)}{beside}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)
