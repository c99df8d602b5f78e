# SPDX-License-Identifier: GPL-2.0-only
"""The proof's arithmetic: culprit against parents, head to head."""

from dataclasses import replace

import pytest

from bisector.model import Verdict
from bisector.verdict.budget import Budget, Stage
from bisector.verdict.chance import as_far_apart
from bisector.verdict.confirm import (
    REPRODUCTIONS,
    Confirmation,
    Contradiction,
    Draw,
    NewBackground,
    NoVerdict,
    confirm,
    proof_trials,
)
from bisector.verdict.needs import SURE, UNLIKE
from bisector.verdict.rate import Background, Rate
from bisector.verdict.sequential import Belief, Evidence

BUDGET = Budget(0.01)
ALWAYS = Belief(BUDGET, Rate(6, 6), bad_end=(6, 6))
RARE = Belief(BUDGET, Rate(6, 60), bad_end=(6, 60))
NOISY = Belief(BUDGET, Rate(60, 100), Background(5, 100), bad_end=(60, 100))


def played(belief: Belief, culprit: list[int], parents: list[list[int]], number: int = 1) -> object:
    """Draw as the proof does; 1 reproduces, 0 is clean, the last answer repeats."""
    answers, arms = [culprit, *parents], [Evidence() for _ in range(1 + len(parents))]
    while isinstance(step := confirm(arms[:1], arms[1:], belief, number), Draw):
        for place, count in enumerate((*step.bad, *step.good)):
            for _ in range(count):
                reply = answers[place].pop(0) if len(answers[place]) > 1 else answers[place][0]
                arms[place] += Evidence(reply, 1 - reply)
    return step, arms


def test_a_deterministic_culprit_is_proven_in_few_trials() -> None:
    step, arms = played(ALWAYS, [1], [[0]])
    assert isinstance(step, Confirmation)
    assert arms[0] == Evidence(REPRODUCTIONS)
    assert arms[1].clean <= 6
    assert step.error <= 0.01


@pytest.mark.parametrize("belief", [ALWAYS, RARE])
def test_what_a_proof_will_need_is_known_beforehand(belief: Belief) -> None:
    every = round(1 / belief.rate.mean)
    _, arms = played(belief, ([0] * (every - 1) + [1]) * 5, [[0]])
    reproductions, clean = proof_trials(belief)
    assert reproductions == arms[0].reproduced
    assert abs(clean - arms[1].clean) <= 0.1 * arms[1].clean + 1


def test_a_merge_is_held_against_each_of_its_parents() -> None:
    step, arms = played(RARE, [0, 0, 0, 1] * 100, [[0], [0], [0]])
    assert isinstance(step, Confirmation)
    assert len({arm.clean for arm in arms[1:]}) == 1
    known = RARE.rate.plus(arms[0].reproduced, arms[0].conclusive)
    assert known.missed(arms[1].clean) <= BUDGET.share(Stage.PARENT, 1)


def test_the_parents_are_drawn_first_for_they_contradict() -> None:
    step = confirm([Evidence()], [Evidence(), Evidence()], RARE, 1)
    assert isinstance(step, Draw)
    assert step.bad == (0,)
    assert min(step.good) > 0
    assert step.expected is not None
    assert step.expected[0] == (REPRODUCTIONS,)


def fresh_trials(belief: Belief, searched: Evidence) -> int:
    """Clean trials that a parent needs beside those of the search, once the culprit has reproduced."""
    belief, culprit, clean = replace(belief, others=(0, 500)), Evidence(5, 45), 0
    while isinstance(step := confirm([culprit], [Evidence(clean=clean)], belief, 1, searched=[searched]), Draw):
        assert step.bad == (0,)
        clean += step.good[0]
    return clean


def test_the_trials_by_which_a_search_called_a_parent_good_count_in_its_proof() -> None:
    alone, with_search = fresh_trials(RARE, Evidence()), fresh_trials(RARE, Evidence(clean=8))
    assert with_search == alone - 8
    apart = fresh_trials(RARE, Evidence(clean=10_000))
    assert apart > 20, "however long the search tried it, the fresh trials alone set it apart"


