# SPDX-License-Identifier: GPL-2.0-only
"""How the allowed chance of a wrong culprit is spent over decisions whose number nobody knows beforehand. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What a share of the budget is spent on."""

    ENDS = "ends"  # that alike ends are taken for different; index: comparison, from 1
    CALLED_GOOD = "called_good"  # that the search calls a bad candidate good; index: Belief.called_good_index
    CALLED_GOOD_ALONE = "called_good_alone"  # the same without a background, where it can err in no other way
    CALLED_BAD = "called_bad"  # that the search calls a good candidate bad; index: Belief.called_bad_index
    PROOF = "proof"  # that the fresh trials of a proof repeat the search's error; index: proof, from 1
    PARENT = "parent"  # that a bad parent stays clean in search and proof (no background); index: as CALLED_GOOD
    RATE = "rate"  # that p_min is above the true rate; index: proof, from 1


ENDS_PART, CALLED_GOOD_PART, CALLED_BAD_PART = 0.10, 0.30, 0.10
"""What the search may err. Large on purpose, and the same for every ``max_error``: an error costs a proof that fails
early and a search that goes on, while each halving costs more trials at every candidate that is good."""

CALLED_GOOD_ALONE_PART = 0.70
"""What it may call good wrongly where there is no background. Nothing good is ever called bad there, and no parent
rests on how rarely a search errs (PARENT_PART)."""

SEARCH_PART = ENDS_PART + CALLED_GOOD_PART + CALLED_BAD_PART

RATE_PART = 0.25
"""Part of ``max_error`` that pays for p_min; the rest is search × proof."""

PARENT_PART = 1.0 / (1.0 + ENDS_PART + CALLED_GOOD_ALONE_PART)
"""Part of ``max_error`` for parents that the search called good and that are bad all the same. Parents that it never
judged are in doubt only where it erred; for those is the rest."""

FLAT = 4
"""Of the decisions of a search, so many get about the same share before the shares fall."""

FIRST = 0.7
"""Part that the first proof (or comparison of ends) may spend, the second of what is left, and so on."""


_CALLED = {
    Stage.CALLED_GOOD: CALLED_GOOD_PART,
    Stage.CALLED_GOOD_ALONE: CALLED_GOOD_ALONE_PART,
    Stage.CALLED_BAD: CALLED_BAD_PART,
}


@dataclass(frozen=True)
class Budget:
    """``max_error``: the chance that the printed culprit is wrong, over the whole campaign, 0 < max_error < 1.

    A wrong culprit is printed only when the search erred (chance SEARCH_PART at most) *and* the fresh proof repeats the
    error, or when p_min was taken too high. So ``SEARCH_PART × proof + rate <= max_error``.
    """

    max_error: float

    @property
    def proof(self) -> float:
        """What all proofs of a campaign together may err, given that the search did."""
        return min(0.5, (1.0 - RATE_PART) * self.max_error / SEARCH_PART)

    def share(self, stage: Stage, index: int) -> float:
        """What the decision ``index`` (from 1) of ``stage`` may err; over all indices it sums to the stage's part."""
        if index < 1:
            raise ValueError(f"decisions are counted from 1, not {index}")
        if stage is Stage.PROOF:
            return self.proof * falling(index)
        if stage is Stage.PARENT:
            return PARENT_PART * self.max_error * even(index)
        if stage is Stage.RATE:
            return RATE_PART * self.max_error * falling(index)
        if stage is Stage.ENDS:
            return ENDS_PART * falling(index)
        return _CALLED[stage] * even(index)

    def spent(self, stage: Stage, index: int) -> float:
        """The sum of the shares 1 to ``index``."""
        return sum(self.share(stage, k) for k in range(1, index + 1))


def even(index: int) -> float:
    """Shares FLAT / ((k + FLAT - 1) (k + FLAT)): near even at first, and their sum over all k is 1 (it telescopes)."""
    return FLAT / ((index + FLAT - 1) * (index + FLAT))


def falling(index: int) -> float:
    """Shares of a falling geometric sequence, whose sum over all k is 1."""
    return FIRST * (1.0 - FIRST) ** (index - 1)
