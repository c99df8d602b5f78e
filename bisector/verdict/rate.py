# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the rate at which a bad candidate reproduces: a fold over trials. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from bisector.verdict.chance import log_beta, log_beta_below, rate_at_least, rate_at_most

GRID = 250  # points on the logarithm of the rate
OUTSIDE = 1e-12  # chance that is left outside the grid, about


@dataclass(frozen=True)
class TruncatedSample:
    """Trials of a candidate that the search called bad: the last one reproduced, ``limit`` clean ones were allowed.

    That it was called bad at all says that it reproduced within ``limit``, so its trials are a truncated sample.
    """

    trials: int
    limit: int


@dataclass(frozen=True)
class Rate:
    """Reproductions among trials of candidates known to be bad.

    Args:
        reproduced, trials: drawn until so many had reproduced, whatever came (bad end, culprits of proofs).
        stopped: the search's own bad candidates.
    """

    reproduced: int = 0
    trials: int = 0
    stopped: tuple[TruncatedSample, ...] = ()

    @property
    def all_reproduced(self) -> int:
        """Reproductions, the search's among them."""
        return self.reproduced + len(self.stopped)

    @property
    def all_trials(self) -> int:
        """Trials, the search's among them."""
        return self.trials + sum(candidate.trials for candidate in self.stopped)

    @property
    def mean(self) -> float:
        """The rate as it is expected (mean of Beta(r, n - r + 1))."""
        return self.all_reproduced / (self.all_trials + 1)

    def plus(self, reproduced: int, trials: int) -> Rate:
        """With more trials that were drawn until so many reproduced."""
        return replace(self, reproduced=self.reproduced + reproduced, trials=self.trials + trials)

    def with_stopped(self, trials: int, limit: int) -> Rate:
        """With a candidate that the search called bad at its first reproduction."""
        return replace(self, stopped=(*self.stopped, TruncatedSample(trials, limit)))

    def missed(self, clean: int) -> float:
        """Chance that one more bad candidate shows ``clean`` clean trials in a row; doubt about the rate is in it.

        The chance that all reproductions of a common sample lie in its first part (Fisher's exact test, 1935; the same
        as the Beta(r, n - r + 1) predictive distribution). Candidates of the search count here as if they had been
        drawn without limit: before the search's *first* error none of them met its limit, and it is the first error
        whose chance is bounded.
        """
        if not self.all_reproduced:
            return 1.0
        return math.comb(self.all_trials, self.all_reproduced) / math.comb(self.all_trials + clean, self.all_reproduced)

    def clean_needed(self, error: float) -> int:
        """The smallest number of clean trials that a bad candidate shows with chance ``error`` at most."""
        r, n = self.all_reproduced, self.all_trials
        if not r:
            raise ValueError("nothing has reproduced yet: no number of clean trials says anything")
        count = max(0, int((n - r) * (error ** (-1.0 / r) - 1.0)) - 1)
        while self.missed(count) > error:
            count += 1
        while count > 0 and self.missed(count - 1) <= error:
            count -= 1
        return count

    def lower(self, error: float) -> float:
        """Lower bound of the rate; above the true one with chance ``error`` at most.

        Without trials of the search: Clopper and Pearson (1934), exact. With them: the quantile of the confidence
        distribution whose density is likelihood / rate, each stopped candidate's likelihood divided by the chance
        that it reproduces within its limit (truncated geometric).
        """
        if not self.stopped:
            return rate_at_least(self.reproduced, self.trials, error)
        return _truncated_lower(self, error)


def _truncated_lower(rate: Rate, error: float) -> float:
    """The quantile by the midpoint rule on the logarithm of the rate, from 1 downwards."""
    r, n = rate.all_reproduced, rate.all_trials
    limits = Counter(candidate.limit for candidate in rate.stopped)
    lowest = r / n * OUTSIDE ** (1.0 / max(1, rate.reproduced))
    step = -math.log(lowest) / GRID
    logs: list[float] = []
    for k in range(GRID):
        log_x = -(k + 0.5) * step
        log_clean = math.log1p(-math.exp(log_x))
        called_bad = 1.0
        for limit, times in limits.items():
            called_bad *= (1.0 - math.exp(limit * log_clean)) ** times
        logs.append(r * log_x + (n - r) * log_clean - math.log(called_bad))
    top = max(logs)
    weights = [math.exp(value - top) for value in logs]
    wanted, passed = error * math.fsum(weights), 0.0
    for k in range(GRID - 1, -1, -1):
        if passed + weights[k] >= wanted:
            return math.exp(-(k + 1.0 - (wanted - passed) / weights[k]) * step)
        passed += weights[k]
    return 1.0


@dataclass(frozen=True)
class Background:
    """How often the good end reproduces. None seen: taken for zero, and that is said as an assumption."""

    reproduced: int = 0
    trials: int = 0

    def upper(self, error: float) -> float:
        """Upper bound of the rate (Clopper and Pearson, 1934); 0 where none was ever seen, by assumption."""
        return rate_at_most(self.reproduced, self.trials, error) if self.reproduced else 0.0

    def unseen(self, error: float) -> float:
        """The highest rate that could have stayed unseen with chance ``error``; 1 without trials."""
        return rate_at_most(0, self.trials, error)


def log_odds(reproduced: int, clean: int, rate: Rate, background: Background) -> float:
    """Logarithm of how much likelier the trials are from a bad candidate than from a good one.

    A mixture sequential probability ratio test (Wald 1945; mixtures: Robbins 1970). The bad rate is spread as Beta over
    what is known of it, the good one likewise, both cut at the rate between them at which a trial says nothing; so
    one more reproduction always speaks for bad, and one more clean trial for good.
    """
    r, n = rate.all_reproduced, rate.all_trials
    if not background.reproduced:
        if reproduced:
            return math.inf
        missed = rate.missed(clean)
        return math.log(missed) if missed > 0.0 else -math.inf
    bad = (float(r), n - r + 1.0)
    good = (background.reproduced + 1.0, max(0.5, float(background.trials - background.reproduced)))
    cut = indifferent(_mean(good), _mean(bad))
    return _log_spread(bad, reproduced, clean, above=cut) - _log_spread(good, reproduced, clean, below=cut)


def indifferent(q: float, p: float) -> float:
    """The rate between ``q`` and ``p`` whose trials speak for neither (the slope of Wald's test, 1945)."""
    if not 0.0 < q < p < 1.0:
        return (q + p) / 2
    low, high = math.log((1 - q) / (1 - p)), math.log(p / q)
    return low / (low + high)


def _mean(beta: tuple[float, float]) -> float:
    return beta[0] / (beta[0] + beta[1])


def _log_spread(
    beta: tuple[float, float], reproduced: int, clean: int, *, above: float = 0.0, below: float = 1.0
) -> float:
    """Logarithm of the chance of the trials under a Beta that is cut to [above, below]."""
    a, b = beta
    after = a + reproduced, b + clean
    whole = log_beta(*after) - log_beta(a, b)
    return whole + _log_inside(*after, above, below) - _log_inside(a, b, above, below)


def _log_inside(a: float, b: float, above: float, below: float) -> float:
    """Logarithm of the part of Beta(a, b) in [0, below] or in [above, 1], exact in the far tails too."""
    if above > 0.0:
        return log_beta_below(b, a, 1.0 - above)
    return log_beta_below(a, b, below) if below < 1.0 else 0.0
