# SPDX-License-Identifier: GPL-2.0-only
"""The proof of what a search found: fresh trials of the culprit against each parent, and both ways by its edits.

No culprit without every parent freshly tested (law 3). Which trials are enough is the rule's to say (verdict/rule.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from bisector.direction import Direction
from bisector.judge import Judge
from bisector.model import Candidate, Commit, Image, Judgement, Outcome, OutcomeKind, TargetKind, Verdict
from bisector.search.commits import SearchResult
from bisector.search.gitrepo import History
from bisector.search.knowledge import Correction, Knowledge, MayHide, NewEndWrong, OldEndWrong, UntestableParents
from bisector.search.narrowing import what_splits
from bisector.search.proof_plan import Arms, ProofPlanner, Unchecked, UncheckedParent
from bisector.search.sampling import FirstTrials, draw_proof
from bisector.series import TrialSeries
from bisector.stage import Stage
from bisector.verdict.certainty import certainty
from bisector.verdict.confirm import (
    Confirmation,
    Contradiction,
    Draw,
    EditContradiction,
    NewBackground,
    NoVerdict,
    Step,
    UnjudgedArms,
)
from bisector.verdict.rule import Rule
from bisector.verdict.sequential import Decision, Evidence

NOTHING = Evidence()


@dataclass(frozen=True)
class Retry:
    """The proof contradicts the search. ``final``: nothing is left to go on from.

    Args:
        good: trials of the good end, or of good commits, that reproduced now and then; every verdict is in doubt.
        bad: trials of the bad end, which reproduces more rarely than was thought; likewise.
        instead: what can be said for certain where the search may not go on any more.
        searched: the commit whose trials of the search are among ``good``.
        impossible: the commit that the search named cannot be it.
        correction: what the search has to take into account, where it goes on.
    """

    reason: str
    final: bool = False
    good: Evidence = NOTHING
    bad: Evidence = NOTHING
    searched: str | None = None
    instead: Outcome | None = None
    correction: Correction | None = None
    impossible: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether the ends have to be tried anew."""
        return bool(self.good.conclusive or self.bad.conclusive)


