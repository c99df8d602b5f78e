# SPDX-License-Identifier: GPL-2.0-only
"""The proof's further arms: the culprit's own edits over the ends; and other failures that may hide the bug."""

from dataclasses import replace

import pytest

from bisector.verdict.budget import Budget, Stage
from bisector.verdict.confirm import HIDDEN, Confirmation, Contradiction, Draw, EditContradiction, confirm
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import HIDING, Belief, Decision, Evidence, More, Verdict, decide

BUDGET = Budget(0.01)
HALF = Belief(BUDGET, Rate(6, 12), bad_end=(6, 12), others=(1, 13))
CULPRIT, PARENT = Evidence(5, 5), Evidence(0, 40)
REVERTED, APPLIED = Evidence(0, 40), Evidence(1, 1)


def after(applied: Evidence, reverted: Evidence, parent: Evidence = PARENT) -> object:
    return confirm([CULPRIT, applied], [parent, reverted], HALF, 1, (1, 1))


def test_both_ways_confirm_with_the_rest() -> None:
    step = after(APPLIED, REVERTED)
    assert isinstance(step, Confirmation)
    assert (step.unjudged, step.unchecked) == ((), ())
    assert step.error <= 0.01


def test_edited_arms_are_drawn_last() -> None:
    for bad, good in (((Evidence(), Evidence()), Evidence()), ((Evidence(), Evidence()), PARENT)):
        step = confirm(bad, [good, Evidence()], HALF, 1, (1, 1))
        assert isinstance(step, Draw)
        assert (step.bad[1], step.good[1]) == (0, 0)
    step = confirm([CULPRIT, Evidence()], [PARENT, Evidence()], HALF, 1, (1, 1))
    assert isinstance(step, Draw)
    assert (step.bad[0], step.good[0]) == (0, 0)
    assert min(step.bad[1], step.good[1]) > 0


def test_the_error_stated_covers_the_revert() -> None:
    short, long = after(APPLIED, Evidence(0, 22)), after(APPLIED, REVERTED)
    assert isinstance(short, Draw | Confirmation)
    if isinstance(short, Confirmation):
        assert isinstance(long, Confirmation)
        assert short.error > long.error


@pytest.mark.parametrize(
    ("applied", "reverted", "bad"), [(APPLIED, Evidence(3, 9), False), (Evidence(0, 40), REVERTED, True)]
)
def test_an_edit_that_does_not_do_what_it_must_is_contrary(applied: Evidence, reverted: Evidence, bad: bool) -> None:
    step = after(applied, reverted)
    assert isinstance(step, EditContradiction)
    assert (step.bad, step.place) == (bad, 1)


def test_a_parent_that_reproduces_is_heard_before_the_edits() -> None:
    assert isinstance(after(APPLIED, Evidence(3, 9), parent=Evidence(3, 4)), Contradiction)
    waiting = after(APPLIED, Evidence(3, 9), parent=Evidence(0, 2))
    assert isinstance(waiting, Draw)
    assert (waiting.good[0] > 0, waiting.good[1]) == (True, 0)


def test_an_edited_arm_that_cannot_be_judged_blocks_nothing() -> None:
    step = after(Evidence(0, 0, 3), Evidence(0, 2, 40))
    assert isinstance(step, Confirmation)
    assert step.unjudged == ()
    assert set(step.unchecked) == {(True, 1), (False, 1)}


# ---- hidden reproductions


def test_the_end_without_the_culprit_speaks_against_hiding_beside_the_parent() -> None:
    """As many failures at the parent leave a doubt alone, and none where the revert stands as clean."""
    belief = Belief(BUDGET, Rate(12, 120), bad_end=(12, 120), others=(6, 126))
    culprit, parent = Evidence(5, 45, 1), Evidence(0, 110, 6)
    alone = confirm([culprit], [parent], belief, 1)
    both = confirm([culprit], [parent, parent], belief, 1, (0, 1))
    assert isinstance(alone, Draw)
    assert isinstance(both, Confirmation)
    assert isinstance(confirm([culprit], [parent, Evidence(0, 110, 20)], belief, 1, (0, 1)), Draw)


