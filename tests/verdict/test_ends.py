# SPDX-License-Identifier: GPL-2.0-only
"""The two ends in growing rounds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisector.verdict.budget import ENDS_PART, Budget, Stage
from bisector.verdict.chance import rate_at_least
from bisector.verdict.ends import ENOUGH, NEVER, Difference, MoreEndTrials, NoDifference, UntestableEnd, ends
from bisector.verdict.sequential import TRIAL_CAP, Evidence

BUDGET = Budget(0.01)
evidences = st.builds(Evidence, st.integers(0, 60), st.integers(0, 400), st.integers(0, 10))


def drawn(p: float, q: float, seed: int) -> tuple[Difference | NoDifference | UntestableEnd, int]:
    """(how the ends ended, trials) at these rates."""
    chance = random.Random(seed)
    good, bad = Evidence(), Evidence()
    while isinstance(step := ends(good, bad, BUDGET), MoreEndTrials):
        for _ in range(step.bad):
            bad += Evidence(1) if chance.random() < p else Evidence(0, 1)
        for _ in range(step.good):
            good += Evidence(1) if chance.random() < q else Evidence(0, 1)
    return step, good.conclusive + bad.conclusive


def test_a_deterministic_bug_needs_few_trials() -> None:
    step, trials = drawn(1.0, 0.0, 1)
    assert isinstance(step, Difference)
    assert trials <= 10


@pytest.mark.parametrize("p", [0.5, 0.2, 0.1])
def test_a_flaky_bug_is_seen_and_its_rate_learnt(p: float) -> None:
    steps = [drawn(p, 0.0, seed) for seed in range(40)]
    assert all(isinstance(step, Difference) and step.belief.rate.reproduced == ENOUGH for step, _ in steps)
    assert sum(trials for _, trials in steps) / 40 < 13 / p


def test_ends_that_never_reproduce_are_alike() -> None:
    step, trials = drawn(0.0, 0.0, 1)
    assert isinstance(step, NoDifference)
    assert NEVER <= trials <= 2 * NEVER


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.2])
def test_ends_of_one_rate_are_taken_for_different_no_more_often_than_said(rate: float) -> None:
    count = 300
    taken = sum(isinstance(drawn(rate, rate, seed)[0], Difference) for seed in range(count))
    assert rate_at_least(taken, count, 0.01) <= ENDS_PART


def test_both_ends_always_bad_is_found_out_soon() -> None:
    step, trials = drawn(1.0, 1.0, 1)
    assert isinstance(step, NoDifference)
    assert trials <= 40


@pytest.mark.parametrize(("p", "q"), [(0.9, 0.3), (0.6, 0.05), (0.3, 0.02)])
def test_a_background_is_no_hindrance(p: float, q: float) -> None:
    steps = [drawn(p, q, seed)[0] for seed in range(60)]
    assert sum(isinstance(step, Difference) for step in steps) >= 57


def test_ends_the_other_way_round_are_said_to_be() -> None:
    step, _ = drawn(0.0, 0.7, 3)
    assert isinstance(step, NoDifference)
    assert step.reversed


def test_an_end_that_only_crashes_otherwise_cannot_be_tried() -> None:
    assert ends(Evidence(), Evidence(0, 0, 3), BUDGET) == UntestableEnd(
        True, "3 of its trials ended in another failure"
    )
    assert isinstance(ends(Evidence(0, 1, 5), Evidence(), BUDGET), UntestableEnd)


def test_the_second_cell_spends_less() -> None:
    good, bad = Evidence(0, 4), Evidence(6, 3)
    assert isinstance(ends(good, bad, BUDGET, number=1), Difference)
    assert isinstance(ends(good, bad, BUDGET, number=4), MoreEndTrials)
    assert BUDGET.spent(Stage.ENDS, 50) <= ENDS_PART


@given(evidences, evidences)
def test_more_is_drawn_only_within_the_cap_and_never_in_vain(good: Evidence, bad: Evidence) -> None:
    step = ends(good, bad, BUDGET)
    if isinstance(step, MoreEndTrials):
        assert step.good >= 0
        assert step.bad >= 0
        assert step.good + step.bad > 0
        assert not step.good or good.conclusive + step.good <= TRIAL_CAP
        assert not step.bad or bad.conclusive + step.bad <= TRIAL_CAP
