# SPDX-License-Identifier: GPL-2.0-only
"""Numbers relative to the good end: what both ends give → the limit at which a trial is bad. Pure.

A recipe's ``'< 0.8 × good'`` becomes a comparison with a number before anything is judged, by samples of both ends that
are used for nothing else. From then on a trial reproduces or is clean, as with any other condition, and what is decided
by trials stays as it is: whatever the limit, the trials after it are drawn alike from each candidate, and their rates
are learnt from fresh ones of the ends (docs/decisions/0030).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bisector.model import Condition, Fact, Observation, Question
from bisector.numbers import Numbers
from bisector.recipe.facts.comparison import Comparison, read_all, relative
from bisector.recipe.facts.number import NUMBERS
from bisector.verdict.signature import findings

SAMPLE = 9
"""Trials of each end that give the limit. An odd number, so that the median is one of them."""

ALPHA = 0.05
"""Chance that the interval of the ends' ratio does not hold the true one."""

REFUSED = 0.002
"""The same where the ends are called too alike: of ends that differ just as the recipe asks, one in a thousand is."""

ANY = ("< 0", ">= 0")
"""Holds of every number, so that only one that was not given is missing."""


@dataclass(frozen=True)
class Place:
    """Where a relative fact stands: the condition, and its index there."""

    condition: Condition
    index: int

    @property
    def fact(self) -> Fact:
        """The fact."""
        return self.condition.facts[self.index]

    def number(self, observation: Observation) -> float | None:
        """What one trial gave of it; None where it gave none."""
        return list(findings(self.condition, observation))[self.index].number


def places(question: Question) -> tuple[Place, ...]:
    """The relative facts of a question; () where no sample of the ends is needed."""
    return tuple(
        Place(condition, index)
        for condition in question.bad
        for index, fact in enumerate(condition.facts)
        if fact.kind in NUMBERS and relative(fact.values)
    )


def measuring(question: Question) -> Question:
    """What a trial is read by that only gives numbers: it is clean where it did its work and gave each of them."""
    relatives = {place.condition.name for place in places(question)}
    bad = tuple(condition for condition in question.bad if condition.name not in relatives)
    return replace(question, bad=bad, required=tuple(replace(fact, values=ANY) for fact in question.required))


def measured(place: Place, good: Sequence[float], bad: Sequence[float]) -> Numbers | None:
    """The numbers of both ends with the limits that they give; None where nothing is a part of the good end's number.

    Args:
        good: SAMPLE numbers of the good end.
        bad: as many of the bad end, or fewer where it gave no more: then nothing is learnt of them.
    """
    fact, middle = place.fact, median(good)
    if middle <= 0.0:
        return None
    found = Numbers(fact.kind.value, fact.where, fact.name, tuple(good), tuple(bad), (), middle)
    if len(bad) >= SAMPLE:
        found = replace(found, bad_median=median(bad))
        if min(*good, *bad) > 0.0:
            ratio, low, high = ratio_of(good, bad)
            found = replace(found, ratio=ratio, ratio_low=low, ratio_high=high)
    limits = tuple((str(one), str(limit(one, found))) for one in read_all(fact.values))
    return replace(found, limits=limits)


def limit(wanted: Comparison, found: Numbers) -> Comparison:
    """The comparison that judges a trial.

    It is the recipe's part of the good end's median. Where the bad end's own numbers lie near that limit, or not quite
    beyond it, many of its trials would be clean; then the limit is half way (in proportion) between both ends.
    """
    if not wanted.of_good:
        return wanted
    factor, ratio = wanted.number, found.ratio
    if ratio is not None and Comparison(wanted.sign, 1.0).holds(ratio):
        factor = (min if wanted.is_least else max)(factor, math.sqrt(ratio))
    return Comparison(wanted.sign, float(f"{factor * found.good_median:.6g}"))


def too_alike(found: Numbers, wanted: Sequence[str]) -> bool:
    """Whether the ends differ by less than the recipe asks for: the whole interval of their ratio says so, and not one
    number of the bad end is beyond the recipe's own limit."""
    if found.ratio is None:
        return False
    _, low, high = ratio_of(found.good, found.bad, REFUSED)
    for one in read_all(wanted):
        if not one.of_good:
            return False
        nearest = high if one.is_least else low
        own = Comparison(one.sign, one.number * found.good_median)
        if one.holds(nearest) or any(own.holds(number) for number in found.bad):
            return False
    return True


def resolved(question: Question, numbers: Sequence[Numbers]) -> Question:
    """The question with each relative comparison as one with a number."""
    known = {(one.fact, one.where, one.name, said): limit for one in numbers for said, limit in one.limits}

    def absolute(fact: Fact) -> Fact:
        if fact.kind not in NUMBERS:
            return fact
        key = fact.kind.value, fact.where, fact.name
        return replace(fact, values=tuple(known.get((*key, value), value) for value in fact.values))

    bad = tuple(replace(condition, facts=tuple(map(absolute, condition.facts))) for condition in question.bad)
    return replace(question, bad=bad, required=tuple(map(absolute, question.required)))


# ---- the ratio of two samples


def ratio_of(good: Sequence[float], bad: Sequence[float], error: float = ALPHA) -> tuple[float, float, float]:
    """How many times the good end's number the bad end's is: estimate, lower and upper end of its interval.

    The median of all pairs' ratios, and the interval that the rank test of Mann and Whitney (1947) gives: Hodges and
    Lehmann (1963). Nothing is assumed of how the numbers are spread, but that the bad end's are spread alike, times
    the ratio. All numbers are above 0; ``error``: chance that the interval does not hold the true ratio.
    """
    ratios = sorted(one / other for one in bad for other in good)
    cut = _quantile(len(good), len(bad), error / 2)
    return median(ratios), ratios[cut], ratios[-1 - cut]


def _quantile(n: int, m: int, error: float) -> int:
    """The critical value of Mann and Whitney's U: the largest u that alike samples fall to with chance ``error``."""
    whole, seen = math.comb(n + m, n), 0
    for u, count in enumerate(_ways(n, m)):
        seen += count
        if seen > error * whole:
            return u - 1
    raise ValueError("such small samples say nothing at that chance of error")


def _ways(n: int, m: int) -> Iterator[int]:
    """How many arrangements of n and m alike items have U = 0, 1, ... n m: coefficients of a Gaussian binomial."""
    counts = [1] + [0] * (n * m)
    for k in range(1, n + 1):
        for u in range(n * m, m + k - 1, -1):  # times 1 - x^(m + k)
            counts[u] -= counts[u - m - k]
        for u in range(k, n * m + 1):  # over 1 - x^k
            counts[u] += counts[u - k]
    yield from counts
