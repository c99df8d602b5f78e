# SPDX-License-Identifier: GPL-2.0-only
"""A suspect that no search named has to be proven to the same error by its proof alone."""

import random

import pytest

from bisector.verdict.budget import Budget
from bisector.verdict.confirm import Confirmation, Draw, Step, confirm
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import Belief, Evidence

MAX_ERROR = 0.05


def belief(reproduced: int, trials: int) -> Belief:
    """As both ends leave it."""
    return Belief(Budget(MAX_ERROR), Rate(reproduced, trials), bad_end=(reproduced, trials))


def proof(belief: Belief, rates: tuple[float, float], chance: random.Random) -> tuple[Step, int]:
    """The proof of a culprit and one parent that reproduce at these rates; and the parent's trials."""
    arms = [Evidence(), Evidence()]
    while True:
        step = confirm([arms[0]], [arms[1]], belief, 1)
        if not isinstance(step, Draw):
            return step, arms[1].conclusive
        for place, count in enumerate((step.bad[0], step.good[0])):
            for _ in range(count):
                hit = chance.random() < rates[place]
                arms[place] += Evidence(reproduced=1) if hit else Evidence(clean=1)


@pytest.mark.parametrize("rate", [0.15, 0.4, 1.0])
def test_the_error_that_is_printed_counts_on_no_search(rate: float) -> None:
    found = belief(6, round(6 / rate))
    with_search, fewer = proof(found, (rate, 0.0), random.Random(f"suspect {rate}"))
    alone, more = proof(found.of_suspect(), (rate, 0.0), random.Random(f"suspect {rate}"))
    assert isinstance(with_search, Confirmation)
    assert isinstance(alone, Confirmation)
    assert alone.error <= MAX_ERROR
    assert more >= fewer
    assert found.of_suspect().search_error == 1.0


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_a_suspect_whose_parent_has_the_bug_too_is_hardly_ever_confirmed(rate: float) -> None:
    """The rate is learnt as a campaign does, from six reproductions of its bad end."""
    chance, wrong, count = random.Random(f"wrong {rate}"), 0, 600
    for _ in range(count):
        trials = reproduced = 0
        while reproduced < 6:
            trials += 1
            reproduced += chance.random() < rate
        step, _ = proof(belief(6, trials).of_suspect(), (rate, rate), chance)
        wrong += isinstance(step, Confirmation)
    assert wrong / count <= MAX_ERROR
