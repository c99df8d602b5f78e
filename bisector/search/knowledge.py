# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign knows while it searches: verdicts, belief, frontier; and what is left of it when a proof contradicts.

It is a fold over stored trials: a resumed campaign asks the same questions, is answered from the store, and comes to
the same belief.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bisector.case import Case
from bisector.causes import Cause
from bisector.direction import BUG, Direction
from bisector.judge import Judge
from bisector.model import Candidate, Judgement, Verdict
from bisector.search.frontier import Frontier, IsAncestor
from bisector.stage import Stage
from bisector.verdict.sequential import Evidence

LONG_RUN = 4
"""So many skips in a row are a run whose edges are tried before git is answered again."""

INSIDE = 8
"""Where both edges are known and the run holds the first bad commit, so many more commits in it are tried."""

NOTHING = Evidence()

NOT_TRIED = "not tried: it lies in a run of commits that cannot be judged"


@dataclass(frozen=True)
class NewEndWrong:
    """The commit that the search named is, in fresh trials, of the old side."""

    commit: str
    fresh: Evidence


@dataclass(frozen=True)
class OldEndWrong:
    """A commit of the old side is, in fresh trials, of the new one; so is what contains it. ``culprit``: fresh trials
    of the commit that the search named, where they are to count."""

    commit: str
    fresh: Evidence = NOTHING
    culprit: Evidence = NOTHING


@dataclass(frozen=True)
class MayHide:
    """Commits that the proof could not judge for failures that may hide the bug."""

    commits: tuple[str, ...]


@dataclass(frozen=True)
class UntestableParents:
    """Parents that the search did not judge and that the proof could not try: skips, as those that do not build."""

    commits: tuple[str, ...]


Correction = NewEndWrong | OldEndWrong | MayHide | UntestableParents
"""What a proof has learnt; all but the last contradict the search."""


class LongSkipRun(Exception):
    """git wants a run of commits judged that cannot be judged; ``inside`` is the last of them."""

    def __init__(self, inside: Candidate) -> None:
        super().__init__(str(inside))
        self.inside = inside


