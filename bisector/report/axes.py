# SPDX-License-Identifier: GPL-2.0-only
"""Which axis of a matrix a verdict turns on: cells that differ in that axis alone, side by side. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bisector.model import Verdict

Decided = (Verdict.GOOD, Verdict.BAD)


@dataclass(frozen=True)
class Point:
    """One cell: its overrides, its verdict (None where there is none), its outcome by condition name."""

    overrides: tuple[tuple[str, str], ...]
    verdict: Verdict | None
    outcome: str


@dataclass(frozen=True)
class Axis:
    """What one axis does. ``flips`` and ``compared``: pairs of cells that differ in it alone.

    ``verdicts``: for each value what its cells answered: a verdict, "mixed", or "-" where none was decided.
    """

    path: str
    verdicts: tuple[tuple[str, str], ...]
    flips: int
    compared: int
    other_outcomes: int  # pairs with the same verdict and another outcome

    @property
    def alone(self) -> bool:
        """Whether this axis decides by itself: no value has cells of both verdicts."""
        return self.flips > 0 and all(verdict != "mixed" for _, verdict in self.verdicts)


def axes(points: Sequence[Point]) -> tuple[Axis, ...]:
    """The axes of a matrix, in its order. Cells without a verdict are compared with none."""
    paths = list(dict.fromkeys(path for point in points for path, _ in point.overrides))
    return tuple(_axis(path, points) for path in paths)


def as_text(points: Sequence[Point]) -> list[str]:
    """Lines for people: the axes that the verdict turns on first, then those that change the outcome, then the rest."""
    found = [axis for axis in axes(points) if len(axis.verdicts) > 1 and axis.compared]
    lines = []
    for axis in sorted(found, key=lambda axis: -axis.flips):
        if axis.flips:
            only = "by itself" if axis.alone else f"in {axis.flips} of {axis.compared} pairs"
            lines.append(f"the verdict turns on {axis.path} ({only}): {_by_value(axis)}")
        elif axis.other_outcomes:
            lines.append(f"the outcome changes with {axis.path}, the verdict does not")
        else:
            lines.append(f"nothing changes with {axis.path}")
    return lines


def short(value: str) -> str:
    """A value of an axis in few words: of a layer its kind and type, ``lvm raid1``."""
    try:
        read = json.loads(value)
    except ValueError:
        return value
    if not isinstance(read, dict) or not read:
        return value
    kind, what = next(iter(read.items()))
    return f"{kind} {what}"


def _axis(path: str, points: Sequence[Point]) -> Axis:
    flips = compared = other = 0
    for one, two in _pairs(path, points):
        compared += 1
        flips += one.verdict is not two.verdict
        other += one.verdict is two.verdict and one.outcome != two.outcome
    values = dict.fromkeys(dict(point.overrides).get(path, "") for point in points)
    return Axis(path, tuple((value, _verdict(path, value, points)) for value in values), flips, compared, other)


def _pairs(path: str, points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Decided cells that differ in ``path`` alone."""
    decided = [point for point in points if point.verdict in Decided]
    for index, one in enumerate(decided):
        for two in decided[index + 1 :]:
            differ = [
                key for (key, mine), (_, other) in zip(one.overrides, two.overrides, strict=True) if mine != other
            ]
            if differ == [path]:
                yield one, two


def _verdict(path: str, value: str, points: Sequence[Point]) -> str:
    said = {point.verdict for point in points if dict(point.overrides).get(path) == value and point.verdict in Decided}
    return "mixed" if len(said) > 1 else next((str(verdict) for verdict in said), "-")


def _by_value(axis: Axis) -> str:
    values = [value for value, _ in axis.verdicts]
    names = [short(value) for value in values]
    shown = names if len(set(names)) == len(names) else values
    return ", ".join(f"{name} {verdict}" for name, (_, verdict) in zip(shown, axis.verdicts, strict=True))
