# SPDX-License-Identifier: GPL-2.0-only
"""Evidence → verdict under a learnt belief."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisector.model import Reading, Signal, Verdict
from bisector.verdict.budget import Budget
from bisector.verdict.rate import Background, Rate
from bisector.verdict.sequential import Belief, Decision, Evidence, More, decide

BUDGET = Budget(0.01)
ALWAYS = Belief(BUDGET, Rate(6, 6))
HALF = Belief(BUDGET, Rate(6, 12))
RARE = Belief(BUDGET, Rate(6, 60))
NOISY = Belief(BUDGET, Rate(19, 32), Background(2, 32))

reproduced = st.integers(1, 40)
rates = st.builds(lambda r, clean: Rate(r, r + clean), st.integers(3, 40), st.integers(0, 300))
quiet = st.builds(lambda rate, number: Belief(BUDGET, rate, called_good_index=number), rates, st.integers(1, 12))
noisy = st.builds(
    lambda r, clean, s, more: Belief(BUDGET, Rate(r, r + clean), Background(s, s + more)),
    st.integers(5, 40), st.integers(0, 20), st.integers(1, 4), st.integers(20, 200),
)  # fmt: skip
beliefs = st.one_of(quiet, noisy)
evidences = st.builds(Evidence, st.integers(0, 12), st.integers(0, 150), st.integers(0, 8))
signals = st.lists(st.sampled_from([Signal.REPRODUCED, Signal.CLEAN, Signal.CLEAN, Signal.OTHER_FAILURE]), max_size=80)


def verdict(evidence: Evidence, belief: Belief) -> Verdict | None:
    decision = decide(evidence, belief)
    return decision.verdict if isinstance(decision, Decision) else None


# ---- tables


@pytest.mark.parametrize(
    ("belief", "evidence", "expected"),
    [
        (ALWAYS, Evidence(1, 0), Verdict.BAD),
        (ALWAYS, Evidence(0, 1), None),
        (ALWAYS, Evidence(0, 4), Verdict.GOOD),
        (RARE, Evidence(1, 30), Verdict.BAD),
        (RARE, Evidence(0, 20), None),
        (RARE, Evidence(0, 60), Verdict.GOOD),
        (RARE, Evidence(0, 0, 3), Verdict.SKIP),
        (RARE, Evidence(0, 20, 6), None),
        (HALF, Evidence(0, 3, 9), Verdict.SKIP),
        (Belief(BUDGET, Rate(1, 300)), Evidence(0, 400), Verdict.WEAK),
        (NOISY, Evidence(1, 0), None),
        (NOISY, Evidence(1, 30), Verdict.GOOD),
        (NOISY, Evidence(3, 1), Verdict.BAD),
    ],
)
def test_verdicts(belief: Belief, evidence: Evidence, expected: Verdict | None) -> None:
    assert verdict(evidence, belief) == expected


def test_a_deterministic_bug_stays_cheap_all_along_a_search() -> None:
    belief = ALWAYS
    for _ in range(20):
        assert belief.clean_needed() <= 4
        assert verdict(Evidence(1, 0), belief) is Verdict.BAD
        belief = belief.after(Verdict.BAD, Evidence(1, 0))
    belief = ALWAYS
    for _ in range(20):
        belief = belief.after(Verdict.GOOD, Evidence(0, belief.clean_needed()))
        assert belief.clean_needed() <= 4


def test_a_background_makes_one_reproduction_too_little_for_bad() -> None:
    assert verdict(Evidence(1, 0), NOISY) is None
    assert verdict(Evidence(1, 0), HALF) is Verdict.BAD


def test_other_failures_beside_clean_trials_may_hide_the_bug() -> None:
    belief = Belief(BUDGET, Rate(6, 12), others=(1, 20))
    enough = belief.clean_needed()
    assert verdict(Evidence(0, enough, 1), belief) is Verdict.GOOD
    assert verdict(Evidence(0, enough, enough), belief) is Verdict.SKIP


def test_a_candidate_that_did_not_build_spends_nothing() -> None:
    assert HALF.after(Verdict.SKIP, Evidence()) == HALF


def test_good_verdicts_spend_nothing_where_only_bad_candidates_can_be_misjudged() -> None:
    assert HALF.after(Verdict.GOOD, Evidence(0, 9)).clean_needed() == HALF.clean_needed()
    assert HALF.after(Verdict.WEAK, Evidence(0, 9)).may_call_good < HALF.may_call_good


def test_bad_candidates_sharpen_the_rate() -> None:
    belief = RARE
    for _ in range(5):
        belief = belief.after(Verdict.BAD, Evidence(1, 9))
    assert belief.rate.lower(0.01) > RARE.rate.lower(0.01)
    assert belief.rate.all_reproduced == 11


# ---- properties


@given(beliefs, evidences)
def test_one_more_reproduction_never_moves_a_candidate_away_from_bad(belief: Belief, evidence: Evidence) -> None:
    before, after = verdict(evidence, belief), verdict(evidence + Evidence(reproduced=1), belief)
    if before is Verdict.BAD:
        assert after is Verdict.BAD
    if before is not Verdict.GOOD:
        assert after is not Verdict.GOOD


@given(beliefs, evidences)
def test_one_more_clean_trial_never_moves_a_candidate_towards_bad(belief: Belief, evidence: Evidence) -> None:
    before, after = verdict(evidence, belief), verdict(evidence + Evidence(clean=1), belief)
    if before is not Verdict.BAD:
        assert after is not Verdict.BAD
    if before is Verdict.GOOD:
        assert after is Verdict.GOOD


@given(beliefs, evidences, st.integers(1, 5))
def test_other_failures_never_make_a_candidate_bad_or_good(belief: Belief, evidence: Evidence, more: int) -> None:
    before, after = verdict(evidence, belief), verdict(evidence + Evidence(other=more), belief)
    assert after == before or after not in (Verdict.BAD, Verdict.GOOD) or before is Verdict.SKIP


@given(beliefs, signals, st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_change_the_decision(
    belief: Belief, drawn: list[Signal], chance: random.Random
) -> None:
    shuffled = list(drawn)
    chance.shuffle(shuffled)
    one, other = (Evidence.of(Reading(signal) for signal in order) for order in (drawn, shuffled))
    assert decide(one, belief) == decide(other, belief)


@given(beliefs, signals, st.integers(1, 60))
def test_infra_is_never_good_and_never_bad(belief: Belief, drawn: list[Signal], faults: int) -> None:
    before = Evidence.of(Reading(signal) for signal in drawn)
    spoilt = Evidence.of(Reading(signal) for signal in [*drawn, *[Signal.INFRA] * faults])
    assert spoilt == before + Evidence(infra=faults)
    assert verdict(spoilt, belief) in (verdict(before, belief), Verdict.SKIP, None)
    if verdict(before, belief) is Verdict.BAD:
        assert verdict(spoilt, belief) is Verdict.BAD


@given(beliefs, signals, st.integers(0, 80))
def test_a_resumed_campaign_decides_as_an_unbroken_one(belief: Belief, drawn: list[Signal], broken_at: int) -> None:
    def judged(start: Evidence, rest: list[Signal]) -> tuple[object, Evidence]:
        evidence, coming = start, list(rest)
        while isinstance(decide(evidence, belief), More) and coming:
            evidence = evidence.plus(coming.pop(0))
        return decide(evidence, belief), evidence

    unbroken, trials = judged(Evidence(), drawn)
    used = trials.conclusive + trials.other
    stored = Evidence.of(Reading(signal) for signal in drawn[: min(broken_at, used)])
    resumed, again = judged(stored, drawn[min(broken_at, used) :])
    assert (resumed, again) == (unbroken, trials)
    if isinstance(unbroken, Decision):
        assert belief.after(unbroken.verdict, again) == belief.after(unbroken.verdict, trials)


@given(beliefs, evidences)
def test_more_trials_needed_cannot_be_spent_before_a_decision(belief: Belief, evidence: Evidence) -> None:
    decision = decide(evidence, belief)
    if isinstance(decision, More):
        assert decision.count >= 1
        for clean in range(decision.count):
            assert verdict(evidence + Evidence(clean=clean), belief) is None


@given(rates, st.lists(st.tuples(st.integers(1, 20), st.integers(0, 40)), max_size=6), st.floats(0.0005, 0.3))
def test_p_min_lies_below_what_is_expected_of_the_rate(
    rate: Rate, called_bad: list[tuple[int, int]], error: float
) -> None:
    for trials, spare in called_bad:
        rate = rate.with_stopped(trials, trials + spare)
    lower = rate.lower(error)
    assert 0.0 < lower < 1.0
    assert lower <= rate.lower(min(0.5, 1.5 * error)) + 1e-9
