# SPDX-License-Identifier: GPL-2.0-only
"""Evidence and belief → decided, or how many trials more. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bisector.model import Reading, Signal, Verdict


@dataclass(frozen=True)
class Evidence:
    """Counts of a candidate's trials by signal. Infra trials are no evidence and are not here (law 1)."""

    reproduced: int = 0
    clean: int = 0
    other: int = 0

    @staticmethod
    def of(readings: Iterable[Reading]) -> Evidence:
        """Count the signals of ``readings``."""
        signals = [reading.signal for reading in readings]
        return Evidence(
            signals.count(Signal.REPRODUCED), signals.count(Signal.CLEAN), signals.count(Signal.OTHER_FAILURE)
        )


@dataclass(frozen=True)
class FixedTrials:
    """A belief that asks for a fixed number of trials: all clean is good, one reproduced is bad.

    Args:
        trials: clean trials that make a candidate good.
        other_cap: other failures after which the candidate is skipped as one that cannot be judged.
    """

    trials: int = 2
    other_cap: int = 3


@dataclass(frozen=True)
class Decided:
    """The verdict, and the evidence in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class More:
    """So many trials more may be drawn at once without wasting one."""

    count: int


def decide(evidence: Evidence, belief: FixedTrials) -> Decided | More:
    """Whether the evidence is enough under the belief.

    An other failure says nothing about the candidate (law 2): it costs a trial, and only when ``other_cap`` of them
    came before a decision is the candidate a skip.
    """
    if evidence.reproduced:
        return Decided(Verdict.BAD, f"reproduced in {evidence.reproduced} of {evidence.reproduced + evidence.clean}")
    if evidence.clean >= belief.trials:
        return Decided(Verdict.GOOD, f"clean in {evidence.clean} of {evidence.clean}")
    if evidence.other >= belief.other_cap:
        return Decided(Verdict.SKIP, f"{evidence.other} trials ended in another failure")
    return More(belief.trials - evidence.clean)
