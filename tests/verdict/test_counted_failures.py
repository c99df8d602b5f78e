# SPDX-License-Identifier: GPL-2.0-only
"""Trials that the harness failed are counted: where it fails more often than elsewhere, what is left is not good."""

import math
from dataclasses import replace

import pytest

from bisector.model import Verdict
from bisector.verdict.budget import Budget
from bisector.verdict.confirm import Confirmation, Draw, NoVerdict, confirm
from bisector.verdict.ends import Difference, MoreEndTrials, UntestableEnd, ends
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.hiding import elsewhere, harness_odds
from bisector.verdict.rate import Rate
from bisector.verdict.rule import Rule, Sequential
from bisector.verdict.sequential import Belief, Decision, Evidence, More, added, decide

BUDGET = Budget(0.01)
HALF = Belief(BUDGET, Rate(6, 12), bad_end=(6, 12), others=(0, 13), harness_bad=(1, 14), harness_good=(0, 12))
NEEDED = HALF.clean_needed()


def verdict(evidence: Evidence, belief: Belief | FixedTrials) -> Verdict | None:
    rule: Rule = Sequential(belief) if isinstance(belief, Belief) else belief
    decision = rule.decide(evidence)
    return decision.verdict if isinstance(decision, Decision) else None


# ---- the odds


@pytest.mark.parametrize(
    ("here", "bad", "good", "hides"),
    [
        ((12, 26), (1, 30), (1, 30), True),
        ((3, 60), (2, 40), (2, 40), False),
        ((12, 60), (10, 50), (10, 50), False),  # it fails everywhere alike, be it often
        ((2, 2), (0, 40), (0, 40), False),  # too few to say anything
        ((18, 40), (20, 50), (1, 50), True),  # the bug breaks the harness at bad candidates, too
        ((18, 40), (1, 50), (20, 50), True),  # the good end is one that hides it
    ],
)
def test_failures_here_are_held_against_those_elsewhere(
    here: tuple[int, int], bad: tuple[int, int], good: tuple[int, int], hides: bool
) -> None:
    odds = harness_odds(here, bad, good, 0.3)
    assert odds > math.log(10) if hides else odds < -math.log(3)


def test_both_sides_are_one_sample_where_the_harness_fails_alike() -> None:
    assert elsewhere((2, 40), (3, 50)) == (5, 90)
    assert elsewhere((20, 50), (1, 50)) == (1, 50)
    assert elsewhere((5, 10), (0, 0)) == (5, 10)


# ---- the search


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(clean=NEEDED, infra=1), Verdict.GOOD),
        (Evidence(clean=NEEDED, infra=NEEDED), Verdict.SKIP),
        (Evidence(infra=4), None),
        (Evidence(infra=5), Verdict.SKIP),
        (Evidence(clean=1, infra=6), None),
        (Evidence(reproduced=1, infra=9), Verdict.BAD),
    ],
)
def test_verdicts_beside_failures_of_the_harness(evidence: Evidence, expected: Verdict | None) -> None:
    assert verdict(evidence, HALF) == expected


def test_a_harness_that_fails_often_everywhere_makes_no_skip() -> None:
    often = Belief(BUDGET, Rate(6, 12), others=(0, 13), harness_bad=(10, 22), harness_good=(11, 24))
    assert verdict(Evidence(clean=NEEDED, infra=NEEDED), often) is Verdict.GOOD
    assert isinstance(decide(Evidence(infra=5), Belief(BUDGET, Rate(6, 12))), More)  # nothing is known of elsewhere


def test_the_reason_says_how_often_here_and_how_often_elsewhere() -> None:
    decision = decide(Evidence(clean=NEEDED, infra=8), HALF)
    assert isinstance(decision, Decision)
    assert (
        decision.reason == f"8 of {NEEDED + 8} trials failed in the harness, 1 of 26 elsewhere: they may hide the bug"
    )


def test_a_wary_search_needs_more_where_failures_of_the_harness_leave_a_doubt() -> None:
    doubtful, belief = Evidence(clean=NEEDED, infra=3), replace(HALF, harness_bad=(4, 18), harness_good=(2, 16))
    assert verdict(doubtful, belief) is Verdict.GOOD
    assert isinstance(decide(doubtful, belief.warned()), More)


def test_known_candidates_tell_how_often_the_harness_fails() -> None:
    belief = Belief(BUDGET).known_bad(Evidence(6, 6, 0, 2)).known_good(Evidence(0, 20, 0, 1))
    belief = belief.after(Verdict.BAD, Evidence(1, 1, 0, 1)).after(Verdict.GOOD, Evidence(0, 9, 0, 5))
    assert belief.harness_bad == (3, 17)
    assert belief.harness_good == (1, 21)


# ---- the ends


