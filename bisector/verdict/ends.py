# SPDX-License-Identifier: GPL-2.0-only
"""The two ends, in growing rounds: how they differ, that they are alike, or how many trials more of each. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bisector.verdict.budget import Budget, Stage
from bisector.verdict.chance import as_far_apart, log_beta
from bisector.verdict.hiding import harness_odds
from bisector.verdict.rate import Background, Rate
from bisector.verdict.sequential import (
    HIDING,
    LEAST,
    OTHER_CAP,
    TRIAL_CAP,
    WARY,
    Belief,
    Evidence,
    in_harness,
    often_failed,
)

ENOUGH = 6
"""Reproductions at the bad end that give its rate: fewer make every good candidate dearer, more cost more than they
save (``python -m bench.calibration``)."""

NEVER = 120
"""Trials without one reproduction after which the bad end is taken for not bad; at rate 0.05 this happens in 0.2 % of
campaigns."""

FIRST_ROUND = 4
ALIKE = 8.0
"""The ends are alike when one common rate explains them so many times better than two (Bayes factor)."""


@dataclass(frozen=True)
class Difference:
    """The bad end reproduces more often than the good one; ``belief`` is what the search starts from."""

    belief: Belief
    reason: str


@dataclass(frozen=True)
class NoDifference:
    """No difference that a search could use. ``reversed``: the good end reproduces more often than the bad one."""

    reason: str
    reversed: bool = False


@dataclass(frozen=True)
class UntestableEnd:
    """One end's trials end in other failures, or in failures of the harness that may hide the bug. ``bad``: it is the
    bad end."""

    bad: bool
    reason: str


@dataclass(frozen=True)
class MoreEndTrials:
    """So many trials more of each end, to be drawn in turns; none of them can be wasted."""

    good: int
    bad: int


def ends(
    good: Evidence, bad: Evidence, budget: Budget, *, number: int = 1, other_cap: int = OTHER_CAP, cap: int = TRIAL_CAP
) -> Difference | NoDifference | UntestableEnd | MoreEndTrials:
    """Whether the trials of both ends are enough to start a search on.

    Args:
        good, bad: trials of both ends in one cell. Where a cell was *chosen* among several for what they showed,
            the trials of the choice flatter it: ask again with fresh trials of that cell only.
        number: of this comparison in the campaign, from 1: each cell is one, and each time that a background which
            nobody had seen sends the campaign back to its ends. Each spends its share of the budget.
        cap: conclusive trials of an end that are never exceeded.

    Without a reproduction at the good end the bad end is drawn until ENOUGH reproductions, the good end until as many
    clean trials as a bad one would show with this share as chance. With one, both ends grow in doubling rounds;
    after round k Fisher's exact test is held against the k-th part of the share.
    """
    for evidence, is_bad, other_end in ((good, False, bad), (bad, True, good)):
        if evidence.other >= other_cap + 2 * evidence.conclusive:
            return UntestableEnd(is_bad, f"{evidence.other} of its trials ended in another failure")
        if often_failed(evidence) and _hidden(evidence, other_end, 0.0) >= HIDING:
            return UntestableEnd(is_bad, in_harness(evidence.harness, other_end.harness))
    share = budget.share(Stage.ENDS, number)
    if good.reproduced:
        return _with_background(good, bad, budget, share, cap)
    if not bad.reproduced and bad.conclusive >= NEVER:
        trials = f"{bad.conclusive} trials, nor did the good one in {good.conclusive}"
        return NoDifference(f"the bad end never reproduced in {trials}")
    if bad.conclusive < cap and bad.reproduced < ENOUGH:
        size, wanted = min(FIRST_ROUND + bad.conclusive // 4, cap), ENOUGH - bad.reproduced
        return MoreEndTrials(max(0, size - good.conclusive), min(wanted, cap - bad.conclusive))
    rate = Rate(bad.reproduced, bad.conclusive)
    needed = rate.clean_needed(share)
    if good.conclusive < min(needed, cap):
        return MoreEndTrials(min(needed, cap) - good.conclusive, 0)
    if rate.missed(good.clean) > share:
        return NoDifference(f"too rare to tell: {bad.figures} at the bad end, {good.figures} at the good one")
    return _differ(good, bad, budget, min(cap, WARY * needed))


def _with_background(
    good: Evidence, bad: Evidence, budget: Budget, share: float, cap: int
) -> Difference | NoDifference | UntestableEnd | MoreEndTrials:
    size, number = FIRST_ROUND, 1
    while size < max(good.conclusive, bad.conclusive) and size < cap:
        size, number = min(2 * size, cap), number + 1
    if good.conclusive < size or bad.conclusive < size:
        return MoreEndTrials(max(0, size - good.conclusive), max(0, size - bad.conclusive))
    ours, theirs = (good.reproduced, good.conclusive), (bad.reproduced, bad.conclusive)
    part = share / (number * (number + 1))
    if as_far_apart(ours, theirs) <= part and _apart(good, bad, budget):
        return _differ(good, bad, budget, min(cap, WARY * size))
    if as_far_apart(theirs, ours) <= part:
        return NoDifference(
            f"the good end reproduces more often than the bad one: {_figures(good, bad)}", reversed=True
        )
    if alike_odds(good, bad) >= ALIKE or size >= cap:
        return NoDifference(f"both ends reproduce about as often: {_figures(good, bad)}")
    return MoreEndTrials(min(2 * size, cap) - good.conclusive, min(2 * size, cap) - bad.conclusive)


def _differ(good: Evidence, bad: Evidence, budget: Budget, most: int) -> Difference | UntestableEnd | MoreEndTrials:
    """The ends differ, unless failures of the harness may hide the bug at the good one (law 7).

    ``most``: conclusive trials of the good end after which the doubt is not waited out any longer.
    """
    if _hidden(good, bad, LEAST * Rate(bad.reproduced, bad.conclusive).mean) < HIDING:
        return Difference(_belief(good, bad, budget), _figures(good, bad))
    if good.conclusive < most:
        more = max(1, min(good.conclusive // 2, most - good.conclusive))
        return MoreEndTrials(more, more)
    return UntestableEnd(False, f"{in_harness(good.harness, bad.harness)}: they may hide the bug")


def _hidden(end: Evidence, other: Evidence, least: float) -> float:
    """Logarithm of how much better hidden reproductions explain the harness's failures at an end than chance does."""
    return harness_odds(end.harness, other.harness, (0, 0), least)


def _apart(good: Evidence, bad: Evidence, budget: Budget) -> bool:
    """Whether the proof, which counts with the bounds of both rates, will be able to tell them apart."""
    error = budget.share(Stage.RATE, 1) / 2
    lower = Rate(bad.reproduced, bad.conclusive).lower(error)
    return bad.reproduced >= ENOUGH and lower > Background(good.reproduced, good.conclusive).upper(error)


def alike_odds(good: Evidence, bad: Evidence) -> float:
    """How much better one rate explains both ends than two do: Bayes factor with uniform rates (Jeffreys, 1935)."""
    both = good + bad
    one = log_beta(both.reproduced + 1, both.clean + 1)
    two = log_beta(good.reproduced + 1, good.clean + 1) + log_beta(bad.reproduced + 1, bad.clean + 1)
    return math.exp(one - two)


def _belief(good: Evidence, bad: Evidence, budget: Budget) -> Belief:
    return Belief(budget, bad_end=(bad.reproduced, bad.conclusive)).known_bad(bad).known_good(good)


def _figures(good: Evidence, bad: Evidence) -> str:
    return f"reproduced in {bad.figures} at the bad end and in {good.figures} at the good one"
