# SPDX-License-Identifier: GPL-2.0-only
"""What the calibration counts, and its tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bisector.verdict.chance import rate_at_least, rate_at_most


@dataclass
class Tally:
    """One cell's campaigns. ``wrong``: a culprit that is not the planted one, or a narrowed set without it."""

    campaigns: int = 0
    wrong: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    provable: int = 0
    provable_kinds: Counter[str] = field(default_factory=Counter)
    trials: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    search_wrong: int = 0
    false_bad: int = 0
    p_min_too_high: int = 0
    infra: int = 0
    other: int = 0
    stops: int = 0
    steps: int = 0
    bits: float = 0.0
    seconds: float = 0.0

    def mean(self, *stages: str) -> float:
        """Mean trials a campaign of these stages."""
        return sum(self.trials[stage] for stage in stages) / self.campaigns


def upper(wrong: int, campaigns: int) -> float:
    """Upper end of the two-sided 95 % Clopper–Pearson interval: stricter than the one-sided 95 % bound."""
    return rate_at_most(wrong, campaigns, 0.025)


def lower(right: int, campaigns: int) -> float:
    """Lower end of the same interval."""
    return rate_at_least(right, campaigns, 0.025)


def capacity(rate: float) -> float:
    """Bits that one trial at rate ``rate`` (no background) can carry: capacity of the Z-channel.

    Golomb (1980): log2(1 + (1 - e) e^(e / (1 - e))) where e = 1 - rate is the chance that a bad commit stays clean.
    """
    miss = 1.0 - rate
    return math.log2(1.0 + rate * miss ** (miss / rate)) if miss else 1.0


def fewest_trials(bits: float, rate: float, other: float, error: float) -> float:
    """No rule can do with fewer trials on average: Fano's inequality over the channel, other failures erasing it."""
    doubt = -error * math.log2(error) - (1 - error) * math.log2(1 - error)
    return max(0.0, ((1 - error) * bits - doubt) / (capacity(rate) * (1 - other)))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; floats with one digit."""
    lines = [list(head), ["---"] * len(head)]
    lines += [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
