# SPDX-License-Identifier: GPL-2.0-only
"""What a watch makes of what it remembers: pure questions, as tables and properties."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.codec import dump, load
from bisector.model import Commit, Verdict
from bisector.nightly.gone import RAREST, trials_to_call_gone, trials_without_rate
from bisector.nightly.records import (
    Answer,
    Kind,
    News,
    Night,
    Regression,
    Role,
    Search,
    State,
    Where,
    carried,
    clean_so_far,
    closed_one,
    evidence,
    known_good,
    new_name,
    open_one,
    same_bug,
    series,
)
from bisector.verdict.budget import even
from bisector.verdict.sequential import Evidence

ONE = Commit("1" * 40, "md: check less", "A <a@example.org>", ("2" * 40,))
REGRESSION = Regression("legs-leg-failed", "w", "legs", "leg-failed", "", "next-20261101", seen=("next-20261102",))


def answer(verdict: Verdict, conclusive: int = 2, **changes: object) -> Answer:
    reproduced = conclusive if verdict is Verdict.BAD else 0
    conditions = ("leg-failed",) if verdict is Verdict.BAD else ()
    made = Answer(
        "legs",
        "",
        Role.NEXT,
        "",
        "a" * 40,
        "question",
        "key",
        verdict,
        "",
        conditions,
        reproduced,
        conclusive,
        "campaign",
    )
    return replace(made, **changes)


def night(day: int, *answers: Answer) -> Night:
    return Night("w", f"next-202611{day:02}", f"{day:040}", "b" * 40, "origin", float(day), answers=answers)


def test_what_is_remembered_is_read_back_as_it_was() -> None:
    found = replace(REGRESSION, culprit=ONE, where=Where.NEXT, search=Search("1", "2", "a", "b", Where.NEXT, ("3",)))
    assert load(Regression, dump(found)) == found
    whole = replace(night(3, answer(Verdict.BAD)), news=(News(Kind.OPENED, "x", "y"),), state=State.STOPPED)
    assert load(Night, dump(whole)) == whole


@pytest.mark.parametrize("change", ["question", "candidate", "key"])
def test_a_verdict_is_carried_over_by_the_identical_candidate_alone(change: str) -> None:
    nights = [night(1, answer(Verdict.GOOD))]
    fields = {"question": "question", "candidate": "a" * 40, "key": "key"}
    same = carried(nights, **fields)
    assert same is not None
    assert same.carried == "next-20261101"
    assert carried(nights, **(fields | {change: "other"})) is None


@pytest.mark.parametrize("verdict", [Verdict.SKIP, Verdict.WEAK])
def test_what_could_not_be_judged_is_tried_again(verdict: Verdict) -> None:
    assert carried([night(1, answer(verdict))], "question", "a" * 40, "key") is None


@given(reproduced=st.integers(1, 30), clean=st.integers(0, 60), error=st.floats(0.0005, 0.2), check=st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_rarer_bugs_stricter_recipes_and_later_nights_need_more_clean_trials(
    reproduced: int, clean: int, error: float, check: int
) -> None:
    known = Evidence(reproduced, clean)
    needed = trials_to_call_gone(known, error, check)
    assert needed >= 1
    assert trials_to_call_gone(Evidence(reproduced, clean + 5), error, check) >= needed
    assert trials_to_call_gone(known, error / 2, check) >= needed
    assert trials_to_call_gone(known, error, check + 1) >= needed


def test_a_bug_of_one_half_is_not_gone_after_a_few_clean_trials() -> None:
    """All nights that ask share one chance of error: 0.01 over the first hundred of them."""
    known = Evidence(10, 10)
    total = sum(0.5 ** trials_to_call_gone(known, 0.01, check) for check in range(1, 100))
    assert total < 0.01


def test_of_a_rate_that_nothing_is_known_of_so_many_trials_as_the_rarest_bug_would_show_in() -> None:
    needed = trials_to_call_gone(Evidence(0, 5), 0.01, 1)
    assert needed == trials_without_rate(0.01, 1)
    assert (1 - RAREST) ** needed <= 0.005 * even(1) < (1 - RAREST) ** (needed - 1)


def test_a_rate_that_is_known_to_be_low_is_cut_off_by_nothing() -> None:
    """6 of 1,800: one clean trial in 300 is no news, and 1,000 of them are little."""
    assert trials_to_call_gone(Evidence(6, 1794), 0.01, 1) > 3000


def test_clean_nights_add_up_since_the_last_one_that_saw_it() -> None:
    nights = [
        night(1, answer(Verdict.BAD)),
        night(2, answer(Verdict.GOOD, 9)),  # seen on this one by another cell
        night(3, answer(Verdict.GOOD, 4)),
        night(4, answer(Verdict.GOOD, 5, role=Role.BASE), answer(Verdict.BAD, 1, conditions=("escaped",))),
        night(5, answer(Verdict.GOOD, 6, condition="leg-failed"), answer(Verdict.GOOD, 7, condition="escaped")),
        night(6, answer(Verdict.GOOD, 8, carried="next-20261105")),
    ]
    assert clean_so_far(nights, REGRESSION) == 4 + 6


def test_a_clean_night_before_one_that_saw_it_is_evidence_and_the_night_that_met_it_is_none() -> None:
    """The trials that met it would not be here had they stayed clean; those after them are, whatever they showed."""
    nights = [
        night(1, answer(Verdict.BAD, 3, reproduced=1)),
        night(2, answer(Verdict.GOOD, 5)),
        night(3, answer(Verdict.BAD, 4, reproduced=1)),
        night(4, answer(Verdict.BAD, 6, reproduced=1, conditions=("escaped",)), answer(Verdict.BAD, 2, carried="x")),
        night(5, answer(Verdict.GOOD, 7)),
    ]
    found = replace(REGRESSION, seen=("next-20261101", "next-20261103", "next-20261104"))
    assert evidence(nights, found, ()) == Evidence(1, 5 + 3 + 5)
    assert clean_so_far(nights, found) == 7
    assert series(nights, found).sightings == 2


def test_trials_of_another_cell_and_of_another_recipe_say_nothing_of_its_rate() -> None:
    nights = [
        night(1, answer(Verdict.BAD, 1)),
        night(2, answer(Verdict.BAD, 1, reproduced=1, cell="aio=native"), answer(Verdict.GOOD, 5)),
        night(3, answer(Verdict.BAD, 1, question="the recipe as it was")),
    ]
    found = series(nights, REGRESSION, ("question",))
    assert found.known == Evidence(0, 5)  # seen in another cell on that night: the tree had it
    assert found.clean == 0


def test_trials_that_a_night_had_no_time_to_answer_are_not_lost() -> None:
    cut = answer(Verdict.WEAK, 6, reproduced=0, conditions=())
    nights = [night(1, answer(Verdict.BAD)), night(2, cut), night(3, answer(Verdict.BAD, 4, reproduced=1))]
    assert evidence(nights, REGRESSION, ()) == Evidence(1, 9)


def test_what_was_clean_before_it_came_back_is_of_trees_without_it() -> None:
    nights = [
        night(1, answer(Verdict.BAD)),
        night(2, answer(Verdict.GOOD, 40)),
        night(3, answer(Verdict.BAD, 1, reproduced=1)),
        night(4, answer(Verdict.BAD, 3, reproduced=1)),
    ]
    found = replace(REGRESSION, seen=())
    assert evidence(nights, found, ()) == Evidence(2, 42)
    assert evidence(nights, replace(found, returned=("next-20261103",)), ()) == Evidence(1, 2)


def test_trials_that_learn_the_rate_count_whatever_they_showed() -> None:
    rate = answer(Verdict.WEAK, 40, role=Role.RATE, reproduced=0, conditions=())
    assert evidence([night(1, answer(Verdict.BAD), rate)], REGRESSION, ()) == Evidence(0, 40)


def test_a_base_that_has_it_begins_the_count_of_clean_ones_anew() -> None:
    base = answer(Verdict.GOOD, 9, role=Role.BASE, condition="leg-failed")
    held = answer(Verdict.BAD, 1, role=Role.BASE, condition="leg-failed")
    nights = [night(1, answer(Verdict.BAD)), night(3, base), night(4, held), night(5, base)]
    assert series(nights, replace(REGRESSION, seen=())).base == 9
    assert series(nights, replace(REGRESSION, seen=())).sightings == 1


def test_a_base_is_known_good_by_its_own_answer_or_by_its_whole_day() -> None:
    own = answer(Verdict.GOOD, role=Role.BASE, candidate="c" * 40, condition="leg-failed")
    other = answer(Verdict.GOOD, role=Role.BASE, candidate="d" * 40, condition="escaped")
    nights = [night(1, answer(Verdict.GOOD)), night(2, answer(Verdict.BAD), own, other)]
    assert known_good(nights, "legs", "", "leg-failed") == ("c" * 40, "b" * 40)


def test_same_condition_is_the_same_regression_while_it_is_open() -> None:
    gone = replace(REGRESSION, state=State.FIXED, closed="next-20261103", culprit=ONE)
    assert open_one([gone], "legs", "leg-failed") is None
    assert open_one([gone, REGRESSION], "legs", "leg-failed") == REGRESSION
    assert open_one([REGRESSION], "legs", "escaped") is None
    assert open_one([REGRESSION], "program", "leg-failed") is None
    assert closed_one([gone, REGRESSION], "legs", "leg-failed") == gone
    merged = replace(gone, id="legs-leg-failed-2", closed="next-20261109", same_as=gone.id)
    assert closed_one([gone, merged], "legs", "leg-failed") == gone


def test_one_culprit_is_one_bug_whatever_showed_it() -> None:
    known = replace(REGRESSION, culprit=ONE, patch="p")
    other = replace(known, id="program-failed", recipe="program", condition="failed")
    rebased = replace(other, culprit=replace(ONE, oid="9" * 40))
    assert same_bug([known], other) == known
    assert same_bug([known], rebased) == known
    assert same_bug([known], replace(rebased, patch="q")) is None
    assert same_bug([replace(known, state=State.FIXED)], other) is None
    assert same_bug([known], known) is None
    assert same_bug([replace(known, patch="")], replace(rebased, patch="")) is None


def test_names_of_regressions_are_never_used_twice() -> None:
    assert new_name((), "legs", "leg-failed") == "legs-leg-failed"
    assert new_name(("legs-leg-failed", "legs-leg-failed-2"), "legs", "leg-failed") == "legs-leg-failed-3"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("condition", ["", "leg-failed"])
def test_a_stage_gives_back_the_role_and_the_condition_it_was_made_of(role: Role, condition: str) -> None:
    assert Role.of_stage(role.stage(condition)) == (role, condition)
    assert Role.of_stage(f"proof-{condition}")[0] is None
