# SPDX-License-Identifier: GPL-2.0-only
"""The promised error bounds, computed exactly for a grid of rates: no simulation, no seed."""

import math

import numpy as np
import pytest
from scipy import stats

from bisector.model import Verdict
from bisector.verdict.budget import CALLED_GOOD_ALONE_PART, ENDS_PART, Budget, Stage
from bisector.verdict.confirm import REPRODUCTIONS
from bisector.verdict.ends import ENOUGH
from bisector.verdict.rate import Background, Rate, TruncatedSample
from bisector.verdict.sequential import Belief

BUDGET = Budget(0.01)
RATES = [0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]


def until(reproductions: int, rate: float, longest: int) -> np.ndarray:
    """Chance of each number of trials, 0 to ``longest``, until so many reproduced."""
    counts = np.arange(longest + 1)
    return np.where(counts >= reproductions, stats.nbinom.pmf(counts - reproductions, reproductions, rate), 0.0)


@pytest.mark.parametrize("rate", RATES)
def test_the_search_calls_a_bad_candidate_good_no_more_often_than_its_part_says(rate: float) -> None:
    """The worst history: bad candidates only. The state is the number of trials of all reproductions so far."""
    bad_candidates = 12
    longest = min(4000, int(40 / rate) + 60)
    trials = until(ENOUGH, rate, longest)
    error = 0.0
    for place in range(1, bad_candidates + 1):
        seen, after, here = ENOUGH + place - 1, np.zeros(longest + 1), 0.0
        for count in np.flatnonzero(trials > 1e-12):
            needed = Belief(BUDGET, Rate(seen, int(count)), called_good_index=place).clean_needed()
            here += trials[count] * (1 - rate) ** needed
            first = rate * (1 - rate) ** np.arange(needed)
            left = min(needed, longest - count)
            after[count + 1 : count + 1 + left] += trials[count] * first[:left]
        belief = Belief(BUDGET, Rate(seen, seen), called_good_index=place)
        assert here <= 1.02 * belief.may_call_good + 1e-9, f"bad candidate {place}"
        error, trials = error + here, after
    assert error <= CALLED_GOOD_ALONE_PART


@pytest.mark.parametrize("rate", RATES[1:])
@pytest.mark.parametrize("called_bad", [0, 3, 6])
def test_a_bad_parent_passes_search_and_proof_no_more_often_than_its_share(rate: float, called_bad: int) -> None:
    """A bad candidate that the search called good after so many bad ones, and that stays clean all along: its trials of
    search and proof are one sequence, held against all reproductions of the others, at any rate and without p_min."""
    longest = int(40 / rate) + 60
    share, reproduced = BUDGET.share(Stage.PARENT, called_bad + 1), ENOUGH + called_bad + REPRODUCTIONS
    chance = until(reproduced, rate, longest)
    passed = sum(
        chance[trials] * (1 - rate) ** Rate(reproduced, int(trials)).clean_needed(share)
        for trials in np.flatnonzero(chance > 1e-15)
    )
    assert passed <= share


@pytest.mark.parametrize("searched", range(1, 13))
def test_the_shares_of_parents_searched_and_not_sum_to_the_whole_error(searched: int) -> None:
    parents = BUDGET.spent(Stage.PARENT, searched)
    assert parents * (1 + ENDS_PART + CALLED_GOOD_ALONE_PART) <= BUDGET.max_error


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("called_bad", [0, 2, 6])
@pytest.mark.parametrize("error", [0.0017, 0.01, 0.05])
def test_p_min_is_above_the_rate_no_more_often_than_said(rate: float, called_bad: int, error: float) -> None:
    """Bad end and culprit until so many reproduced, the search's bad candidates cut at their limit (chance 5 %)."""
    limit = max(2, math.ceil(math.log(0.05) / math.log1p(-rate)))
    longest = int(60 / rate) + limit * called_bad
    chance = until(ENOUGH + 5, rate, longest)
    cut = np.zeros(limit + 1)
    cut[1:] = rate * (1 - rate) ** np.arange(limit)
    for _ in range(called_bad):
        chance = np.convolve(chance, cut / cut.sum())[: longest + 1]

    def above(total: int) -> bool:
        # only the sum of trials matters to the likelihood; how it is split over the candidates does not
        stopped = tuple(TruncatedSample(1, limit) for _ in range(called_bad))
        return Rate(ENOUGH + 5, total - called_bad, stopped).lower(error) > rate

    least = ENOUGH + 5 + called_bad
    low, high = least - 1, longest
    while high - low > 1:  # the bound falls as the trials of the same reproductions grow
        middle = (low + high) // 2
        low, high = (middle, high) if above(middle) else (low, middle)
    assert chance[: low + 1].sum() <= 1.1 * error


def errors_of_the_test(belief: Belief, rate: float) -> tuple[float, float, float]:
    """(chance of good, of bad, expected trials) of the sequential test on a candidate of that rate."""
    chance, good, bad, expected = {(0, 0): 1.0}, 0.0, 0.0, 0.0
    while chance:
        following: dict[tuple[int, int], float] = {}
        for (reproduced, clean), part in chance.items():
            side = belief.side(reproduced, clean)
            if side:
                good += part * (side is Verdict.GOOD)
                bad += part * (side is Verdict.BAD)
                continue
            expected += part
            for state, step in (((reproduced + 1, clean), rate), ((reproduced, clean + 1), 1 - rate)):
                if part * step > 1e-8:
                    following[state] = following.get(state, 0.0) + part * step
        chance = following
    return good, bad, expected


@pytest.mark.parametrize(
    ("rate", "background"), [(Rate(19, 32), (2, 32)), (Rate(40, 128), (3, 128)), (Rate(15, 16), (5, 16))]
)
def test_with_a_background_both_errors_stay_inside_their_shares(rate: Rate, background: tuple[int, int]) -> None:
    belief = Belief(BUDGET, rate, Background(*background))
    p, q = rate.reproduced / rate.trials, background[0] / background[1]
    called_good, _, _ = errors_of_the_test(belief, p)
    _, called_bad, trials = errors_of_the_test(belief, q)
    assert called_good <= BUDGET.share(Stage.CALLED_GOOD, 1)
    assert called_bad <= BUDGET.share(Stage.CALLED_BAD, 1)
    assert trials < 40


@pytest.mark.parametrize(("p", "q", "size"), [(0.6, 0.05, 32)])
def test_with_a_background_that_was_estimated_both_errors_stay_inside_their_shares(
    p: float, q: float, size: int
) -> None:
    """Over everything that the ends could have shown and that is called different."""
    good = bad = weight = 0.0
    for r in range(size + 1):
        for s in range(1, size + 1):
            part = stats.binom.pmf(r, size, p) * stats.binom.pmf(s, size, q)
            if part < 8e-3 or r / size < 2 * s / size or r < ENOUGH:
                continue
            belief = Belief(BUDGET, Rate(r, size), Background(s, size))
            good += part * errors_of_the_test(belief, p)[0]
            bad += part * errors_of_the_test(belief, q)[1]
            weight += part
    assert good / weight <= BUDGET.share(Stage.CALLED_GOOD, 1)
    assert bad / weight <= BUDGET.share(Stage.CALLED_BAD, 1)
