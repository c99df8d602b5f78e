# SPDX-License-Identifier: GPL-2.0-only
"""The proof's arithmetic: fresh trials of the culprit and its like against its parents and their like. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bisector.verdict.budget import Stage
from bisector.verdict.chance import as_far_apart, too_few
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import Belief, Evidence

REPRODUCTIONS = 5
"""Fresh reproductions asked of the culprit: they sharpen p_min, and let its difference from a parent show by itself."""


@dataclass(frozen=True)
class Draw:
    """Trials more by leg, to be drawn in turns: ``bad`` as the bad legs were given, ``good`` as the good ones."""

    bad: tuple[int, ...]
    good: tuple[int, ...]


@dataclass(frozen=True)
class Confirmed:
    """Every leg that could be judged came out as wanted.

    Args:
        p_min: the guarantee holds for rates of reproduction at or above it.
        confidence: chance that the true rate is not below p_min.
        error: chance at most that the whole campaign prints a wrong commit, at rates at or above p_min or not.
        unjudged: places among the good legs that could not be judged (law 3: then it is ``narrowed``).
    """

    p_min: float
    confidence: float
    error: float
    unjudged: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contradicted:
    """A leg came out the other way: the search erred. ``bad``: it is among the bad legs; ``place``: which one."""

    bad: bool
    place: int
    reason: str


@dataclass(frozen=True)
class Unconfirmed:
    """A bad leg could not be judged: other failures, or too many trials."""

    place: int
    reason: str


def confirm(
    bad: Sequence[Evidence], good: Sequence[Evidence], belief: Belief, number: int
) -> Draw | Confirmed | Contradicted | Unconfirmed:
    """Whether the fresh trials of a proof are enough.

    Args:
        bad: fresh trials of the culprit, then of others that must be bad (the culprit applied on the good end).
        good: fresh trials of each parent (for a narrowed set: of each commit that bounds it), then of others that must
            be good (the culprit reverted on the bad end).
        belief: as the search left it.
        number: of this proof in the campaign, from 1.

    The culprit must reproduce REPRODUCTIONS times, others that must be bad once. Every good leg must stay clean so
    often that one which reproduces at p_min would do so with the proof's share as chance; and the fresh trials
    alone must set it apart from the culprit (Fisher's exact test at the same level as max_error). With a background
    rate each leg is a sequential probability ratio test between the bounds of both rates (Wald, 1945).
    """
    terms = _Terms(belief, bad[0], number)
    for place, evidence in enumerate(good):
        if terms.is_bad(evidence):
            return Contradicted(False, place, f"reproduced in {evidence.figures} fresh trials")
    for place, evidence in enumerate(bad):
        if terms.is_good(evidence) or terms.far_too_few(evidence):
            return Contradicted(True, place, f"reproduced in {evidence.figures} fresh trials only")
        if terms.failing(evidence) and not terms.enough_bad(place, evidence):
            return Unconfirmed(place, f"{evidence.other} fresh trials ended in another failure: {evidence.figures}")
    unjudged = tuple(place for place, evidence in enumerate(good) if terms.unjudged(evidence, bad[0]))
    more_bad = tuple(terms.more_bad(place, evidence) for place, evidence in enumerate(bad))
    pace = bad[0].told + more_bad[0]
    more_good = tuple(
        0 if place in unjudged else terms.more_good(evidence, bad[0], pace if more_bad[0] else 0)
        for place, evidence in enumerate(good)
    )
    if any(more_bad) or any(more_good):
        return Draw(more_bad, more_good)
    judged = [evidence for place, evidence in enumerate(good) if place not in unjudged]
    return Confirmed(terms.p_min, 1.0 - terms.rate_error, terms.error(judged), unjudged)


@dataclass(frozen=True)
class _Terms:
    """What one proof asks, from all that is known when it is asked. The rates' bounds are dear: found late, kept."""

    belief: Belief
    culprit: Evidence
    number: int

    @property
    def has_background(self) -> bool:
        return self.belief.background.reproduced > 0

    @property
    def rate_error(self) -> float:
        return self.belief.budget.share(Stage.RATE, self.number)

    @property
    def share(self) -> float:
        """With a background both sides may err, so each has half."""
        return self.belief.budget.share(Stage.PROOF, self.number) / (2 if self.has_background else 1)

    @cached_property
    def rate(self) -> Rate:
        fresh = self.culprit
        return self.belief.rate.plus(fresh.reproduced, fresh.told) if fresh.reproduced else self.belief.rate

    @cached_property
    def p_min(self) -> float:
        return self.rate.lower(self.rate_error / (2 if self.has_background else 1))

    @cached_property
    def q_max(self) -> float:
        return self.belief.background.upper(self.rate_error / 2)

    def odds(self, evidence: Evidence) -> float:
        """Logarithm of how much likelier the trials are at p_min than at the highest background."""
        if not self.has_background:
            return math.inf if evidence.reproduced else evidence.clean * math.log1p(-self.p_min)
        if self.p_min <= self.q_max:
            return 0.0  # the bounds of the two rates overlap: nothing speaks for either
        up, down = math.log(self.p_min / self.q_max), math.log((1 - self.p_min) / (1 - self.q_max))
        return evidence.reproduced * up + evidence.clean * down

    def is_bad(self, evidence: Evidence) -> bool:
        return evidence.reproduced > 0 and self.odds(evidence) >= -math.log(self.share)

    def is_good(self, evidence: Evidence) -> bool:
        return evidence.clean > 0 and self.odds(evidence) <= math.log(self.share)

    def far_too_few(self, evidence: Evidence) -> bool:
        """Reproductions came, and so rarely that p_min does not hold for this leg."""
        expected = self.rate.all_reproduced / self.rate.all_trials * evidence.told
        if not 0 < evidence.reproduced < expected / 2:
            return False
        return too_few(evidence.reproduced, evidence.told, self.p_min) <= self.share / 10

    def enough_bad(self, place: int, evidence: Evidence) -> bool:
        return self.is_bad(evidence) and evidence.reproduced >= (REPRODUCTIONS if place == 0 else 1)

    def more_bad(self, place: int, evidence: Evidence) -> int:
        if self.enough_bad(place, evidence):
            return 0
        return max(1, (REPRODUCTIONS if place == 0 else 1) - evidence.reproduced)

    def enough_good(self, evidence: Evidence, culprit: Evidence) -> bool:
        ours, theirs = (evidence.reproduced, evidence.told), (culprit.reproduced, culprit.told)
        level = self.belief.budget.max_error - self.belief.budget.spent(Stage.RATE, 50)
        return self.is_good(evidence) and as_far_apart(ours, theirs) <= level

    def more_good(self, evidence: Evidence, culprit: Evidence, pace: int) -> int:
        """Trials more of a good leg; while the culprit still draws, no further than it (``pace``)."""
        if pace:
            return max(0, pace - evidence.told)
        low, high = 0, 1
        while not self.enough_good(evidence + Evidence(clean=high), culprit) and high <= self.belief.trial_cap:
            low, high = high, 2 * high
        if self.enough_good(evidence, culprit):
            return 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self.enough_good(evidence + Evidence(clean=middle), culprit) else (middle, high)
            )
        return min(high, max(1, self.belief.trial_cap - evidence.told))

    def failing(self, evidence: Evidence) -> bool:
        return evidence.other >= self.belief.other_cap + 2 * evidence.told or evidence.told >= 2 * self.belief.trial_cap

    def unjudged(self, evidence: Evidence, culprit: Evidence) -> bool:
        if self.enough_good(evidence, culprit):
            return self.belief.hides(evidence)
        return self.failing(evidence)

    def error(self, judged: Sequence[Evidence]) -> float:
        """Search × proof + rate, with the proofs before this one and the trials that this one really drew."""
        budget, before = self.belief.budget, self.number - 1
        passed = max((math.exp(self.odds(evidence)) for evidence in judged), default=1.0)
        proofs = (budget.spent(Stage.PROOF, before) if before else 0.0) + min(1.0, passed)
        return min(1.0, self.belief.search_error * proofs + budget.spent(Stage.RATE, self.number))
