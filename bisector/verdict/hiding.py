# SPDX-License-Identifier: GPL-2.0-only
"""Whether other failures hide the bug: a second bug that crashes just the trials that would have reproduced. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

FEW = 3
"""Fewer other failures than this hide nothing worth a doubt."""

STEPS = 60


def hidden_odds(other: int, clean: int, known: tuple[int, int], rate: float) -> float:
    """Logarithm of how much better "bad, but hidden" explains a candidate than "good" does.

    Args:
        other, clean: its trials; none of them reproduced.
        known: (other failures, all trials) of candidates known to be bad.
        rate: of reproduction.

    A likelihood ratio with the common rate of other failures at its best value under each hypothesis: good, all
    trials fail otherwise at one rate w; hidden, those of this candidate at w + (1 - w) × rate.
    """
    if other < FEW or (clean and rate >= 1.0):
        return -math.inf
    known_other, known_all = known

    def likelihood(w: float, extra: float) -> float:
        here = w + (1.0 - w) * extra
        return (
            _log(known_other, w) + _log(known_all - known_other, 1.0 - w) + _log(other, here) + _log(clean, 1.0 - here)
        )

    good = (known_other + other) / (known_all + other + clean)
    return _highest(lambda w: likelihood(w, rate)) - likelihood(good, 0.0)


def _log(count: int, chance: float) -> float:
    if not count:
        return 0.0
    return count * math.log(chance) if chance > 0.0 else -math.inf


def _highest(value: Callable[[float], float]) -> float:
    """The largest value on [0, 1] of a function with one top, by thirds."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if value(left) < value(right) else (low, right)
    return value((low + high) / 2)