def test_a_good_end_at_which_the_harness_fails_more_often_is_not_good() -> None:
    bad, good = Evidence(6, 20, 0, 0), Evidence(0, 40, 0, 14)
    assert isinstance(ends(good, bad, BUDGET), MoreEndTrials)  # first more trials
    step = ends(Evidence(0, 400, 0, 140), Evidence(60, 200), BUDGET)
    assert isinstance(step, UntestableEnd)
    assert not step.bad
    assert step.reason == "140 of 540 trials failed in the harness, 0 of 260 elsewhere: they may hide the bug"


@pytest.mark.parametrize("faults", [0, 1])
def test_ends_at_which_the_harness_fails_alike_differ(faults: int) -> None:
    step = ends(Evidence(0, 60, 0, 12 * faults), Evidence(6, 20, 0, 6 * faults), BUDGET)
    assert isinstance(step, Difference)
    assert (step.belief.harness_bad, step.belief.harness_good) == (
        (6 * faults, 26 + 6 * faults),
        (12 * faults, 60 + 12 * faults),
    )


def test_an_end_that_always_fails_in_the_harness_cannot_be_judged() -> None:
    step = ends(Evidence(0, 5), Evidence(infra=5), BUDGET)
    assert isinstance(step, UntestableEnd)
    assert step.bad
    assert isinstance(
        ends(Evidence(infra=5), Evidence(infra=5), BUDGET), MoreEndTrials
    )  # it is no end's: it fails at both


# ---- the proof


def test_a_parent_at_which_the_harness_fails_more_often_is_not_judged_by_what_is_left() -> None:
    step = confirm([Evidence(8, 8)], [Evidence(0, 40, 0, 30)], HALF, 1)
    assert isinstance(step, Confirmation)
    assert step.unjudged == (0,)


def test_a_parent_in_doubt_is_drawn_on() -> None:
    step = confirm([Evidence(5, 5)], [Evidence(0, 22, 0, 6)], HALF, 1)
    assert isinstance(step, Draw)
    assert step.good[0] > 0


def test_a_parent_at_which_it_fails_as_elsewhere_is_good() -> None:
    step = confirm([Evidence(5, 5, 0, 1)], [Evidence(0, 60, 0, 3)], HALF, 1)
    assert isinstance(step, Confirmation)
    assert step.unjudged == ()


TENTH = Belief(
    BUDGET, Rate(6, 60), bad_end=(6, 60), others=(0, 66), harness_bad=(44, 200), harness_good=(10, 50)
)  # a bug in one of ten trials, and a harness that fails in one of five


@pytest.mark.parametrize(
    ("infra", "good"),
    [(200, True), (245, False)],  # one of five, as elsewhere; a little more, which speaks neither for nor against
)
def test_after_as_many_trials_as_are_drawn_failures_must_speak_against_a_hidden_bug(infra: int, good: bool) -> None:
    step = confirm([Evidence(80, 720, 0, 200)], [Evidence(0, 800, 0, infra)], TENTH, 1)
    assert isinstance(step, Confirmation)
    assert step.unjudged == (() if good else (0,))


def test_where_the_harness_fails_often_the_odds_have_to_be_clearer() -> None:
    culprit, parent = Evidence(40, 360, 0, 100), Evidence(0, 400, 0, 100)
    odds = harness_odds(parent.harness, added(TENTH.harness_bad, culprit), TENTH.harness_good, 0.06)
    assert -math.log(100) < odds < -math.log(10)
    assert isinstance(confirm([culprit], [parent], TENTH, 1), Draw)
    seldom = replace(TENTH, harness_bad=(1, 200), harness_good=(0, 50))
    assert isinstance(confirm([Evidence(40, 360, 0, 1)], [Evidence(0, 400, 0, 3)], seldom, 1), Confirmation)


def test_a_culprit_that_only_fails_in_the_harness_is_not_confirmed() -> None:
    step = confirm([Evidence(infra=9)], [Evidence(0, 9)], HALF, 1)
    assert isinstance(step, NoVerdict)
    assert "9 of 9 trials failed in the harness" in step.reason


# ---- a fixed number of trials


@pytest.mark.parametrize(
    ("evidence", "elsewhere_", "expected"),
    [
        (Evidence(clean=3, infra=2), (0, 40), Verdict.GOOD),
        (Evidence(clean=3, infra=3), (0, 40), None),
        (Evidence(clean=15, infra=15), (0, 40), Verdict.SKIP),
        (Evidence(clean=3, infra=3), (20, 40), Verdict.GOOD),
        (Evidence(clean=3, infra=3), (0, 0), None),  # nothing else was tried: failures are taken for rare
        (Evidence(infra=5), (0, 40), Verdict.SKIP),
        (Evidence(infra=5), (5, 5), None),
        (Evidence(reproduced=1, infra=9), (0, 40), Verdict.BAD),
    ],
)
def test_fixed_trials(evidence: Evidence, elsewhere_: tuple[int, int], expected: Verdict | None) -> None:
    assert verdict(evidence, FixedTrials(3, 3, elsewhere_)) == expected