@dataclass
class Knowledge:
    """One search's state.

    Args:
        judge: judges what is not known yet.
        case: question and cell; its rule is where this one begins.
        frontier: the ends, old side first.
        direction: of the search.
        tries_edges: whether the edges of a long run of skips are tried; not where only some commits count.
        is_ancestor: answered by the history.
        before: called before a candidate is judged by builds and trials.
        counted: image → trials of the search that the ends count already, as those of a good commit that reproduced.
    """

    judge: Judge
    case: Case
    frontier: Frontier
    is_ancestor: IsAncestor
    direction: Direction = BUG
    tries_edges: bool = True
    before: Callable[[Candidate], None] | None = None
    counted: dict[str, Evidence] = field(default_factory=dict)
    steps: list[Judgement] = field(default_factory=list)
    _judged: dict[str, Judgement] = field(default_factory=dict)
    _images: set[str] = field(default_factory=set)
    _skips_in_a_row: int = 0
    _edges_of: tuple[str, tuple[str, ...]] | None = None  # bounds of the search when edges were tried last

    def ask(self, candidate: Candidate) -> Judgement:
        """The search's question about one commit; one that was answered before is answered alike.

        Raises LongSkipRun at the end of a long run of skips whose edges were not tried yet.
        """
        known = self._known(candidate)
        if known:
            return known
        judgement = self._in_the_run(candidate)
        if judgement is None:
            if self.before:
                self.before(candidate)
            judgement = self.judge.ask(candidate, self.case, Stage.SEARCH)
        self._note(judgement)
        if judgement.verdict is not Verdict.SKIP:
            self._skips_in_a_row = 0
            return judgement
        self._skips_in_a_row += 1
        if self.tries_edges and self._skips_in_a_row >= LONG_RUN and self._edges_of != self._bounds:
            raise LongSkipRun(candidate)
        return judgement

    def ask_at_edge(self, candidate: Candidate) -> Verdict:
        """A question of ours about a commit that git does not want judged yet; weak is a skip here."""
        judgement = self._known(candidate)
        if judgement is None:
            judgement = self.judge.ask(candidate, self.case, Stage.SEARCH)
            self._note(judgement)
        return Verdict.SKIP if judgement.verdict is Verdict.WEAK else judgement.verdict

    def edges_tried(self) -> None:
        """The edges of the run at hand are known now."""
        self._edges_of, self._skips_in_a_row = self._bounds, 0

    @property
    def _bounds(self) -> tuple[str, tuple[str, ...]]:
        return self.frontier.first_new, self.frontier.old

    def _in_the_run(self, candidate: Candidate) -> Judgement | None:
        """A skip without a trial for a commit in a run whose edges are known and of which enough was tried."""
        if self._edges_of != self._bounds or self._skips_in_a_row < INSIDE:
            return None
        oid = candidate.revision
        above = any(self.is_ancestor(oid, skip) for skip in self.frontier.skips)
        below = any(self.is_ancestor(skip, oid) for skip in self.frontier.skips)
        if not (above and below):
            return None
        return Judgement(candidate, Verdict.SKIP, NOT_TRIED, self.case.cell.name, cause=Cause.NOT_TRIED)

    def _note(self, judgement: Judgement) -> None:
        self.steps.append(judgement)
        self._judged[judgement.candidate.revision] = judgement
        self._learn(judgement)

    def _known(self, candidate: Candidate) -> Judgement | None:
        """The verdict by the frontier, which a proof may have turned round since it was judged."""
        side, frontier = self.direction, self.frontier
        for commits, verdict in ((frontier.old, side.old), (frontier.new, side.new), (frontier.skips, Verdict.SKIP)):
            if candidate.revision in commits:
                before = self._judged.get(candidate.revision) or Judgement(candidate, verdict, "")
                return before if before.verdict is verdict else replace(before, verdict=verdict, reason="by the proof")
        return None

    def _learn(self, judgement: Judgement) -> None:
        oid, verdict = judgement.candidate.revision, judgement.verdict
        if verdict in (Verdict.SKIP, Verdict.WEAK):
            self.frontier = self.frontier.with_skip(oid)
        elif verdict is self.direction.old:
            self.frontier = self.frontier.with_old(oid)
        else:
            self.frontier = self.frontier.with_new(oid)
        if judgement.image and judgement.image not in self._images:
            self._images.add(judgement.image)
            self.case = replace(self.case, rule=self.case.rule.after(verdict, _evidence(judgement)))

    # ---- when a proof contradicts the search

    def correct(self, correction: Correction | None) -> None:
        """Go on from what a proof has learnt; None where that changes nothing here."""
        match correction:
            case NewEndWrong():
                self._new_was_wrong(correction)
            case OldEndWrong():
                self._old_was_wrong(correction)
            case MayHide():
                self._may_hide(correction)
            case UntestableParents(commits):
                for oid in commits:
                    self.frontier = self.frontier.with_skip(oid)

    def _new_was_wrong(self, correction: NewEndWrong) -> None:
        searched = self.uncounted(correction.commit)
        self.frontier = self.frontier.is_old_after_all(correction.commit, self.is_ancestor)
        self._learn_error(self.direction.old, searched, correction.fresh)

    def _old_was_wrong(self, correction: OldEndWrong) -> None:
        wrong = self.frontier.wrongly_old(correction.commit, self.is_ancestor)
        judged = [self._judged[each] for each in wrong if each in self._judged]
        # commits of one image share their trials, which count once
        searched = [self._uncounted(one) for one in {one.image: one for one in judged}.values()]
        self.frontier = self.frontier.is_new_after_all(correction.commit, self.is_ancestor)
        self._learn_error(self.direction.new, correction.culprit, correction.fresh, *searched)

    def _may_hide(self, correction: MayHide) -> None:
        """Every good verdict is taken again, and warily."""
        self.frontier = self.frontier.only_ends(*correction.commits)
        self._images = {self._judged[oid].image for oid in self.frontier.new if oid in self._judged}
        self.case = replace(self.case, rule=self.case.rule.warned())

    def searched(self, oid: str, image: str | None = None) -> Evidence:
        """The trials that the search itself drew of a commit. ``image``: none, where they were of another image."""
        judged = self._judged.get(oid)
        return _evidence(judged) if judged and image in (None, judged.image) else Evidence()

    def uncounted(self, oid: str) -> Evidence:
        """The same without those that the ends count already."""
        judged = self._judged.get(oid)
        return self._uncounted(judged) if judged else Evidence()

    def counted_with(self, oid: str | None) -> dict[str, Evidence]:
        """What the ends count, with the trials that the search drew of one commit more."""
        judged = self._judged.get(oid) if oid else None
        if judged is None:
            return self.counted
        before = self.counted.get(judged.image, Evidence())
        return self.counted | {judged.image: before + self._uncounted(judged)}

    def _uncounted(self, judged: Judgement) -> Evidence:
        return _evidence(judged).less(self.counted.get(judged.image, Evidence()))

    def _learn_error(self, side: Verdict, *tried: Evidence) -> None:
        self.case = replace(self.case, rule=self.case.rule.corrected(side, *tried))


def _evidence(judgement: Judgement) -> Evidence:
    return Evidence.of(trial.reading for trial in judgement.trials) + Evidence(infra=judgement.harness_failures)