@dataclass(frozen=True)
class Proof:
    """One proof. ``number``: of this proof in the campaign, from 1; ``old`` and ``new``: the ends.

    What ``known`` holds is read and never changed: what a proof learns is what it returns.
    """

    judge: Judge
    known: Knowledge
    history: History
    old: Commit
    new: Commit
    direction: Direction
    number: int
    target: TargetKind = TargetKind.KERNEL_SOURCE
    paths: tuple[str, ...] = ()

    def run(self, found: SearchResult) -> Outcome | Retry | UntestableParents:
        """The outcome that fresh trials allow (law 3), or what has to be taken into account before it is tried again.

        With UntestableParents the search is not in doubt: only the proof is to be planned anew without them.
        """
        with self.judge.ahead() as scope:
            arms = self._planner.arms(found, FirstTrials(scope, self._rule, self.number))
            if arms.new.untestable or self._unbounded(arms):
                return self._no_proof(arms)
            if parent := self._parent_of_same_image(arms):
                return self._changes_nothing(arms, parent)
            step = draw_proof(
                arms.bad, arms.good, self._rule, self.number, arms.edited, self._culprit(arms), self._searched(arms)
            )
        if stuck := self._stuck(arms, step):
            return UntestableParents(tuple(arm.candidate.revision for arm in stuck))
        if isinstance(step, Confirmation):
            return self._unjudged(arms, step) if step.unjudged else self._concluded(arms, step)
        if isinstance(step, UnjudgedArms):
            return self._untested(arms, step)
        assert not isinstance(step, Draw)
        return self._against(step, arms.bad[step.place] if step.bad else arms.good[step.place], arms)

    def _against(
        self, step: Contradiction | NewBackground | NoVerdict | EditContradiction, arm: TrialSeries, arms: Arms
    ) -> Retry:
        """What an arm says that is not as it has to be."""
        if not self._rule.learns:
            self._close(arms)
        if isinstance(step, NoVerdict):
            return Retry(f"{arm.candidate}: {step.reason}", final=True)
        if isinstance(step, EditContradiction):
            return Retry(f"{arm.candidate} {step.reason}", final=True)
        if not self._rule.learns:
            return self._otherwise(arm, arms, step.reason)
        if isinstance(step, NewBackground):
            return self._background(arm, arms, step.reason)
        return self._contradicted(arm, arms, step.reason)

    def _culprit(self, arms: Arms) -> Verdict | None:
        """What the culprit has to be; None where several suspects are left."""
        return self.direction.new if len(arms.suspects) == 1 else None

    def _searched(self, arms: Arms) -> tuple[Evidence | None, ...]:
        """The trials by which the search called each arm good that must be good; None where they count for an arm
        before it, which has the same image. Those of an image that the proof has not built itself count for nothing
        (law 8)."""
        counted: set[str] = set()
        found: list[Evidence | None] = []
        for arm in arms.good:
            image = arm.made.identity if isinstance(arm.made, Image) else None
            own = (
                NOTHING if image is None or arms.is_edited(arm) else self.known.searched(arm.candidate.revision, image)
            )
            found.append(None if image in counted else own)
            counted.update(() if image is None else (image,))
        return tuple(found)

    @property
    def _rule(self) -> Rule:
        return self.known.case.rule

    @property
    def _stage(self) -> str:
        return Stage.PROOF if self.number == 1 else Stage.PROOF.again(self.number)

    def _unbounded(self, arms: Arms) -> bool:
        """Whether nothing older can be tried. Where no rate is learnt, a commit without parent needs none."""
        rootless = not self._rule.learns and not arms.suspects[0].parents
        return not (arms.bad and arms.good) and not rootless

    def _stuck(self, arms: Arms, step: Step) -> list[TrialSeries]:
        """Parents that the search did not judge and that the proof could not try: they do not boot, or fail otherwise.

        Where a bug is looked for, other failures of a parent may hide it, and are no reason to go on without it.
        """
        found: list[TrialSeries] = []
        if isinstance(step, NoVerdict):
            found = [(arms.bad if step.bad else arms.good)[step.place]]
        elif isinstance(step, Confirmation):
            found = [arm for arm in (arms.good[place] for place in step.unjudged) if arm.untestable]
        frontier = self.known.frontier
        judged = {*frontier.old, *frontier.new, *frontier.skips, arms.new.candidate.revision}
        return [arm for arm in found if not arms.is_edited(arm) and arm.candidate.revision not in judged]

    def _parent_of_same_image(self, arms: Arms) -> TrialSeries | None:
        """The parent whose image is the culprit's own, where one commit is left and has such a parent."""
        culprit, *others = arms.suspects
        if others or not isinstance(arms.new.made, Image):
            return None
        parents = (arm for arm in (*arms.bad, *arms.good) if arm.candidate.revision in culprit.parents)
        same = (arm for arm in parents if isinstance(arm.made, Image) and not arms.is_edited(arm))
        return next((arm for arm in same if cast(Image, arm.made).identity == arms.new.made.identity), None)

    def _changes_nothing(self, arms: Arms, parent: TrialSeries) -> Retry:
        """A commit with the image of a parent cannot be it (law 8). Fresh trials of that image say which of the two
        verdicts was wrong."""
        way, culprit = self.direction, arms.suspects[0]
        judged = self.judge.ask(parent.candidate, self.known.case, self._stage)
        fresh = Evidence.of(trial.reading for trial in judged.trials)
        reason = (
            f"it cannot be the {way.change}: its image is that of its parent {self._commit(parent)}, which is "
            f"{judged.verdict} in fresh trials"
        )
        if judged.verdict not in (way.old, way.new):
            return Retry(reason, final=True, impossible=True)
        wrong, end = (culprit.oid, way.new) if judged.verdict is way.old else (parent.candidate.revision, way.old)
        if wrong in (self.old.oid, self.new.oid):
            if not self._rule.learns:
                return Retry(reason, final=True, impossible=True)
            sides = {Verdict.GOOD: NOTHING, Verdict.BAD: NOTHING, end: fresh}
            return Retry(reason, good=sides[Verdict.GOOD], bad=sides[Verdict.BAD], impossible=True)
        correction = NewEndWrong(wrong, fresh) if judged.verdict is way.old else OldEndWrong(wrong, fresh)
        return Retry(reason, correction=correction, impossible=True)

    def _open(self, suspects: tuple[Commit, ...]) -> tuple[Commit, ...]:
        """Suspects without those that have the image of a parent: what they change is not built. All, where that leaves
        none."""
        left = tuple(commit for commit in suspects if not self._has_parents_image(commit))
        return left or suspects

    def _has_parents_image(self, commit: Commit) -> bool:
        own = self.judge.stored_image(Candidate(self.target, commit.oid))
        parents = (self.judge.stored_image(Candidate(self.target, oid)) for oid in commit.parents)
        return own is not None and any(parent and parent.identity == own.identity for parent in parents)

    @property
    def _planner(self) -> ProofPlanner:
        judge, known, history, way = self.judge, self.known, self.history, self.direction
        return ProofPlanner(judge, known, history, self.old, self.new, way, self._stage, self.target, self.paths)

    def _no_proof(self, arms: Arms) -> Outcome:
        """Nothing stands against the newest suspect that could be tried, or it cannot be tried itself. Then the search
        alone speaks for the set, and that may err often."""
        why = arms.new.untestable or "nothing older than it can be tried"
        suspects, new = self._open(arms.all_suspects), self.direction.git_new
        summary = f"the first {new} commit is one of {len(suspects)}, and no fresh trial proves it: {why}"
        unproven = self._narrowed(summary, suspects, (), arms.unchecked)
        return replace(unproven, kind=OutcomeKind.NOT_CONFIRMED)

    def _concluded(self, arms: Arms, step: Confirmation) -> Outcome:
        judged, unchecked = self._judged(arms, step), list(arms.unchecked)
        for bad, place in step.unchecked:
            arm = (arms.bad if bad else arms.good)[place]
            seen = arm.evidence
            figures = f"{seen.conclusive} trials were conclusive, {seen.other + seen.infra} were not"
            unchecked.append(Unchecked(str(arm.candidate), arm.untestable or figures))
        if len(arms.all_suspects) > 1:
            suspects = self._open(arms.all_suspects)
            return self._narrowed(self._one_of(suspects) + self._sure(step), suspects, judged, unchecked)
        (culprit,) = arms.suspects
        summary = f"{culprit}: reproduced {', '.join(_figure(one) for one in judged)}{self._sure(step)}"
        left_open = tuple(map(str, unchecked))
        return Outcome(OutcomeKind.CULPRIT, summary, culprit=culprit, proof=judged, unchecked=left_open)

    def _judged(self, arms: Arms, step: Confirmation) -> tuple[Judgement, ...]:
        """The arms' verdicts, those that could be judged; the culprit's edits last."""
        lost = {*step.unchecked, *((False, place) for place in step.unjudged)}
        sides = ((True, arms.bad, Verdict.BAD), (False, arms.good, Verdict.GOOD))
        judged = [
            (arm, verdict) for bad, side, verdict in sides for place, arm in enumerate(side) if (bad, place) not in lost
        ]
        judged.sort(key=lambda each: (arms.is_edited(each[0]), each[0] is not arms.new))
        return _counted_once(arm.judgement(verdict, f"reproduced in {arm.evidence.figures}") for arm, verdict in judged)

    def _narrowed(
        self,
        summary: str,
        suspects: tuple[Commit, ...],
        proof: tuple[Judgement, ...],
        unchecked: Iterable[Unchecked | UncheckedParent],
    ) -> Outcome:
        summary += what_splits(suspects, (*self.known.steps, *proof))
        left_open = tuple(map(str, unchecked))
        return Outcome(OutcomeKind.NARROWED, summary, suspects=suspects, proof=proof, unchecked=left_open)

    def _one_of(self, suspects: tuple[Commit, ...]) -> str:
        return f"the first {self.direction.git_new} commit is one of {len(suspects)} that cannot be distinguished"

    @staticmethod
    def _sure(step: Confirmation) -> str:
        """How sure the proof is, as the end of a sentence; "" where no rate was learnt."""
        return certainty(step.error, step.p_min) if step.p_min else ""

    # ---- against the search

    def _unjudged(self, arms: Arms, step: Confirmation) -> Retry:
        """What cannot be judged vouches for nothing, and the first bad commit may be older. Other failures that may
        hide the bug may have hidden it from the search too, so it takes its good verdicts anew."""
        unjudged = [arms.good[place] for place in step.unjudged]
        reason = f"no verdict in fresh trials for {', '.join(self._why_unjudged(arm) for arm in unjudged)}"
        oids = [arm.candidate.revision for arm in unjudged]
        if self.old.oid in oids or self.new.oid in oids:
            return Retry(reason, final=True)
        instead = None
        if not self.direction.find_fix:
            good = [arm.candidate.revision for arm in arms.good if arm.candidate.revision not in oids]
            suspects = self._open(self.history.left(arms.new.candidate.revision, (self.old.oid, *good)))
            summary = f"the first bad commit is one of {len(suspects)}: {reason}{self._sure(step)}"
            instead = self._narrowed(summary, suspects, self._judged(arms, step), arms.unchecked)
        return Retry(reason, instead=instead, correction=MayHide(tuple(oids)))

    def _why_unjudged(self, arm: TrialSeries) -> str:
        return f"{arm.candidate} ({arm.untestable or self._rule.unjudged(arm.evidence)})"

    def _commit(self, arm: TrialSeries) -> Commit:
        return self.history.commit(arm.candidate.revision)

    def _contradicted(self, arm: TrialSeries, arms: Arms, reason: str) -> Retry:
        """An arm that had to be good reproduces: a parent (search for the bug), or the fix itself (search for a fix).

        An end was tried before, so the search did not err there: the ends are tried anew with these trials too.
        """
        commit, fresh = self._commit(arm), arm.evidence
        if commit.oid in (self.old.oid, self.new.oid):
            return Retry(f"the end {arm.candidate} {reason}", good=fresh)
        reason = f"{arm.candidate} ({commit}) {reason}"
        if arm is arms.new:
            return Retry(reason, correction=NewEndWrong(commit.oid, fresh))
        culprit = NOTHING if arm.made == arms.new.made else arms.new.evidence  # one image's trials count once
        return Retry(reason, correction=OldEndWrong(commit.oid, fresh, culprit))

    def _background(self, arm: TrialSeries, arms: Arms, reason: str) -> Retry:
        """A commit that is good reproduces now and then; the bad end, where it is that, more rarely than was seen."""
        oid = arm.candidate.revision
        if oid == self.direction.good_bad(self.old, self.new)[1].oid and not arms.is_edited(arm):
            return Retry(f"the bad end {arm.candidate} {reason}", bad=arm.evidence)
        if self.direction.find_fix and self._never_bad(arm, arms):
            correction = OldEndWrong(oid, arm.evidence, arms.new.evidence)
            return Retry(f"{arm.candidate} ({self._commit(arm)}) {reason}", correction=correction)
        words = f"{arm.candidate} {reason}: good commits reproduce too"
        if arms.is_edited(arm):
            return Retry(words, good=arm.evidence)
        return Retry(words, good=self.known.uncounted(oid) + arm.evidence, searched=oid)

    def _never_bad(self, arm: TrialSeries, arms: Arms) -> bool:
        """Whether a parent that had to be bad never was: git took it for granted, by what holds it or as a branch."""
        seen = self.known.searched(arm.candidate.revision) + arm.evidence
        return any(arm is each for each in arms.bad) and not arms.is_edited(arm) and not seen.reproduced

    # ---- by a rule that learns nothing

    def _otherwise(self, arm: TrialSeries, arms: Arms, reason: str) -> Retry:
        """An arm is not as it has to be, and no trials of the search can be held against it. The search goes on
        where it had not judged the commit: it came with a merge of which only the first parent was searched."""
        commit, reason = self._commit(arm), f"{arm.candidate} ({self._commit(arm)}) {reason}"
        known = (self.old.oid, self.new.oid, arms.new.candidate.revision)
        if commit.oid in known or self.known.searched(commit.oid).conclusive:
            return Retry(reason, final=True)
        return Retry(reason, correction=OldEndWrong(commit.oid))

    def _untested(self, arms: Arms, step: UnjudgedArms) -> Outcome:
        """The culprit stands against the parents that could be judged; one that could not is as suspect as it is."""
        judged = self._close(arms)
        lost = [(arms.bad if bad else arms.good)[place] for bad, place in step.places]
        if len(arms.suspects) > 1:
            why = [Unchecked(str(arm.candidate), arm.untestable or self._rule.unjudged(arm.evidence)) for arm in lost]
            suspects = self._open(arms.all_suspects)
            return self._narrowed(self._one_of(suspects), suspects, judged, (*arms.unchecked, *why))
        parents = [self._commit(arm) for arm in lost]
        below = [commit for parent in parents for commit in (parent, *self._planner.open_below(parent.oid))]
        suspects = self._open(tuple({commit.oid: commit for commit in (*arms.all_suspects, *below)}.values()))
        summary = (
            f"{arms.suspects[0]} is {self.direction.new}, and whether it came with it is not known: no verdict for its "
            f"parent {', '.join(map(str, parents))}"
        )
        return self._narrowed(summary, suspects, judged, arms.unchecked)

    def _close(self, arms: Arms) -> tuple[Judgement, ...]:
        """The verdicts of the arms that have one, stored; the culprit's first."""
        decided = []
        for arm in sorted((*arms.bad, *arms.good), key=lambda arm: arm is not arms.new):
            decision = arm.decide()
            if isinstance(decision, Decision):
                decided.append(arm.judgement(decision.verdict, arm.untestable or decision.reason))
        return _counted_once(decided)


def _counted_once(judgements: Iterable[Judgement]) -> tuple[Judgement, ...]:
    """The judgements of a proof; of those of one image the first alone has the trials, which they share."""
    first: dict[tuple[str, Verdict], Judgement] = {}
    once = []
    for judgement in judgements:
        before = first.setdefault((judgement.image, judgement.verdict), judgement)
        if before is not judgement:
            reason = f"the same image as {before.candidate}, whose trials count once"
            judgement = replace(judgement, trials=(), harness_failures=0, reason=reason)
        once.append(judgement)
    return tuple(once)


def _figure(judgement: Judgement) -> str:
    reproduced, trials = judgement.counts
    return (
        f"{reproduced}/{trials} at {judgement.candidate}" if trials else f"{judgement.candidate} is {judgement.reason}"
    )
