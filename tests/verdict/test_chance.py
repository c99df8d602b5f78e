# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of chance, held against scipy."""

import math

import pytest
from scipy import special, stats

from bisector.verdict.chance import (
    as_far_apart,
    beta_below,
    log_beta_below,
    mean_at_most,
    rate_at_least,
    rate_at_most,
    too_few,
)

BETAS = [(1, 1), (0.5, 3), (6, 55), (60, 1), (1, 400), (8, 73), (250, 150)]


@pytest.mark.parametrize(("a", "b"), BETAS)
@pytest.mark.parametrize("x", [1e-6, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_incomplete_beta(a: float, b: float, x: float) -> None:
    assert beta_below(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-300)


def test_far_tails_do_not_vanish() -> None:
    assert log_beta_below(100, 5, 0.01) == pytest.approx(stats.beta.logcdf(0.01, 100, 5), rel=1e-9)
    assert -2800 < log_beta_below(300, 5, 1e-4) < -2700  # scipy has -inf here


@pytest.mark.parametrize(("reproduced", "trials"), [(0, 5), (1, 1), (6, 60), (5, 5), (3, 400), (19, 3000)])
@pytest.mark.parametrize("error", [0.0005, 0.025, 0.3])
def test_clopper_and_pearson(reproduced: int, trials: int, error: float) -> None:
    exact = stats.binomtest(reproduced, trials).proportion_ci(1 - 2 * error, method="exact")
    assert rate_at_least(reproduced, trials, error) == pytest.approx(exact.low, abs=1e-9)
    assert rate_at_most(reproduced, trials, error) == pytest.approx(exact.high, abs=1e-9)


@pytest.mark.parametrize(("low", "high"), [((0, 4), (4, 4)), ((1, 30), (9, 25)), ((0, 85), (5, 50)), ((3, 9), (1, 9))])
def test_fisher(low: tuple[int, int], high: tuple[int, int]) -> None:
    table = [[high[0], high[1] - high[0]], [low[0], low[1] - low[0]]]
    assert as_far_apart(low, high) == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


@pytest.mark.parametrize(("reproduced", "trials", "rate"), [(0, 30, 0.1), (3, 40, 0.2), (5, 5, 0.9), (60, 100, 0.5)])
def test_too_few(reproduced: int, trials: int, rate: float) -> None:
    assert too_few(reproduced, trials, rate) == pytest.approx(stats.binom.cdf(reproduced, trials, rate))


@pytest.mark.parametrize(("seconds", "events", "error"), [(400.0, 10, 0.1), (30.0, 1, 0.05), (9.0, 40, 0.01)])
def test_mean_time(seconds: float, events: int, error: float) -> None:
    expected = 2 * seconds / stats.chi2.ppf(error, 2 * events)
    assert mean_at_most(seconds, events, error) == pytest.approx(expected)


def test_no_event_bounds_no_mean() -> None:
    assert math.isinf(mean_at_most(100.0, 0, 0.1))