def test_they_do_not_count_where_failures_may_have_misled_the_search() -> None:
    warned = fresh_trials(RARE.warned(), Evidence(clean=8))
    assert warned == fresh_trials(RARE.warned(), Evidence())
    p_min = RARE.rate.plus(5, 50).lower(BUDGET.share(Stage.RATE, 1))
    assert (1 - p_min) ** warned <= BUDGET.share(Stage.PROOF, 1), "held against the lowest rate besides"


def test_a_parent_that_keeps_reproducing_contradicts() -> None:
    step, _ = played(RARE, [0] * 9 + [1], [[0] * 5 + [1] + [0] * 9 + [1] + [0] * 4 + [1]])
    assert isinstance(step, Contradiction)


def test_a_parent_that_reproduced_once_at_a_deterministic_bug_shows_a_background() -> None:
    step, _ = played(ALWAYS, [1], [[0, 1, 0]])
    assert step == NewBackground(False, 0, step.reason)


def test_a_parent_that_is_rarer_by_chance_is_drawn_on_before_it_is_a_background() -> None:
    """A bad end that reproduced often by luck: its parent is as bad, and was less lucky."""
    belief = Belief(BUDGET, Rate(6, 12), bad_end=(6, 12))
    rarer = Evidence(3, 22)
    assert as_far_apart((3, 25), belief.bad_end) <= UNLIKE
    assert confirm([Evidence()], [rarer], belief, 1) == Draw((0,), (SURE - 3,))
    assert isinstance(confirm([Evidence()], [rarer + Evidence(3, 3)], belief, 1), Contradiction)
    assert isinstance(confirm([Evidence()], [rarer + Evidence(3, 30)], belief, 1), NewBackground)


def test_a_culprit_that_does_not_reproduce_again_was_background() -> None:
    step, arms = played(RARE, [0], [[0]])
    assert isinstance(step, NewBackground)
    assert step.bad
    assert arms[0].clean < 300


def test_nobody_else_is_drawn_while_a_parent_is_in_doubt() -> None:
    step = confirm([Evidence(1, 3)], [Evidence(1, 3), Evidence(0, 4)], RARE, 1)
    assert step == Draw((0,), (2, 0))


def test_a_culprit_whose_trials_crash_otherwise_is_not_confirmed() -> None:
    assert isinstance(confirm([Evidence(0, 0, 3)], [Evidence()], RARE, 1), NoVerdict)


def test_a_parent_with_hidden_reproductions_cannot_be_judged() -> None:
    step = confirm([Evidence(5, 0, 0)], [Evidence(0, 30, 30)], Belief(BUDGET, Rate(12, 24), others=(1, 25)), 1)
    assert isinstance(step, Confirmation)
    assert step.unjudged == (0,)


def test_each_proof_of_a_campaign_needs_more() -> None:
    _, first = played(RARE, [0] * 9 + [1] + [0] * 9 + [1], [[0]], number=1)
    _, third = played(RARE, [0] * 9 + [1] + [0] * 9 + [1], [[0]], number=3)
    assert third[1].clean > first[1].clean


def test_with_a_background_a_parent_may_reproduce_now_and_then() -> None:
    step, arms = played(NOISY, [1, 0, 1] * 50, [[1] + [0] * 300])
    assert isinstance(step, Confirmation)
    assert arms[1].reproduced == 1


def test_with_a_background_a_parent_as_bad_as_the_culprit_contradicts() -> None:
    step, _ = played(NOISY, [1, 0, 1] * 50, [[1, 0, 1] * 50])
    assert isinstance(step, Contradiction)


@pytest.mark.parametrize("max_error", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_printed_error_stays_inside_the_budget(max_error: float, number: int) -> None:
    belief = Belief(Budget(max_error), Rate(6, 30), bad_end=(6, 30))
    for _ in range(6):
        belief = belief.after(Verdict.BAD, Evidence(1, 4))
    step, _ = played(belief, [0, 0, 0, 0, 1] * 60, [[0]], number)
    assert isinstance(step, Confirmation)
    assert step.error <= max_error
