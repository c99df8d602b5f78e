# SPDX-License-Identifier: GPL-2.0-only
"""Where time went, as lanes over time: one for each slot of each machine. Pure geometry.

Places across are per cent of the width, so that one drawing fits every screen; places down are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bisector.report.spans import Span, SpanKind

NARROW = 0.25  # per cent; a span is never drawn thinner
TITLE = 14  # pixels down to the first lane of a group
BELOW = 12  # pixels below a group
HIGH, LOW, LOWEST = 16, 10, 5  # pixels of the lane of a group that has one, some, or MANY
MANY = 24
OVERLAP = 0.5  # seconds that two spans of one lane may overlap: their ends were noted by different clocks


@dataclass(frozen=True)
class Bar:
    """A span on its lane, with what it says when pointed at."""

    x: float
    width: float
    y: int
    height: int
    kind: str
    said: str


@dataclass(frozen=True)
class Title:
    """What the lanes below it are."""

    y: int
    said: str


@dataclass(frozen=True)
class Timeline:
    """The drawing without its ticks, which stand below ``height``."""

    bars: tuple[Bar, ...] = ()
    titles: tuple[Title, ...] = ()
    height: int = 0


def timeline(spans: Sequence[Span]) -> Timeline:
    """The lanes: builds of this host, its trials with its control boots, then those of each other machine."""
    whole = length(spans)
    if not whole:
        return Timeline()
    bars: list[Bar] = []
    titles: list[Title] = []
    y = 0
    for worker in sorted({span.worker for span in spans} | {""}):
        for kinds in (SpanKind.BUILD,), (SpanKind.TRIAL, SpanKind.CONTROL):
            own = [span for span in spans if span.worker == worker and span.kind in kinds]
            if not own and worker:
                continue
            lanes = _lanes(own)
            count = max(1, len(set(lanes)))
            height = HIGH if count == 1 else LOW if count <= MANY else LOWEST
            gap = 0 if count == 1 else max(1, height // 5)
            there = {span.kind for span in own} or kinds[:1]
            titles.append(Title(y + 10, _title([kind for kind in kinds if kind in there], worker, count)))
            for span, lane in zip(own, lanes, strict=True):
                bars.append(_bar(span, whole, y + TITLE + lane * (height + gap), height))
            y += TITLE + count * (height + gap) + BELOW
    return Timeline(tuple(bars), tuple(titles), y)


def length(spans: Sequence[Span]) -> float:
    """Seconds from the campaign's begin to the last end."""
    return max((span.end for span in spans), default=0.0)


def _title(kinds: Iterable[SpanKind], worker: str, count: int) -> str:
    at_once = f", {count} at once" if count > 1 else ""
    return " and ".join(f"{kind}s" for kind in kinds) + (f" on {worker}" if worker else "") + at_once


def _lanes(spans: Sequence[Span]) -> list[int]:
    """The lane of each span, in the order of their begin: its slot's, else the first that is free."""
    slots = sorted({span.slot for span in spans if span.slot}, key=_natural)
    ends = [0.0] * len(slots)  # of what each lane held last
    found = []
    for span in spans:
        if span.slot:
            lane = slots.index(span.slot)
        else:
            lane = next((n for n, end in enumerate(ends) if end <= span.begin + OVERLAP), len(ends))
        if lane == len(ends):
            ends.append(0.0)
        ends[lane] = max(ends[lane], span.end)
        found.append(lane)
    return found


def _natural(slot: str) -> tuple[bool, str, int]:
    """What is built ahead below what is needed; slot 2 before slot 10."""
    name, _, number = slot.rpartition(" ")
    return name == "ahead", name, int(number) if number.isdecimal() else 0


def _bar(span: Span, whole: float, y: int, height: int) -> Bar:
    width = max(NARROW, 100 * (span.end - span.begin) / whole)
    x = min(100 - width, 100 * span.begin / whole)
    where = " on ".join(filter(None, (span.slot, span.worker)))
    parts = (f"{span.kind} {span.label}: {duration(span.end - span.begin)}", span.ended, where)
    kind = span.ended or span.kind.name.lower()
    return Bar(round(x, 3), round(width, 3), y, height, kind, ", ".join(filter(None, parts)))


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def ticks(whole: float) -> Iterable[tuple[float, str, str]]:
    """(per cent, text, which end of the text stands there) below the lanes."""
    return (
        (0.0, "0", "start"),
        (50.0, duration(whole / 2), "middle"),
        (100.0, duration(whole), "end"),
    )
