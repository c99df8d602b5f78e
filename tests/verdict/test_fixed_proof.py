# SPDX-License-Identifier: GPL-2.0-only
"""No culprit without every parent freshly tested (law 3), by a fixed number of trials."""

import pytest

from bisector.model import Verdict
from bisector.verdict.confirm import Confirmation, Contradiction, Draw, EditContradiction, NoVerdict, Step, UnjudgedArms
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.hiding import Sample
from bisector.verdict.sequential import Evidence

RULE = FixedTrials(2, 3)
BAD, GOOD, SKIP, NONE = Evidence(1, 0), Evidence(0, 2), Evidence(0, 0, 3), Evidence()


def proof(
    bad: list[Evidence],
    good: list[Evidence],
    edited: tuple[int, int] = (0, 0),
    culprit: Verdict | None = Verdict.BAD,
    elsewhere: Sample = (0, 0),
) -> Step:
    return RULE.proof(bad, good, 1, edited, culprit, lambda bad, place: elsewhere)


def test_bad_culprit_with_a_good_parent_is_confirmed() -> None:
    assert proof([BAD], [GOOD]) == Confirmation(0.0, 0.0, 1.0)


def test_merge_is_tested_against_every_parent_one_trial_at_a_time_and_the_culprit_first() -> None:
    assert proof([NONE], [NONE, NONE, NONE]) == Draw((1,), (0, 0, 0))
    assert proof([BAD], [NONE, NONE, NONE]) == Draw((0,), (1, 0, 0))
    assert proof([BAD], [GOOD, Evidence(0, 1), NONE]) == Draw((0,), (0, 1, 0))
    assert proof([BAD], [GOOD, GOOD, NONE]) == Draw((0,), (0, 0, 1))
    assert isinstance(proof([BAD], [GOOD, GOOD, GOOD]), Confirmation)


@pytest.mark.parametrize("tried", [GOOD, SKIP])
def test_culprit_that_is_not_bad_again_is_not_confirmed(tried: Evidence) -> None:
    step = proof([tried], [NONE])
    assert isinstance(step, Contradiction | NoVerdict)
    assert (step.bad, step.place) == (True, 0)
    assert ("good" if tried is GOOD else "another failure") in step.reason


def test_bad_parent_contradicts_and_is_named() -> None:
    step = proof([BAD], [GOOD, BAD, NONE])
    assert isinstance(step, Contradiction)
    assert (step.bad, step.place) == (False, 1)
    assert "was to be good and is bad" in step.reason


def test_parents_that_cannot_be_judged_are_suspects_too() -> None:
    assert proof([BAD], [SKIP, GOOD, SKIP]) == UnjudgedArms(((False, 0), (False, 2)))


def test_bad_parent_outweighs_one_that_cannot_be_judged() -> None:
    assert isinstance(proof([BAD], [SKIP, BAD]), Contradiction)


def test_fix_is_tried_first_and_is_good_where_its_parent_is_bad() -> None:
    assert proof([NONE], [NONE], culprit=Verdict.GOOD) == Draw((0,), (1,))
    assert isinstance(proof([BAD], [GOOD], culprit=Verdict.GOOD), Confirmation)
    assert proof([SKIP], [GOOD], culprit=Verdict.GOOD) == UnjudgedArms(((True, 0),))
    against = proof([GOOD], [GOOD], culprit=Verdict.GOOD)
    assert isinstance(against, Contradiction)
    assert against.bad


def test_root_has_no_parent_to_blame() -> None:
    assert isinstance(proof([BAD], []), Confirmation)


def test_a_set_of_suspects_is_tried_to_its_end_where_the_newest_cannot_be_judged() -> None:
    assert proof([SKIP], [NONE], culprit=None) == Draw((0,), (1,))
    assert proof([SKIP], [GOOD], culprit=None) == UnjudgedArms(((True, 0),))


def test_edits_come_last_and_one_that_cannot_be_judged_is_said() -> None:
    assert proof([BAD, NONE], [NONE, NONE], (1, 1)) == Draw((0, 0), (1, 0))
    assert proof([BAD, NONE], [GOOD, NONE], (1, 1)) == Draw((0, 1), (0, 0))
    assert proof([BAD, SKIP], [GOOD, GOOD], (1, 1)) == Confirmation(0.0, 0.0, 1.0, unchecked=((True, 1),))
    assert isinstance(proof([BAD, NONE], [SKIP, NONE], (1, 1)), UnjudgedArms)


def test_an_edit_that_changes_nothing_is_contrary() -> None:
    step = proof([BAD], [GOOD, BAD], (0, 1))
    assert isinstance(step, EditContradiction)
    assert (step.bad, step.place) == (False, 1)


def test_a_parent_at_which_the_harness_fails_often_is_not_good_by_what_is_left() -> None:
    """Law 7."""
    often = Evidence(0, 2, 0, 6)
    assert proof([BAD], [often], elsewhere=(1, 40)) == Draw((0,), (1,))
    assert isinstance(proof([BAD], [often], elsewhere=(30, 40)), Confirmation)
