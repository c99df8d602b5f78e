# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of chance that verdicts need, in closed forms on ``math`` alone.

scipy has all of it and the tests hold this module against scipy; importing scipy would cost each command half a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

TINY = 1e-300
PRECISION = 1e-12
STEPS = 100  # halvings of [0, 1]: more than a double has bits


def log_beta(a: float, b: float) -> float:
    """Logarithm of the Beta function B(a, b), for a, b > 0."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def beta_below(a: float, b: float, x: float) -> float:
    """Chance that a Beta(a, b) variable is at most ``x``: the regularised incomplete beta function I_x(a, b)."""
    return math.exp(log_beta_below(a, b, x)) if x > 0.0 else 0.0


def log_beta_below(a: float, b: float, x: float) -> float:
    """Logarithm of ``beta_below``, good in far tails too.

    Continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, by Lentz's method (1976).
    """
    if x <= 0.0:
        return -math.inf
    if x >= 1.0:
        return 0.0
    if x > (a + 1.0) / (a + b + 2.0):
        return math.log1p(-min(1.0 - TINY, math.exp(_log_tail(b, a, 1.0 - x))))
    return _log_tail(a, b, x)


def _log_tail(a: float, b: float, x: float) -> float:
    return a * math.log(x) + b * math.log1p(-x) - log_beta(a, b) - math.log(a) + math.log(_fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _nonzero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        factor = 1.0
        for term in (even, odd):
            d = 1.0 / _nonzero(1.0 + term * d)
            c = _nonzero(1.0 + term / c)
            factor = c * d
            value *= factor
        if abs(factor - 1.0) < PRECISION:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > TINY else TINY


def crossing(rising: Callable[[float], float], level: float) -> float:
    """The largest x in [0, 1] that bisection finds with ``rising(x) <= level``."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) <= level else (low, middle)
    return low


@lru_cache(1 << 12)
def rate_at_least(reproduced: int, trials: int, error: float) -> float:
    """Lower bound of a rate; with chance ``error`` at most it lies above the true one.

    Clopper and Pearson (1934). The same bound holds for a fixed number of trials and for "until so many reproduced":
    that the n-th trial already brings the r-th reproduction is the same event as r or more among n.
    """
    if reproduced == 0:
        return 0.0
    return crossing(lambda x: beta_below(reproduced, trials - reproduced + 1, x), error)


def rate_at_most(reproduced: int, trials: int, error: float) -> float:
    """Upper bound of a rate; with chance ``error`` at most it lies below the true one (Clopper and Pearson, 1934)."""
    if reproduced >= trials:
        return 1.0
    return crossing(lambda x: beta_below(reproduced + 1, trials - reproduced, x), 1.0 - error)


def as_far_apart(low: tuple[int, int], high: tuple[int, int]) -> float:
    """Chance that two samples of one common rate lie at least so far apart, ``high`` above ``low``.

    Fisher's exact test, one-sided (1935). A sample is (reproduced, trials).
    """
    (few, n), (many, m) = low, high
    total = few + many
    ways = sum(math.comb(m, k) * math.comb(n, total - k) for k in range(many, min(total, m) + 1))
    return ways / math.comb(n + m, total)


def too_few(reproduced: int, trials: int, rate: float) -> float:
    """Chance of so few reproductions or fewer in ``trials`` at ``rate`` (binomial)."""
    if reproduced >= trials:
        return 1.0
    return 1.0 - beta_below(reproduced + 1, trials - reproduced, rate)


def mean_at_most(seconds: float, events: int, error: float) -> float:
    """Upper bound of the mean time to an event, from ``events`` events in ``seconds`` of watching in all.

    Exponential times, watching ended by event or clock (Epstein and Sobel, 1953): 2 × seconds / mean is held against
    chi-square with 2 × events degrees, whose quantile is found here by bisection of the Poisson sum.
    """

    def seen(x: float) -> float:  # chance of ``events`` events or more where x / (1 - x) are expected
        expected = x / (1.0 - x) if x < 1.0 else math.inf
        if math.isinf(expected):
            return 1.0
        return 1.0 - math.fsum(
            math.exp(-expected + k * math.log(expected) - math.lgamma(k + 1)) if expected > 0 else float(k == 0)
            for k in range(events)
        )

    if events == 0:
        return math.inf
    x = crossing(seen, error)
    return seconds * (1.0 - x) / x if x > 0 else math.inf
