# SPDX-License-Identifier: GPL-2.0-only
"""The proof of what a search found: fresh trials of the culprit against each parent, then both ways by its edits."""

from __future__ import annotations

from dataclasses import dataclass

from bisector.judge import Judge, Leg
from bisector.model import Candidate, Commit, Edit, Judgement, Outcome, OutcomeKind, TargetKind, Verdict
from bisector.search.commits import SearchResult
from bisector.search.gitrepo import History
from bisector.search.knowledge import Knowledge
from bisector.search.proof import Proof, Proven, prove
from bisector.search.rounds import draw_proof
from bisector.verdict.confirm import BackgroundSeen, Confirmed, Contradicted, Unconfirmed
from bisector.verdict.sequential import Belief, Evidence

NOTHING = Evidence()


@dataclass(frozen=True)
class Again:
    """The proof contradicts the search. ``final``: nothing is left to go on from.

    ``background``: trials of good commits that reproduced now and then; with it every verdict is in doubt.
    """

    reason: str
    final: bool = False
    background: Evidence = NOTHING


@dataclass(frozen=True)
class Proving:
    """One proof. ``number``: of this proof in the campaign, from 1; ``old`` and ``new``: the ends."""

    judge: Judge
    known: Knowledge
    history: History
    old: Commit
    new: Commit
    find_fix: bool
    number: int
    target: TargetKind = TargetKind.KERNEL_SOURCE

    def prove(self, found: SearchResult) -> Outcome | Again:
        """The outcome that fresh trials allow (law 3), or what the search has to take into account."""
        if isinstance(self.known.case.belief, Belief):
            return self._sequential(found, self.known.case.belief)
        if found.first_bad is None:
            return Outcome(OutcomeKind.NARROWED, found.summary, suspects=found.suspects)
        lookup = self.history.commit
        proof = prove(found.first_bad, self._ask_fresh, lookup=lookup, find_fix=self.find_fix, target=self.target)
        if proof.kind is Proven.NOT_CONFIRMED:
            return Again(proof.summary, final=True)
        if proof.kind is Proven.NARROWED:
            return Outcome(OutcomeKind.NARROWED, proof.summary, suspects=proof.suspects, proof=proof.judgements)
        return self._both_ways(found.first_bad, proof, "")

    @property
    def _stage(self) -> str:
        return "proof" if self.number == 1 else f"proof-{self.number}"

    def _ask_fresh(self, asked: Candidate) -> Judgement:
        return self.judge.ask(asked, self.known.case, self._stage)

    # ---- with a belief: head to head, as many trials as the budget asks for

    def _sequential(self, found: SearchResult, belief: Belief) -> Outcome | Again:
        culprit = found.first_bad or self.history.commit(self.known.frontier.bad)
        suspects = found.suspects or (culprit,)
        new_leg = self._leg(culprit, "culprit" if found.first_bad else "newest suspect")
        bounds, stand_ins = self._bounds(suspects)
        old_legs = [self._leg(commit, label) for commit, label in bounds]
        tried = [leg for leg in old_legs if not leg.untestable]
        stand_ins += tuple(self._commit(leg) for leg in old_legs if leg.untestable)
        if new_leg.untestable or not tried:
            what = new_leg.untestable or "no parent of it can be tried"
            return Outcome(OutcomeKind.NARROWED, f"{culprit}: {what}", suspects=(*suspects, *stand_ins))
        bad, good = (tried, [new_leg]) if self.find_fix else ([new_leg], tried)
        step = draw_proof(bad, good, belief, self.number)
        if isinstance(step, Contradicted):
            return self._contradicted(good[step.place], new_leg, step.reason)
        if isinstance(step, BackgroundSeen):
            return self._background((bad if step.bad else good)[step.place], step.reason)
        if isinstance(step, Unconfirmed):
            return Again(f"{bad[step.place].candidate}: {step.reason}", final=True)
        assert isinstance(step, Confirmed)
        if step.unjudged:  # what cannot be tried vouches for nothing, and the first bad commit may be older
            unjudged = [good[place] for place in step.unjudged]
            self.known.vouches_no_more(*(leg.candidate.revision for leg in unjudged))
            return Again(f"no verdict in fresh trials for {', '.join(str(leg.candidate) for leg in unjudged)}")
        return self._concluded(culprit, (*suspects, *stand_ins), bad, good, step)

    def _concluded(
        self, culprit: Commit, suspects: tuple[Commit, ...], bad: list[Leg], good: list[Leg], step: Confirmed
    ) -> Outcome | Again:
        judged = tuple(leg.judgement(Verdict.BAD, f"reproduced in {leg.evidence.figures}") for leg in bad)
        judged += tuple(leg.judgement(Verdict.GOOD, f"reproduced in {leg.evidence.figures}") for leg in good)
        sure = (
            f"chance of error below {_percent(step.error)} for a bug that reproduces in at least "
            f"{step.p_min:.0%} of trials"
        )
        if len(suspects) > 1:
            summary = f"the first {self._word} commit is one of {len(suspects)} that cannot be told apart; {sure}"
            return Outcome(OutcomeKind.NARROWED, summary, suspects=suspects, proof=judged)
        return self._both_ways(culprit, Proof(Proven.CONFIRMED, "", judged), sure)

    @property
    def _word(self) -> str:
        return "fixed" if self.find_fix else "bad"

    def _bounds(self, suspects: tuple[Commit, ...]) -> tuple[list[tuple[Commit, str]], tuple[Commit, ...]]:
        """Parents of the suspects outside their set. One that was skipped is vouched for by a newer good commit, and
        is a suspect itself."""
        inside = {suspect.oid for suspect in suspects}
        parents = [oid for suspect in suspects for oid in suspect.parents if oid not in inside]
        bounds: dict[str, str] = {}
        skipped = []
        for place, oid in enumerate(dict.fromkeys(parents), 1):
            if oid not in self.known.frontier.skips:
                bounds[oid] = f"culprit^{place}" if len(suspects) == 1 else f"bound {place}"
                continue
            skipped.append(self.history.commit(oid))
            cover = self.known.frontier.covering(oid, self.known.is_ancestor)
            if cover:
                bounds[cover] = f"vouches for {oid[:12]}"
        return [(self.history.commit(oid), label) for oid, label in bounds.items()], tuple(skipped)

    def _leg(self, commit: Commit, label: str) -> Leg:
        asked = Candidate(self.target, commit.oid, label=label)
        return self.judge.leg(asked, self.known.case, self._stage)

    def _commit(self, leg: Leg) -> Commit:
        return self.history.commit(leg.candidate.revision)

    def _contradicted(self, leg: Leg, new_leg: Leg, reason: str) -> Again:
        """A leg that had to be good reproduces: a parent (search for the bug), or the fix itself (search for a fix)."""
        commit, fresh = self._commit(leg), leg.evidence
        if commit.oid in (self.old.oid, self.new.oid):
            return Again(f"the end {leg.candidate} {reason}", final=True)
        if leg is new_leg:
            self.known.new_was_wrong(commit, fresh)
        else:
            self.known.old_was_wrong(commit.oid, fresh, new_leg.evidence)
        return Again(f"{leg.candidate} ({commit}) {reason}")

    def _background(self, leg: Leg, reason: str) -> Again:
        commit = self._commit(leg)
        final = commit.oid == self.new.oid
        return Again(f"{leg.candidate} ({commit}) {reason}: good commits reproduce too", final, leg.evidence)

    # ---- the culprit's own edits: without it on the new end, with it on the old end

    def _both_ways(self, culprit: Commit, proof: Proof, sure: str) -> Outcome | Again:
        new_side = Verdict.GOOD if self.find_fix else Verdict.BAD
        old_side = Verdict.BAD if self.find_fix else Verdict.GOOD
        judged, unchecked = list(proof.judgements), []
        ways = (("revert", self.new, old_side, "reverted on"), ("apply", self.old, new_side, "applied on"))
        for kind, end, wanted, words in ways:
            if len(culprit.parents) != 1:
                unchecked.append(f"the commit {words} an end: it is a merge")
                continue
            label = "the good end" if (end is self.old) is not self.find_fix else "the bad end"
            asked = Candidate(self.target, end.oid, (Edit(kind, culprit.oid),), label=label)
            answer = self._ask_fresh(asked)
            if answer.verdict in (Verdict.SKIP, Verdict.WEAK):
                unchecked.append(f"the commit {words} {label}: {answer.reason}")
                continue
            judged.append(answer)
            if answer.verdict is not wanted:
                return Again(f"with the commit {words} {label} it is {answer.verdict}: {answer.reason}", final=True)
        figures = ", ".join(_figure(one) for one in judged)
        summary = f"{culprit}: reproduced {figures}" + (f"; {sure}" if sure else "")
        return Outcome(OutcomeKind.CULPRIT, summary, culprit=culprit, proof=tuple(judged), unchecked=tuple(unchecked))


def _figure(judgement: Judgement) -> str:
    reproduced, told = judgement.counts
    return f"{reproduced}/{told} at {judgement.candidate}"


def _percent(chance: float) -> str:
    return f"{max(chance, 0.0001) * 100:.2g} %"
