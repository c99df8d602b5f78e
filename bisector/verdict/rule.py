# SPDX-License-Identifier: GPL-2.0-only
"""How verdicts are decided: what every rule answers, and the rule that learns rates. Pure.

``FixedTrials`` (verdict/fixed.py) is the other rule. Whoever draws trials asks a rule, and never which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bisector.model import Verdict
from bisector.verdict.confirm import Step, confirm
from bisector.verdict.ends import Difference, MoreEndTrials, NoDifference, UntestableEnd, ends
from bisector.verdict.hiding import Sample
from bisector.verdict.sequential import Belief, Decision, Evidence, More, decide

EndsStep = Difference | NoDifference | UntestableEnd | MoreEndTrials


class Rule(Protocol):
    """What a campaign decides by. Rules are frozen: what one learns is a new one."""

    @property
    def other_cap(self) -> int:
        """Other failures after which a candidate is skipped as one that cannot be judged."""
        ...

    @property
    def learns(self) -> bool:
        """Whether it learns how often the bug reproduces, and so can hold new trials against those of the search."""
        ...

    def decide(self, evidence: Evidence) -> Decision | More:
        """Whether the trials of one candidate are enough."""
        ...

    def ends(self, good: Evidence, bad: Evidence, number: int) -> EndsStep | None:
        """Whether the trials of both ends are enough; None where each end is judged by itself, as any candidate.

        ``number``: of this comparison in the campaign, from 1.
        """
        ...

    def held_against(self, evidence: Evidence, elsewhere: Callable[[], Sample]) -> Rule:
        """The rule for one candidate; ``elsewhere``: trials that the harness failed, and all, of other candidates."""
        ...

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
        """Whether the fresh trials of a proof are enough.

        Args:
            bad, good, number, edited, searched: as of ``confirm``.
            culprit: which verdict the culprit must have, the first arm of those; None for a set of suspects.
            elsewhere: (whether it is a bad arm, place) to the trials that the harness failed, and all, of other
                candidates.
        """
        ...

    def unjudged(self, evidence: Evidence) -> str:
        """Which failures keep a candidate from a verdict, in words."""
        ...

    def after(self, verdict: Verdict, evidence: Evidence) -> Rule:
        """The rule after one more candidate of the search was judged; call it once for each image, in order."""
        ...

    def corrected(self, side: Verdict, *tried: Evidence) -> Rule:
        """The rule after a proof found an error of the search: all trials of candidates that are ``side`` for sure."""
        ...

    def warned(self) -> Rule:
        """The rule after a proof met failures that may hide the bug: good verdicts are taken again, more warily."""
        ...

    def of_suspect(self) -> Rule:
        """The rule for the proof of a suspect that no search named."""
        ...

    def started(self, differ: Difference) -> Rule:
        """The rule that a search starts with, once its ends differ."""
        ...

    def started_anew(self, differ: Difference) -> Rule:
        """The same after a proof has thrown doubt on the ends; what the search has spent of its budget stays spent."""
        ...


@dataclass(frozen=True)
class Sequential:
    """The rule that learns: trials until the odds are clear, under a budget of error (verdict/sequential.py)."""

    belief: Belief

    @property
    def other_cap(self) -> int:
        """Of the belief."""
        return self.belief.other_cap

    @property
    def learns(self) -> bool:
        """It does."""
        return True

    def decide(self, evidence: Evidence) -> Decision | More:
        """By the odds of the belief."""
        return decide(evidence, self.belief)

    def held_against(self, evidence: Evidence, elsewhere: Callable[[], Sample]) -> Sequential:
        """The belief knows already how often the harness fails."""
        return self

    def unjudged(self, evidence: Evidence) -> str:
        """Which failures keep a candidate from a verdict, in words."""
        return self.belief.unjudged(evidence)

    def ends(self, good: Evidence, bad: Evidence, number: int) -> EndsStep:
        """Both ends compared, under the budget."""
        return ends(good, bad, self.belief.budget, number=number)

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
        """The arms head to head, under the proof's share of the budget."""
        return confirm(bad, good, self.belief, number, edited, searched)

    def after(self, verdict: Verdict, evidence: Evidence) -> Sequential:
        """The belief learns from what it judged."""
        return replace(self, belief=self.belief.after(verdict, evidence))

    def corrected(self, side: Verdict, *tried: Evidence) -> Sequential:
        """The belief with the error's share spent, and with the trials of candidates that are known now."""
        belief = self.belief.corrected()
        known = belief.known_bad(*tried) if side is Verdict.BAD else belief.known_good(*tried)
        return replace(self, belief=known)

    def warned(self) -> Sequential:
        """The belief, warier."""
        return replace(self, belief=self.belief.warned())

    def of_suspect(self) -> Sequential:
        """The belief with a stricter budget: nothing but the proof speaks for the suspect."""
        return replace(self, belief=self.belief.of_suspect())

    def started(self, differ: Difference) -> Sequential:
        """The belief that the ends give."""
        return replace(self, belief=differ.belief)

    def started_anew(self, differ: Difference) -> Sequential:
        """The belief that the ends give, with the shares that the search has spent, and one more for this error."""
        return replace(self, belief=differ.belief.carrying(self.belief.corrected()))
