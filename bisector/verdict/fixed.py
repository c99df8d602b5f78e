# SPDX-License-Identifier: GPL-2.0-only
"""The rule of a fixed number of trials: all clean is good, one reproduced is bad. It learns nothing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bisector.model import Verdict
from bisector.verdict.chance import as_far_apart
from bisector.verdict.confirm import Confirmation, Contradiction, Draw, EditContradiction, NoVerdict, Step, UnjudgedArms
from bisector.verdict.hiding import FEW, Sample
from bisector.verdict.sequential import (
    OTHER_CAP,
    WARY,
    Decision,
    Evidence,
    More,
    in_harness,
    often_failed,
)

HONEST = (1, 20)
"""Trials that the harness fails among all, where nothing else was tried that a candidate could be held against."""

OFTEN = 0.05
"""Chance (Fisher's exact test) at which the harness fails more often at a candidate than elsewhere."""


@dataclass(frozen=True)
class _Arm:
    """An arm of a proof. ``own_edit``: it is an end with the culprit's own edit."""

    bad: bool
    place: int
    evidence: Evidence
    own_edit: bool

    @property
    def wanted(self) -> Verdict:
        """What it has to be."""
        return Verdict.BAD if self.bad else Verdict.GOOD


@dataclass(frozen=True)
class FixedTrials:
    """A rule that needs a fixed number of trials (verdict/rule.py).

    Args:
        trials: clean trials that make a candidate good.
        other_cap: other failures after which the candidate is skipped as one that cannot be judged.
        harness: trials that the harness failed among all of other candidates; HONEST where there are none.
        most: trials at most, whatever they show, without those that the harness fails; 0: no bound of their number.
    """

    trials: int = 2
    other_cap: int = OTHER_CAP
    harness: Sample = (0, 0)
    most: int = 0

    @property
    def learns(self) -> bool:
        """It learns no rate."""
        return False

    def decide(self, evidence: Evidence) -> Decision | More:
        """One reproduction is bad; ``trials`` clean ones are good unless the harness fails often here (law 7)."""
        if evidence.reproduced:
            return Decision(Verdict.BAD, f"reproduced in {evidence.reproduced} of {evidence.conclusive}")
        often = self._fails_often(evidence)
        if evidence.clean >= self.trials:
            if not often:
                return Decision(Verdict.GOOD, f"clean in {evidence.clean} of {evidence.clean}")
            if evidence.clean >= WARY * self.trials or self._left(evidence) == 0:
                return Decision(Verdict.SKIP, f"{in_harness(evidence.harness, self.harness)}: they may hide the bug")
            return More(1)
        if evidence.other >= self.other_cap:
            return Decision(Verdict.SKIP, self.unjudged(evidence))
        if often and often_failed(evidence):
            return Decision(Verdict.SKIP, in_harness(evidence.harness, self.harness))
        left = self._left(evidence)
        if left == 0:
            bound = f"no more than {self.most} {'is' if self.most == 1 else 'are'} run"
            return Decision(Verdict.SKIP, f"{self.unjudged(evidence)}, and {bound}")
        wanted = self.trials - evidence.clean
        return More(wanted if left is None else min(wanted, left))

    def _left(self, evidence: Evidence) -> int | None:
        """Trials that may still be run; None where nothing bounds them."""
        return max(0, self.most - evidence.clean - evidence.other) if self.most else None

    def ends(self, good: Evidence, bad: Evidence, number: int) -> None:
        """Each end is judged by itself."""

    def held_against(self, evidence: Evidence, elsewhere: Callable[[], Sample]) -> FixedTrials:
        """The rule with how often the harness failed elsewhere, which matters where it failed here FEW times."""
        return self if evidence.infra < FEW else replace(self, harness=elsewhere())

    def proof(
        self,
        bad: Sequence[Evidence],
        good: Sequence[Evidence],
        number: int,
        edited: tuple[int, int],
        culprit: Verdict | None,
        elsewhere: Callable[[bool, int], Sample],
        searched: Sequence[Evidence | None] = (),
    ) -> Step:
        """Each arm judged by itself, one trial at a time, the culprit first, up to one that is not as it has to be.

        The culprit's own edits are tried last, and only where every other arm could be judged.
        """
        arms = [_Arm(True, place, tried, place >= len(bad) - edited[0]) for place, tried in enumerate(bad)]
        arms += [_Arm(False, place, tried, place >= len(good) - edited[1]) for place, tried in enumerate(good)]
        untested: list[_Arm] = []
        first = next((arm for arm in arms if arm.wanted is culprit), None)
        for arm in sorted(arms, key=lambda arm: (arm.own_edit, arm is not first)):
            if arm.own_edit and not all(each.own_edit for each in untested):
                break
            rule = self.held_against(arm.evidence, partial(elsewhere, arm.bad, arm.place))
            decision = rule.decide(arm.evidence)
            if isinstance(decision, More):
                one = [int(each is arm) for each in arms]
                left = [max(both) for both in zip(one, self._expected(arms), strict=True)]
                expected = tuple(left[: len(bad)]), tuple(left[len(bad) :])
                return Draw(tuple(one[: len(bad)]), tuple(one[len(bad) :]), expected)
            if decision.verdict in (Verdict.SKIP, Verdict.WEAK):
                if arm is first:
                    return NoVerdict(arm.place, decision.reason, arm.bad)
                untested.append(arm)
            elif decision.verdict is not arm.wanted:
                reason = f"was to be {arm.wanted} and is {decision.verdict} in fresh trials: {decision.reason}"
                if arm.own_edit:
                    return EditContradiction(arm.bad, arm.place, reason)
                return Contradiction(arm.place, reason, arm.bad)
        places = tuple((arm.bad, arm.place) for arm in untested)
        if not all(arm.own_edit for arm in untested):
            return UnjudgedArms(places)
        return Confirmation(0.0, 0.0, 1.0, unchecked=places)

    def _expected(self, arms: Sequence[_Arm]) -> list[int]:
        """Trials that each arm has left if it is what it has to be; the culprit's own edits come after all others."""
        left = [
            int(not arm.evidence.reproduced) if arm.bad else max(0, self.trials - arm.evidence.clean) for arm in arms
        ]
        others = [0 if arm.own_edit else count for arm, count in zip(arms, left, strict=True)]
        return others if any(others) else left

    def unjudged(self, evidence: Evidence) -> str:
        """Which failures keep a candidate from a verdict, in words."""
        return f"{evidence.other} trial{'s' * (evidence.other != 1)} ended in another failure"

    def after(self, verdict: Verdict, evidence: Evidence) -> FixedTrials:
        """Nothing is learnt from a judgement."""
        return self

    def corrected(self, side: Verdict, *tried: Evidence) -> FixedTrials:
        """Nothing is learnt from an error."""
        return self

    def warned(self) -> FixedTrials:
        """Nothing is learnt from failures that may hide the bug."""
        return self

    def of_suspect(self) -> FixedTrials:
        """A suspect is judged as any other candidate."""
        return self

    def started(self, differ: object) -> FixedTrials:
        """Nothing is learnt from the ends."""
        return self

    started_anew = started

    def _fails_often(self, evidence: Evidence) -> bool:
        known = self.harness if self.harness[1] else HONEST
        return evidence.infra >= FEW and as_far_apart(known, evidence.harness) <= OFTEN
