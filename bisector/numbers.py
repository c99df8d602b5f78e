# SPDX-License-Identifier: GPL-2.0-only
"""What both ends of a search gave of a number that its recipe compares with the good end's, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Numbers:
    """One number of both ends, measured before anything was judged by it.

    Args:
        fact, where, name: which one, as the recipe's fact says: ``value``, a step, a name.
        good, bad: what the trials gave, in the order in which they were drawn.
        limits: (comparison as the recipe has it, as it judges a trial): ``('< 0.8 × good', '< 412.5')``.
        good_median: of ``good``.
        bad_median: of ``bad``; None where that end gave too few.
        ratio: the bad end's number as a part of the good end's, with its interval of 95 %; None as above.
    """

    fact: str
    where: str
    name: str
    good: tuple[float, ...]
    bad: tuple[float, ...]
    limits: tuple[tuple[str, str], ...]
    good_median: float
    bad_median: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def label(self) -> str:
        """Which number it is, for people."""
        return f"{self.where}: {self.name}" if self.name else f"{self.fact} of {self.where}"

    @property
    def differ(self) -> str:
        """What the ends gave, in words."""
        good = f"{self.label} is {self.good_median:.4g} at the good end (median of {len(self.good)})"
        if self.bad_median is None:
            return good
        bad = f"{good} and {self.bad_median:.4g} at the bad one"
        if self.ratio is None or self.ratio_low is None or self.ratio_high is None:
            return bad
        return f"{bad}: {self.ratio:.3f} × good (95 % interval {self.ratio_low:.3f} to {self.ratio_high:.3f})"

    @property
    def summary(self) -> str:
        """The same with what makes a trial bad."""
        return f"{self.differ}; a trial is bad at {' or '.join(limit for _, limit in self.limits)}"
