# SPDX-License-Identifier: GPL-2.0-only
"""Whether failures hide the bug, so that a candidate looks good by what is left of its trials. Pure.

Other failures may: a second bug that crashes just the trials that would have reproduced. So may failures of the harness
(law 7): a bug that aborts QEMU, or garbles what a trial reports, shows as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

FEW = 3
"""Fewer failures of one kind than this hide nothing worth a doubt."""

APART = math.log(10.0)
"""Odds at which the harness is taken to fail more often at one side of the known candidates than at the other."""

STEPS = 36  # thirds of [0, 1]: the place of the top to 5e-7, its height to far less

SPREAD, POINTS = 4.0, 16
"""The rate is spread over so many standard deviations of its logarithm to either side, in so many points."""

KEPT = 1 << 12
"""Answers that are kept: a decision needs the same ones again and again."""


@lru_cache(KEPT)
def hidden_odds(other: int, clean: int, known: tuple[int, int], least: float) -> float:
    """Logarithm of how much better "bad, but hidden" explains a candidate than "good" does.

    Args:
        other, clean: its trials; none of them reproduced.
        known: (other failures, all trials) of candidates known to be bad.
        least: rate that hidden reproductions have at least; an estimate of the rate itself may be too high.

    A likelihood ratio, each side at its best. Good: other failures have one rate w everywhere. Hidden: here they have
    w + (1 - w) × h, with h not below ``least``.
    """
    if other < FEW:
        return -math.inf
    known_other, known_all = known
    usual, here = known_other / max(1, known_all), other / (other + clean)

    def likelihood(w: float, h: float) -> float:
        return _log(known_other, w) + _log(known_all - known_other, 1 - w) + _log(other, h) + _log(clean, 1 - h)

    common = (known_other + other) / (known_all + other + clean)
    if here >= usual + (1.0 - usual) * least:
        hidden = likelihood(usual, here)
    else:
        hidden = _highest(lambda w: likelihood(w, w + (1.0 - w) * least))
    return hidden - likelihood(common, common)


Sample = tuple[int, int]
"""(trials that failed, all trials)."""


@lru_cache(KEPT)
def spread_odds(here: Sample, known: Sample, rate: Sample) -> float:
    """Logarithm of how much better "bad, but hidden" explains a candidate's failures than "good" does.

    Args:
        here: the candidate's trials; none of them reproduced.
        known: those of candidates where nothing is hidden.
        rate: (reproduced, trials) of candidates known to be bad.

    A Bayes factor (Jeffreys, 1935) over what hidden reproductions may have as a rate, Beta(r, n - r + 1) as the next
    bad candidate's; the usual rate of failures is at its best on either side. So doubt about the rate counts as far as
    it is likely, where ``hidden_odds`` takes the lowest rate there can be. Fewer than FEW failures
    never speak for hiding.
    """
    r, n = rate
    top, width = math.log(r / n), SPREAD / math.sqrt(r)
    highest = min(top + width, -0.5 * width / POINTS)
    points = [top - width + (highest - top + width) * (k + 0.5) / POINTS for k in range(POINTS)]
    weights = [r * x + _log(n - r, 1.0 - math.exp(x)) for x in points]
    values = [weight + _hidden_fit(here, known, math.exp(x)) for x, weight in zip(points, weights, strict=True)]
    common = _rate(both(known, here))
    odds = _log_sum(values) - _log_sum(weights) - _fit(known, common) - _fit(here, common)
    return odds if here[0] >= FEW else min(0.0, odds)


def _hidden_fit(here: Sample, known: Sample, h: float) -> float:
    """The best likelihood where failures have a rate w at the known candidates and w + (1 - w) × h here.

    Its derivative by w is zero at the positive root of a quadratic equation.
    """
    other, usual, rest = here[0], known[0], known[1] - known[0] + here[1] - here[0]
    square = (1.0 - h) * (usual + rest + other)
    slope = usual * (1.0 - 2.0 * h) - rest * h + other * (1.0 - h)
    w = (slope + math.sqrt(slope * slope + 4.0 * square * usual * h)) / (2.0 * square) if square > 0.0 else 0.0
    return _fit(known, w) + _fit(here, w + (1.0 - w) * h)


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs)) if top > -math.inf else top


@lru_cache(KEPT)
def harness_odds(here: Sample, bad: Sample, good: Sample, least: float) -> float:
    """Logarithm of how much better "bad, but hidden" explains a candidate's harness failures than "good" does.

    Args:
        here: the candidate's trials; none of them reproduced.
        bad, good: those of candidates known to be bad, and good.
        least: rate that hidden reproductions have at least; 0 asks only whether the harness fails more often here.

    A likelihood ratio, each side at its best. Good: here the harness fails as at the known candidates, with one rate w.
    Hidden: here its failures have w + (1 - w) × h, with h not below ``least``.
    """
    if here[0] < FEW:
        return -math.inf
    known = elsewhere(bad, good)

    def hidden_at(w: float) -> float:
        return _fit(known, w) + _fit(here, max(_rate(here), w + (1.0 - w) * least))

    usual, common = _rate(known), _rate(both(known, here))
    free = _rate(here) >= usual + (1.0 - usual) * least  # no bound on h is in the way
    hidden = hidden_at(usual) if free else _highest(hidden_at)
    return hidden - _fit(known, common) - _fit(here, common)


def elsewhere(bad: Sample, good: Sample) -> Sample:
    """The sample that a candidate is held against: both sides where the harness fails alike at them.

    Else it is the side where it fails less often: at bad candidates the bug itself may break the harness now and then,
    and a good end may be one that hides the bug.
    """
    all_known, (less, more) = both(bad, good), sorted((bad, good), key=_rate)
    apart = (
        _fit(less, _rate(less)) + _fit(more, _rate(more)) - _fit(less, _rate(all_known)) - _fit(more, _rate(all_known))
    )
    return less if less[1] and apart >= APART else all_known


def both(one: Sample, other: Sample) -> Sample:
    """The two samples as one."""
    return one[0] + other[0], one[1] + other[1]


def _rate(sample: Sample) -> float:
    return sample[0] / sample[1] if sample[1] else 0.0


def _fit(sample: Sample, rate: float) -> float:
    return _log(sample[0], rate) + _log(sample[1] - sample[0], 1.0 - rate)


def _log(count: int, chance: float) -> float:
    if not count:
        return 0.0
    return count * math.log(chance) if chance > 0.0 else -math.inf


def _highest(value: Callable[[float], float]) -> float:
    """The largest value on [0, 1] of a function with one top, by thirds."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if value(left) < value(right) else (low, right)
    return value((low + high) / 2)
