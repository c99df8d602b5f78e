# SPDX-License-Identifier: GPL-2.0-only
"""The proof of what a search found: fresh trials of the culprit against each parent, and both ways by its edits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bisector.direction import Direction
from bisector.judge import Judge, TrialSeries
from bisector.model import Candidate, Commit, Judgement, Outcome, OutcomeKind, TargetKind, Verdict
from bisector.search.commits import SearchResult
from bisector.search.gitrepo import History
from bisector.search.knowledge import Knowledge
from bisector.search.narrowing import what_splits
from bisector.search.proof import Proof, Proven, prove
from bisector.search.proof_plan import Arms, ProofPlanner
from bisector.search.sampling import draw_proof
from bisector.verdict.confirm import BackgroundSeen, Confirmed, Contradicted, Contrary, Step, Unconfirmed
from bisector.verdict.sequential import Belief, Evidence

NOTHING = Evidence()


@dataclass(frozen=True)
class Again:
    """The proof contradicts the search. ``final``: nothing is left to go on from.

    Args:
        good: trials of the good end, or of good commits, that reproduced now and then; every verdict is in doubt.
        bad: trials of the bad end, which reproduces more rarely than was thought; likewise.
        instead: what can be said for certain where the search may not go on any more.
    """

    reason: str
    final: bool = False
    good: Evidence = NOTHING
    bad: Evidence = NOTHING
    instead: Outcome | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether the ends have to be tried anew."""
        return bool(self.good.conclusive or self.bad.conclusive)


