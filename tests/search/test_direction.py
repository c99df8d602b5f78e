# SPDX-License-Identifier: GPL-2.0-only
"""What the two directions of a search mean for git and for the ends."""

import pytest

from bisector.direction import BUG, FIX, Direction, direction
from bisector.exitcodes import GitCode
from bisector.model import Verdict


def test_a_bug_is_new_and_a_fix_makes_good_new() -> None:
    assert (BUG.old, BUG.new) == (Verdict.GOOD, Verdict.BAD)
    assert (FIX.old, FIX.new) == (Verdict.BAD, Verdict.GOOD)
    assert [direction(each.find_fix) for each in (BUG, FIX)] == [BUG, FIX]


def test_the_ends_are_turned_for_a_fix_and_back() -> None:
    assert BUG.old_new("good", "bad") == ("good", "bad")
    assert FIX.old_new("good", "bad") == ("bad", "good")
    assert FIX.good_bad(*FIX.old_new("good", "bad")) == ("good", "bad")


@pytest.mark.parametrize("way", [BUG, FIX])
def test_git_is_given_0_for_the_old_side_and_1_for_the_new_one(way: Direction) -> None:
    assert [way.code(verdict) for verdict in (way.old, way.new)] == [GitCode.GOOD, GitCode.BAD]
    assert {way.code(verdict) for verdict in (Verdict.SKIP, Verdict.WEAK)} == {GitCode.SKIP}


def test_git_does_not_take_bad_for_the_old_side() -> None:
    assert FIX.git_word(Verdict.BAD) == "broken"
    assert FIX.git_word(Verdict.GOOD) == "fixed"
    assert BUG.git_word(Verdict.WEAK) == "skip"
