# SPDX-License-Identifier: GPL-2.0-only
"""Whether other failures hide the bug: a second bug that crashes just the trials that would have reproduced. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

FEW = 3
"""Fewer other failures than this hide nothing worth a doubt."""

STEPS = 60


def hidden_odds(other: int, clean: int, known: tuple[int, int], least: float) -> float:
    """Logarithm of how much better "bad, but hidden" explains a candidate than "good" does.

    Args:
        other, clean: its trials; none of them reproduced.
        known: (other failures, all trials) of candidates known to be bad.
        least: rate that hidden reproductions have at least; an estimate of the rate itself may be too high.

    A likelihood ratio, each side at its best. Good: other failures have one rate w everywhere. Hidden: here they have
    w + (1 - w) × h, with h not below ``least``.
    """
    if other < FEW:
        return -math.inf
    known_other, known_all = known
    usual, here = known_other / max(1, known_all), other / (other + clean)

    def likelihood(w: float, h: float) -> float:
        return _log(known_other, w) + _log(known_all - known_other, 1 - w) + _log(other, h) + _log(clean, 1 - h)

    common = (known_other + other) / (known_all + other + clean)
    if here >= usual + (1.0 - usual) * least:
        hidden = likelihood(usual, here)
    else:
        hidden = _highest(lambda w: likelihood(w, w + (1.0 - w) * least))
    return hidden - likelihood(common, common)


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