@dataclass(frozen=True)
class Proving:
    """One proof. ``number``: of this proof in the campaign, from 1; ``old`` and ``new``: the ends."""

    judge: Judge
    known: Knowledge
    history: History
    old: Commit
    new: Commit
    direction: Direction
    number: int
    target: TargetKind = TargetKind.KERNEL_SOURCE
    paths: tuple[str, ...] = ()

    def prove(self, found: SearchResult) -> Outcome | Again:
        """The outcome that fresh trials allow (law 3), or what the search has to take into account."""
        if isinstance(self.known.case.belief, Belief):
            return self._sequential(found, self.known.case.belief)
        if found.first_bad is None:
            return self._bounded(found)
        lookup = self.history.commit
        proof = prove(found.first_bad, self._ask_fresh, lookup=lookup, direction=self.direction, target=self.target)
        if proof.kind is Proven.NOT_CONFIRMED:
            return self._otherwise(proof.against, found.first_bad, proof.summary)
        if proof.kind is Proven.NARROWED:
            below = [commit for parent in proof.suspects[1:] for commit in self._planner.open_below(parent.oid)]
            suspects = tuple({commit.oid: commit for commit in (*proof.suspects, *below)}.values())
            summary = proof.summary + what_splits(suspects, proof.judgements)
            return Outcome(OutcomeKind.NARROWED, summary, suspects=suspects, proof=proof.judgements)
        return self._both_ways(found.first_bad, proof)

    @property
    def _stage(self) -> str:
        return "proof" if self.number == 1 else f"proof-{self.number}"

    def _ask_fresh(self, asked: Candidate) -> Judgement:
        return self.judge.ask(asked, self.known.case, self._stage)

    # ---- with a belief: head to head, as many trials as the budget asks for

    def _sequential(self, found: SearchResult, belief: Belief) -> Outcome | Again:
        arms = self._arms(found)
        if arms.new.untestable or not (arms.bad and arms.good):
            return self._no_proof(arms)
        step = draw_proof(arms.bad, arms.good, belief, self.number, arms.edited)
        if self._without(self._stuck(arms, step)):
            return self._sequential(found, belief)
        if isinstance(step, Contradicted):
            return self._contradicted(arms.good[step.place], arms, step.reason)
        if isinstance(step, BackgroundSeen):
            return self._background((arms.bad if step.bad else arms.good)[step.place], arms, step.reason)
        if isinstance(step, Unconfirmed):
            return Again(f"{arms.bad[step.place].candidate}: {step.reason}", final=True)
        if isinstance(step, Contrary):
            return Again(f"{(arms.bad if step.bad else arms.good)[step.place].candidate} {step.reason}", final=True)
        assert isinstance(step, Confirmed)
        return self._unjudged(arms, step) if step.unjudged else self._concluded(arms, step)

    def _stuck(self, arms: Arms, step: Step) -> list[TrialSeries]:
        """Parents that nobody had asked for and that the proof could not try: they do not boot, or fail otherwise.

        Where a bug is looked for, other failures of a parent may hide it, and are no reason to go on without it.
        """
        found: list[TrialSeries] = []
        if isinstance(step, Unconfirmed):
            found = [arms.bad[step.place]]
        elif isinstance(step, Confirmed):
            found = [arm for arm in (arms.good[place] for place in step.unjudged) if arm.untestable]
        frontier = self.known.frontier
        asked = {*frontier.old, *frontier.new, *frontier.skips, arms.new.candidate.revision}
        return [arm for arm in found if not arms.is_edited(arm) and arm.candidate.revision not in asked]

    def _without(self, stuck: list[TrialSeries]) -> bool:
        """Take parents for skipped, as those that do not build; whether there were any."""
        for arm in stuck:
            self.known.frontier = self.known.frontier.with_skip(arm.candidate.revision)
        return bool(stuck)

    def _arms(self, found: SearchResult) -> Arms:
        return self._planner.arms(found)

    @property
    def _planner(self) -> ProofPlanner:
        judge, known, history, way = self.judge, self.known, self.history, self.direction
        return ProofPlanner(judge, known, history, self.old, self.new, way, self._stage, self.target, self.paths)

    def _no_proof(self, arms: Arms) -> Outcome:
        """Nothing stands against the newest suspect that could be tried, or it cannot be tried itself."""
        why = arms.new.untestable or "nothing older than it can be tried"
        count, new = len(arms.all_suspects), self.direction.git_new
        summary = f"the first {new} commit is one of {count}, and no fresh trial proves it: {why}"
        return self._narrowed(summary, arms.all_suspects, (), arms.unchecked)

    def _concluded(self, arms: Arms, step: Confirmed) -> Outcome:
        judged, unchecked = self._judged(arms, step), list(arms.unchecked)
        for bad, place in step.unchecked:
            arm = (arms.bad if bad else arms.good)[place]
            seen = arm.evidence
            figures = f"{seen.conclusive} trials were conclusive, {seen.other + seen.infra} were not"
            unchecked.append(f"{arm.candidate}: {arm.untestable or figures}")
        sure = self._sure(step)
        if len(arms.all_suspects) > 1:
            count = len(arms.all_suspects)
            summary = (
                f"the first {self.direction.git_new} commit is one of {count} that cannot be distinguished; {sure}"
            )
            return self._narrowed(summary, arms.all_suspects, judged, tuple(unchecked))
        (culprit,) = arms.suspects
        summary = f"{culprit}: reproduced {', '.join(_figure(one) for one in judged)}; {sure}"
        return Outcome(OutcomeKind.CULPRIT, summary, culprit=culprit, proof=judged, unchecked=tuple(unchecked))

    def _judged(self, arms: Arms, step: Confirmed) -> tuple[Judgement, ...]:
        """The arms' verdicts, those that could be judged; the culprit's edits last."""
        lost = {*step.unchecked, *((False, place) for place in step.unjudged)}
        sides = ((True, arms.bad, Verdict.BAD), (False, arms.good, Verdict.GOOD))
        judged = [
            (arms.is_edited(arm), arm.judgement(verdict, f"reproduced in {arm.evidence.figures}"))
            for bad, side, verdict in sides
            for place, arm in enumerate(side)
            if (bad, place) not in lost
        ]
        return _counted_once(judgement for _, judgement in sorted(judged, key=lambda each: each[0]))

    def _narrowed(
        self, summary: str, suspects: tuple[Commit, ...], proof: tuple[Judgement, ...], unchecked: tuple[str, ...]
    ) -> Outcome:
        splits = what_splits(suspects, self.known.steps)
        return Outcome(OutcomeKind.NARROWED, summary + splits, suspects=suspects, proof=proof, unchecked=unchecked)

    @staticmethod
    def _sure(step: Confirmed) -> str:
        return (
            f"chance of error below {_percent(step.error)} for a bug that reproduces in at least "
            f"{step.p_min * 100:.0f} % of trials"
        )

    # ---- against the search

    def _unjudged(self, arms: Arms, step: Confirmed) -> Again:
        """What cannot be judged vouches for nothing, and the first bad commit may be older. Other failures that may
        hide the bug may have hidden it from the search too, so it takes its good verdicts anew."""
        unjudged = [arms.good[place] for place in step.unjudged]
        reason = f"no verdict in fresh trials for {', '.join(self._why_unjudged(arm) for arm in unjudged)}"
        oids = [arm.candidate.revision for arm in unjudged]
        if self.old.oid in oids or self.new.oid in oids:
            return Again(reason, final=True)
        instead = None
        if not self.direction.find_fix:
            good = [arm.candidate.revision for arm in arms.good if arm.candidate.revision not in oids]
            suspects = self.history.left(arms.new.candidate.revision, (self.old.oid, *good))
            summary = f"the first bad commit is one of {len(suspects)}: {reason}; {self._sure(step)}"
            instead = self._narrowed(summary, suspects, self._judged(arms, step), arms.unchecked)
        self.known.hidden_from(*oids)
        return Again(reason, instead=instead)

    def _why_unjudged(self, arm: TrialSeries) -> str:
        belief = self.known.case.belief
        assert isinstance(belief, Belief)
        return f"{arm.candidate} ({arm.untestable or belief.unjudged(arm.evidence)})"

    def _commit(self, arm: TrialSeries) -> Commit:
        return self.history.commit(arm.candidate.revision)

    def _contradicted(self, arm: TrialSeries, arms: Arms, reason: str) -> Again:
        """An arm that had to be good reproduces: a parent (search for the bug), or the fix itself (search for a fix).

        An end was tried before, so the search did not err there: the ends are tried anew with these trials too.
        """
        commit, fresh = self._commit(arm), arm.evidence
        if commit.oid in (self.old.oid, self.new.oid):
            return Again(f"the end {arm.candidate} {reason}", good=fresh)
        if arm is arms.new:
            self.known.new_was_wrong(commit, fresh)
        else:
            culprit = NOTHING if arm.made == arms.new.made else arms.new.evidence  # one image's trials count once
            self.known.old_was_wrong(commit.oid, fresh, culprit)
        return Again(f"{arm.candidate} ({commit}) {reason}")

    def _background(self, arm: TrialSeries, arms: Arms, reason: str) -> Again:
        """A commit that is good reproduces now and then; the bad end, where it is that, more rarely than was seen."""
        oid = arm.candidate.revision
        if oid == self.direction.good_bad(self.old, self.new)[1].oid and not arms.is_edited(arm):
            return Again(f"the bad end {arm.candidate} {reason}", bad=arm.evidence)
        if self.direction.find_fix and self._never_bad(arm, arms):
            self.known.old_was_wrong(oid, arm.evidence, arms.new.evidence)
            return Again(f"{arm.candidate} ({self._commit(arm)}) {reason}")
        searched = NOTHING if arms.is_edited(arm) else self.known.searched(oid)
        return Again(f"{arm.candidate} {reason}: good commits reproduce too", good=searched + arm.evidence)

    def _never_bad(self, arm: TrialSeries, arms: Arms) -> bool:
        """Whether a parent that had to be bad never was: git took it for granted, by what holds it or as a branch."""
        seen = self.known.searched(arm.candidate.revision) + arm.evidence
        return any(arm is each for each in arms.bad) and not arms.is_edited(arm) and not seen.reproduced

    def _otherwise(self, commit: Commit | None, culprit: Commit, reason: str) -> Again:
        """A commit of the old side is as the new one. The search goes on where nobody had asked for it: it came
        with a merge of which only the first parent was searched."""
        known = (self.old.oid, self.new.oid, culprit.oid)
        if commit is None or commit.oid in known or self.known.searched(commit.oid).conclusive:
            return Again(reason, final=True)
        self.known.old_was_wrong(commit.oid, NOTHING, NOTHING)
        return Again(reason)

    # ---- with a fixed number of trials: a set by what bounds it; the culprit's own edits after its parents

    def _bounded(self, found: SearchResult) -> Outcome | Again:
        """A set that cannot be distinguished: its newest commit and what bounds it, each freshly tested."""
        arms, unchecked = self._arms(found), []
        judged = []
        for side, wanted in ((arms.bad, Verdict.BAD), (arms.good, Verdict.GOOD)):
            for arm in side:
                answer = self._ask_fresh(arm.candidate)
                if answer.verdict in (Verdict.SKIP, Verdict.WEAK):
                    unchecked.append(f"{answer.candidate}: {answer.reason}")
                elif answer.verdict is not wanted:
                    reason = f"{answer.candidate} was to be {wanted} and is {answer.verdict}"
                    return self._otherwise(self._commit(arm), arms.suspects[0], reason)
                else:
                    judged.append(answer)
        unchecked = [*arms.unchecked, *unchecked]
        return self._narrowed(found.summary, arms.all_suspects, _counted_once(judged), tuple(unchecked))

    def _both_ways(self, culprit: Commit, proof: Proof) -> Outcome | Again:
        judged: list[Judgement] = list(proof.judgements)
        unchecked: list[str] = []
        for way in self._planner.ways(culprit):
            answer = None if way.unfit else self._ask_fresh(way.candidate)
            if answer is None or answer.verdict in (Verdict.SKIP, Verdict.WEAK):
                unchecked.append(f"{way.words}: {answer.reason if answer else way.unfit}")
                continue
            judged.append(answer)
            if answer.verdict is not (Verdict.BAD if way.must_be_bad else Verdict.GOOD):
                return Again(f"with {way.words} it is {answer.verdict}: {answer.reason}", final=True)
        once = _counted_once(judged)
        summary = f"{culprit}: reproduced {', '.join(map(_figure, once))}"
        return Outcome(OutcomeKind.CULPRIT, summary, culprit=culprit, proof=once, unchecked=tuple(unchecked))


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


def _percent(chance: float) -> str:
    return f"{max(chance, 0.0001) * 100:.2g} %"
