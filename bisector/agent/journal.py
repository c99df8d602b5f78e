# SPDX-License-Identifier: GPL-2.0-only
"""What was written to a file, what of it was acknowledged and flushed, and where it lies below. Pure.

The writer reports in lines, and who keeps the journal is outside the machine that writes, so that it survives a kill:

    B                           a writer begins; an earlier one that did not end is gone
    W FIRST COUNT GENERATION    these blocks are about to be written
    F                           all that this writer reported since the last F were acknowledged, and flushed after that
    X FIRST PLACE COUNT         these blocks of the file lie at block PLACE of the device below
"""

from __future__ import annotations

from collections.abc import Iterator

Run = tuple[int, int, int]  # first block, the block behind the last, generation


class Extent:
    """``count`` blocks of a file, from ``first``, lie at block ``place`` of the device below."""

    __slots__ = ("count", "first", "place")

    def __init__(self, first: int, place: int, count: int) -> None:
        self.first = first
        self.place = place
        self.count = count


class Journal:
    """The writes to one file. Only flushed ones are judged.

    ``pending`` are this writer's that may be there, or not, or half; ``abandoned`` those of writers before it, which
    no later flush makes any surer: they stay until the same blocks are written anew.
    """

    def __init__(self) -> None:
        self.flushed: list[Run] = []
        self.pending: list[Run] = []
        self.abandoned: list[Run] = []
        self.extents: list[Extent] = []

    def record(self, line: str) -> None:
        """Take a line of the writer's. Raises ValueError for one that is none."""
        kind, *words = line.split(" ")
        numbers = [int(word) for word in words]
        if kind == "B" and not numbers:
            self.abandoned += self.pending
            self.pending = []
        elif kind == "W" and len(numbers) == 3:
            self.pending.append((numbers[0], numbers[0] + numbers[1], numbers[2]))
        elif kind == "F" and not numbers:
            for run in self.pending:
                self.flushed = overlaid(self.flushed, run)
                self.abandoned = without(self.abandoned, run)
            self.pending = []
        elif kind == "X" and len(numbers) == 3:
            if numbers[0] == 0:
                self.extents = []  # reported anew
            self.extents.append(Extent(*numbers))
        else:
            raise ValueError(f"no line of a journal: {line!r}")

    def generation(self, block: int) -> int:
        """The generation in which ``block`` was flushed last, 0 when it never was."""
        return next((run[2] for run in self.flushed if run[0] <= block < run[1]), 0)

    def on_their_way(self, first: int, end: int) -> tuple[int, ...]:
        """Generations that were on their way to any of the blocks from ``first`` to before ``end``."""
        unsure = (*self.abandoned, *self.pending)
        return tuple(dict.fromkeys(run[2] for run in unsure if run[0] < end and first < run[1]))

    def latest(self) -> int:
        """The highest generation that was ever begun."""
        return max((run[2] for run in (*self.flushed, *self.abandoned, *self.pending)), default=0)

    def blocks(self) -> int:
        """How many blocks are judged."""
        return sum(end - first for first, end, _ in self.flushed)

    def runs(self, size: int) -> Iterator[Run]:
        """What is judged, in order, cut at multiples of ``size`` blocks."""
        for first, end, generation in self.flushed:
            while first < end:
                until = min(end, (first // size + 1) * size)
                yield first, until, generation
                first = until


def overlaid(runs: list[Run], new: Run) -> list[Run]:
    """``runs`` with ``new`` laid over them: in order, without overlap, neighbours of one generation joined."""
    joined: list[Run] = []
    for run in sorted([*without(runs, new), new]):
        if joined and joined[-1][1] == run[0] and joined[-1][2] == run[2]:
            joined[-1] = (joined[-1][0], run[1], run[2])
        else:
            joined.append(run)
    return joined


def without(runs: list[Run], new: Run) -> list[Run]:
    """What of ``runs`` the blocks of ``new`` leave."""
    first, end, _ = new
    kept: list[Run] = []
    for a, b, g in runs:
        kept += [(a, min(b, first), g)] if a < first else []
        kept += [(max(a, end), b, g)] if b > end else []
    return kept


def placed(extents: list[Extent], first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Where the blocks from ``first`` to before ``end`` lie: runs of (block, place below, count), in order."""
    for extent in extents:
        a, b = max(first, extent.first), min(end, extent.first + extent.count)
        if a < b:
            yield a, extent.place + a - extent.first, b - a
