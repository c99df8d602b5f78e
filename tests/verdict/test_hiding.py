# SPDX-License-Identifier: GPL-2.0-only
"""Other failures that hide the bug."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from bisector.verdict.hiding import hidden_odds, spread_odds


def test_crashes_as_common_as_everywhere_hide_nothing() -> None:
    assert hidden_odds(3, 57, (5, 95), 0.14) < math.log(0.1)


def test_crashes_in_place_of_reproductions_are_noticed() -> None:
    assert hidden_odds(14, 30, (2, 40), 0.21) > math.log(10)


def test_more_clean_trials_speak_against_hiding() -> None:
    odds = [hidden_odds(4, clean, (2, 40), 0.21) for clean in (10, 20, 40, 80)]
    assert odds == sorted(odds, reverse=True)


def test_one_or_two_crashes_are_no_matter() -> None:
    assert hidden_odds(2, 0, (0, 40), 0.35) == -math.inf


def test_an_overestimated_rate_does_not_blind() -> None:
    assert hidden_odds(43, 97, (2, 25), 0.29) > math.log(10)


@pytest.mark.parametrize(
    ("here", "known", "rate"),
    [((5, 105), (9, 180), (13, 130)), ((10, 100), (9, 180), (13, 130)), ((6, 30), (1, 40), (9, 30))],
)
def test_doubt_about_the_rate_counts_as_far_as_it_is_likely(
    here: tuple[int, int], known: tuple[int, int], rate: tuple[int, int]
) -> None:
    """By brute force: quantiles of the rate, and every usual rate of failures tried."""
    w = np.linspace(0.0005, 0.9995, 4000)

    def best(hidden: float) -> float:
        at = w + (1 - w) * hidden
        fit = stats.binom.logpmf(here[0], here[1], at) + stats.binom.logpmf(known[0], known[1], w)
        return float(fit.max())

    rates = stats.beta.ppf((np.arange(200) + 0.5) / 200, rate[0], rate[1] - rate[0] + 1)
    expected = logsumexp([best(each) for each in rates]) - math.log(200) - best(0.0)
    assert spread_odds(here, known, rate) == pytest.approx(expected, abs=0.05)


def test_few_failures_never_speak_for_hiding() -> None:
    assert spread_odds((2, 2), (0, 50), (9, 30)) == 0.0
    assert spread_odds((0, 40), (2, 50), (9, 30)) < -math.log(100)