def test_a_parent_is_good_only_where_its_other_failures_speak_against_hiding() -> None:
    belief = Belief(BUDGET, Rate(12, 120), bad_end=(12, 120), others=(6, 126))
    step = confirm([Evidence(10, 90, 5)], [Evidence(0, 110, 11)], belief, 1)
    assert isinstance(step, Draw)
    assert step.good[0] > 0
    more = confirm([Evidence(60, 600, 35)], [Evidence(0, 600, 25)], belief, 1)
    assert isinstance(more, Confirmation)
    assert more.unjudged == ()


def test_the_culprit_is_drawn_along_while_a_parent_is_in_doubt_for_its_other_failures() -> None:
    belief = Belief(BUDGET, Rate(12, 40), bad_end=(12, 40), others=(0, 40))
    step = confirm([Evidence(6, 10)], [Evidence(0, 60, 6)], belief, 1)
    assert isinstance(step, Draw)
    assert step.bad[0] > 0


def test_a_wary_search_needs_more_where_other_failures_leave_a_doubt() -> None:
    plain = Belief(BUDGET, Rate(12, 60), bad_end=(12, 60), others=(3, 63))
    doubtful = Evidence(0, plain.clean_needed(), 3)
    assert -HIDING < plain.hidden(doubtful) < HIDING
    assert decide(doubtful, plain) == Decision(Verdict.GOOD, f"clean in {doubtful.clean} of {doubtful.clean}")
    wary = plain.warned()
    evidence = doubtful
    while isinstance(step := decide(evidence, wary), More):
        evidence += Evidence(clean=step.count)
    assert isinstance(step, Decision)
    assert step.verdict is Verdict.GOOD
    assert evidence.clean > doubtful.clean
    assert wary.hidden(evidence) <= -HIDING
    assert HIDDEN >= HIDING


def test_trials_of_one_image_speak_once_against_hiding() -> None:
    """Reverted on the bad end the culprit leaves its parent: one image, whose trials are no second witness."""
    belief = Belief(BUDGET, Rate(12, 120), bad_end=(12, 120), others=(6, 126))
    culprit, parent = Evidence(5, 45, 1), Evidence(0, 110, 6)
    twice = confirm([culprit], [parent, parent], belief, 1, (0, 1), [Evidence(), None])
    assert isinstance(twice, Draw)


def test_a_doubt_is_looked_at_again_before_it_grows_dear() -> None:
    belief = Belief(BUDGET, Rate(12, 120), bad_end=(12, 120), others=(6, 126))
    step = confirm([Evidence(5, 45, 2)], [Evidence(0, 110, 11)], belief, 1)
    assert isinstance(step, Draw)
    assert 0 < step.good[0] <= 110 / 8


def test_the_good_end_shows_how_common_failures_are_where_nothing_is_hidden() -> None:
    bad = Belief(BUDGET, Rate(12, 120), bad_end=(12, 120), others=(6, 126))
    arms = [Evidence(5, 45, 2)], [Evidence(0, 160, 8)]
    assert isinstance(confirm(*arms, bad, 1), Draw)
    assert isinstance(confirm(*arms, replace(bad, others_good=(16, 250)), 1), Confirmation)


def test_a_revert_is_held_against_all_reproductions_and_not_the_culprits_alone() -> None:
    belief = Belief(BUDGET, Rate(20, 200), bad_end=(20, 200), others=(0, 220))
    culprit, reverted = Evidence(5, 95), Evidence(0, 60)
    step = confirm([culprit], [Evidence(0, 200), reverted], belief, 1, (0, 1))
    assert isinstance(step, Confirmation)
    assert Rate(25, 300).missed(60) <= BUDGET.share(Stage.PROOF, 1)
    assert isinstance(confirm([culprit], [reverted], belief, 1), Draw), "a parent is set apart from the culprit itself"
