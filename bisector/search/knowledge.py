# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign knows while it searches: verdicts, belief, frontier; and what is left of it when a proof contradicts.

It is a fold over stored trials: a resumed campaign asks the same questions, is answered from the store, and comes to
the same belief.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bisector.judge import Case, Judge
from bisector.model import Candidate, Commit, Judgement, Verdict
from bisector.search.frontier import Frontier, IsAncestor
from bisector.verdict.sequential import Belief, Evidence


@dataclass
class Knowledge:
    """One search's state.

    Args:
        judge: asked for what is not known yet.
        case: question and cell; its belief is where this one begins.
        frontier: the ends, older side first.
        old_is_bad: with --find-fix the older side is the one that reproduces.
        is_ancestor: answered by the history.
    """

    judge: Judge
    case: Case
    frontier: Frontier
    is_ancestor: IsAncestor
    old_is_bad: bool = False
    steps: list[Judgement] = field(default_factory=list)
    _judged: dict[str, Judgement] = field(default_factory=dict)
    _images: set[str] = field(default_factory=set)

    def ask(self, candidate: Candidate) -> Judgement:
        """The search's question about one commit; one that was answered before is answered alike."""
        known = self._known(candidate)
        if known:
            return known
        judgement = self.judge.ask(candidate, self.case, "search")
        self.steps.append(judgement)
        self._judged[candidate.revision] = judgement
        self._learn(judgement)
        return judgement

    def _known(self, candidate: Candidate) -> Judgement | None:
        """The verdict by the frontier, which a proof may have turned round since it was judged."""
        old, new = (Verdict.BAD, Verdict.GOOD) if self.old_is_bad else (Verdict.GOOD, Verdict.BAD)
        sides = ((self.frontier.goods, old), (self.frontier.bads, new), (self.frontier.skips, Verdict.SKIP))
        for commits, verdict in sides:
            if candidate.revision in commits:
                before = self._judged.get(candidate.revision) or Judgement(candidate, verdict, "")
                return before if before.verdict is verdict else replace(before, verdict=verdict, reason="by the proof")
        return None

    def _learn(self, judgement: Judgement) -> None:
        oid, verdict = judgement.candidate.revision, judgement.verdict
        old = Verdict.BAD if self.old_is_bad else Verdict.GOOD
        if verdict in (Verdict.SKIP, Verdict.WEAK):
            self.frontier = self.frontier.with_skip(oid)
        elif verdict is old:
            self.frontier = self.frontier.with_good(oid)
        else:
            self.frontier = self.frontier.with_bad(oid)
        if isinstance(self.case.belief, Belief) and judgement.image and judgement.image not in self._images:
            self._images.add(judgement.image)
            evidence = Evidence.of(trial.reading for trial in judgement.trials)
            self.case = replace(self.case, belief=self.case.belief.after(verdict, evidence))

    # ---- when a proof contradicts the search

    def new_was_wrong(self, commit: Commit, fresh: Evidence) -> None:
        """The commit that the search named is, in fresh trials, as the older side."""
        searched = self.searched(commit.oid)
        self.frontier = self.frontier.is_good_after_all(commit.oid, self.is_ancestor)
        self._correct(lambda belief: self._known_side(belief, self.old_is_bad, searched, fresh))

    def old_was_wrong(self, commit: str, fresh: Evidence, culprit: Evidence) -> None:
        """A commit of the older side is, in fresh trials, as the newer side; so is what contains it."""
        wrong = self.frontier.wrongly_good(commit, self.is_ancestor)
        searched = [self.searched(each) for each in wrong]
        self.frontier = self.frontier.is_bad_after_all(commit, self.is_ancestor)
        self._correct(lambda belief: self._known_side(belief, not self.old_is_bad, culprit, fresh, *searched))

    def hidden_from(self, *commits: str) -> None:
        """Commits that the proof could not judge for other failures, which may hide the bug: every good verdict is
        asked for again, and warily."""
        self.frontier = self.frontier.only_ends(*commits)
        self._images = {self._judged[oid].image for oid in self.frontier.bads if oid in self._judged}
        if isinstance(self.case.belief, Belief):
            self.case = replace(self.case, belief=self.case.belief.warned())

    def searched(self, oid: str) -> Evidence:
        """The trials that the search itself drew of a commit."""
        judged = self._judged.get(oid)
        return Evidence.of(trial.reading for trial in judged.trials) if judged else Evidence()

    def _correct(self, learn: Callable[[Belief], Belief]) -> None:
        if isinstance(self.case.belief, Belief):
            self.case = replace(self.case, belief=learn(self.case.belief.corrected()))

    @staticmethod
    def _known_side(belief: Belief, bad: bool, *tried: Evidence) -> Belief:
        return belief.known_bad(*tried) if bad else belief.known_good(*tried)
