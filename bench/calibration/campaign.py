# SPDX-License-Identifier: GPL-2.0-only
"""One simulated campaign: ends in rounds → search → proof → at most three restarts. All decisions are the product's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.calibration.git_model import Found, next_commit
from bench.calibration.target import Target
from bisector.model import OutcomeKind, Signal, Verdict
from bisector.search.frontier import Frontier
from bisector.verdict.budget import Budget
from bisector.verdict.confirm import (
    Confirmation,
    Contradiction,
    Draw,
    EditContradiction,
    NewBackground,
    NoVerdict,
    confirm,
)
from bisector.verdict.ends import MoreEndTrials, NoDifference, UntestableEnd, ends
from bisector.verdict.sequential import HARNESS_CAP, Belief, Decision, Evidence, decide, often_failed

RESTARTS = 3
ONE = {signal: Evidence().plus(signal) for signal in Signal}


@dataclass(frozen=True)
class Ended:
    """How a campaign ended. ``suspects``: one for ``culprit``. ``trials``: by stage, infrastructure faults apart."""

    kind: OutcomeKind
    suspects: frozenset[int] = frozenset()
    trials: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    false_good: int = 0  # verdicts of the search against the truth
    false_bad: int = 0
    p_min: float = 0.0
    error: float = 1.0
    steps: int = 0


class Campaign:
    """A campaign at work on a simulated target."""

    def __init__(self, target: Target, budget: Budget) -> None:
        self.target = target
        self.budget = budget
        self.trials: Counter[str] = Counter()
        self.tried: dict[int, Evidence] = {}
        self.false_good = self.false_bad = self.steps = 0
        last = len(target.history) - 1
        self.frontier = Frontier(("0",), (str(last),))
        self.good_end = self.bad_end = Evidence()

    def run(self) -> Ended:
        """The whole story."""
        started = self._ends(1)
        if not isinstance(started, Belief):
            return self._ended(started)
        self.belief = started
        for number in range(1, RESTARTS + 2):
            found = self._search()
            ended = self._prove(found, number)
            if ended is not None:
                return ended
        return self._ended(OutcomeKind.NOT_CONFIRMED, restarts=RESTARTS)

    # ---- trials

    def _draw(self, commit: int, stage: str) -> tuple[Signal, Evidence]:
        """One trial. Those that the harness failed are counted as evidence and not as trials."""
        signal = self.target.trial(commit, stage)
        if signal is not Signal.INFRA:
            self.trials[stage.split("-")[0]] += 1
        return signal, ONE[signal]

    # ---- ends

    def _ends(self, number: int) -> Belief | OutcomeKind:
        old, new = 0, len(self.target.history) - 1
        while isinstance(step := ends(self.good_end, self.bad_end, self.budget, number=number), MoreEndTrials):
            for turn in range(max(step.good, step.bad)):
                if turn < step.bad:
                    self.bad_end += self._draw(new, "ends")[1]
                if turn < step.good:
                    before = self.good_end.reproduced
                    self.good_end += self._draw(old, "ends")[1]
                    if self.good_end.reproduced and not before:
                        break  # a background: other rounds
        if isinstance(step, NoDifference):
            return OutcomeKind.ENDS_ALIKE
        return OutcomeKind.UNRESOLVED if isinstance(step, UntestableEnd) else step.belief

    # ---- search

    def _search(self) -> Found:
        history = self.target.history
        while True:
            known = self.frontier
            goods = [int(good) for good in known.old]
            choice = next_commit(history, int(known.first_new), goods, frozenset(map(int, known.skips)))
            if isinstance(choice, Found):
                return choice
            verdict = self._ask(choice)
            name = str(choice)
            if verdict is Verdict.GOOD:
                self.frontier = known.with_old(name)
            elif verdict is Verdict.BAD:
                self.frontier = known.with_new(name)
            else:
                self.frontier = known.with_skip(name)

    def _ask(self, commit: int) -> Verdict:
        self.steps += 1
        if commit in self.target.unbuildable:
            return Verdict.SKIP
        evidence = self.tried.get(commit, Evidence())
        while not isinstance(decision := decide(evidence, self.belief), Decision):
            for _ in range(decision.count):
                signal, one = self._draw(commit, "search")
                evidence += one
                if signal is Signal.REPRODUCED or (signal is Signal.OTHER_FAILURE and evidence.other > 2):
                    break
                if signal is Signal.INFRA and evidence.infra >= HARNESS_CAP:
                    break
        self.tried[commit] = evidence
        self.belief = self.belief.after(decision.verdict, evidence)
        bad = self.target.is_bad(commit)
        self.false_good += bad and decision.verdict is Verdict.GOOD
        self.false_bad += not bad and decision.verdict is Verdict.BAD
        return decision.verdict

    # ---- proof

    def _prove(self, found: Found, number: int) -> Ended | None:
        """The outcome, or None when the search has to go on."""
        culprit = int(self.frontier.first_new)
        arms, stand_ins = self._arms(found)
        bads, edited = [culprit], [0, 0]
        if len(found.suspects | stand_ins) == 1 and len(self.target.history.parents[culprit]) == 1:
            for side, kind, tried in ((1, "revert", arms), (0, "apply", bads)):
                if arm := self.target.edited(culprit, kind):
                    tried.append(arm)
                    edited[side] = 1
        fresh = {commit: Evidence() for commit in (*bads, *arms)}
        while True:
            tried = [fresh[arm] for arm in bads], [fresh[arm] for arm in arms]
            searched = [self.tried.get(arm, Evidence()) for arm in arms]
            step = confirm(*tried, self.belief, number, (edited[0], edited[1]), searched)
            if not isinstance(step, Draw):
                break
            wanted = {**dict(zip(bads, step.bad, strict=True)), **dict(zip(arms, step.good, strict=True))}
            for turn in range(max(wanted.values())):
                for commit, count in wanted.items():
                    if turn < count:
                        fresh[commit] += self._draw(commit, f"proof-{number}")[1]
                if any(often_failed(one) for one in fresh.values()):
                    break
                if not self.belief.background.reproduced and any(fresh[arm].reproduced == 1 for arm in arms):
                    break
        if isinstance(step, Contradiction):
            return self._contradicted(arms[step.place], culprit, fresh, number)
        if isinstance(step, NewBackground):
            commit = culprit if step.bad else arms[step.place]
            return self._background(commit, fresh[commit], number)
        if isinstance(step, NoVerdict | EditContradiction):
            return self._ended(OutcomeKind.NOT_CONFIRMED, restarts=number - 1)
        if step.unjudged:
            unjudged = [str(arms[place]) for place in step.unjudged]
            if self.frontier.old[0] in unjudged:
                return self._ended(OutcomeKind.NOT_CONFIRMED, restarts=number - 1)
            if number > RESTARTS:
                return self._ended(OutcomeKind.NARROWED, self._left(culprit, arms, step), number - 1, step)
            self.frontier = self.frontier.only_ends(*unjudged)
            self.belief = self.belief.warned()
            return None
        suspects = found.suspects | stand_ins
        kind = OutcomeKind.CULPRIT if len(suspects) == 1 else OutcomeKind.NARROWED
        return self._ended(kind, suspects, number - 1, step)

    def _arms(self, found: Found) -> tuple[list[int], frozenset[int]]:
        """Commits to be tried as good, and parents that cannot be tried and are vouched for by a newer good commit."""
        bounds = {p for c in found.suspects for p in self.target.history.parents[c]} - found.suspects
        missing = bounds & (self.target.unbuildable | set(map(int, self.frontier.skips)))
        vouching = {int(self.frontier.covering(str(commit), self._is_ancestor)) for commit in missing}
        return sorted((bounds - missing) | vouching), frozenset(missing)

    def _left(self, culprit: int, arms: list[int], step: Confirmation) -> frozenset[int]:
        """What may be the first bad commit when nothing vouches but the good end and arms that were judged."""
        ancestors = self.target.history.ancestors
        left = ancestors[culprit] & ~ancestors[0]
        for place, arm in enumerate(arms):
            if place not in step.unjudged and arm >= 0:
                left &= ~ancestors[arm]
        return frozenset(commit for commit in range(culprit + 1) if left >> commit & 1)

    def _contradicted(self, arm: int, culprit: int, fresh: dict[int, Evidence], number: int) -> Ended | None:
        if arm == 0:
            return self._background(arm, fresh[arm], number)
        wrong = self.frontier.wrongly_old(str(arm), self._is_ancestor)
        misjudged = [self.tried[int(commit)] for commit in wrong]
        self.frontier = self.frontier.is_new_after_all(str(arm), self._is_ancestor)
        self.belief = self.belief.corrected().known_bad(fresh[culprit], fresh[arm], *misjudged)
        self.tried[arm] = self.tried.get(arm, Evidence()) + fresh[arm]
        return None

    def _background(self, commit: int, fresh: Evidence, number: int) -> Ended | None:
        """A good commit reproduces now and then. Ends again, now knowing that, then all verdicts again."""
        last = len(self.target.history) - 1
        if commit == last:
            self.bad_end += fresh
        else:
            self.good_end += self.tried.get(commit, Evidence()) + fresh
        again = self._ends(number + 1)
        if not isinstance(again, Belief):
            return self._ended(again, restarts=number - 1)
        self.belief = again.carrying(self.belief.corrected())
        self.frontier = Frontier(("0",), (str(last),))
        return None

    def _is_ancestor(self, old: str, new: str) -> bool:
        return self.target.history.is_ancestor(int(old), int(new))

    def _ended(
        self,
        kind: OutcomeKind,
        suspects: frozenset[int] = frozenset(),
        restarts: int = 0,
        proof: Confirmation | None = None,
    ) -> Ended:
        return Ended(
            kind,
            suspects,
            self.trials,
            restarts,
            self.false_good,
            self.false_bad,
            proof.p_min if proof else 0.0,
            proof.error if proof else 1.0,
            self.steps,
        )
