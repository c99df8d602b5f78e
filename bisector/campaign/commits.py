# SPDX-License-Identifier: GPL-2.0-only
"""The story of one search, read top to bottom: ends → commits → proof → outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from bisector import toolchain
from bisector.case import Case
from bisector.direction import BUG, Direction
from bisector.errors import RecipeChanged, UsageError
from bisector.interfaces import Phase, Progress, with_context
from bisector.judge import Judge
from bisector.model import Candidate, Cell, Commit, Outcome, OutcomeKind, TargetKind
from bisector.other_kernels import other_kernels, said
from bisector.recipe.matrix import apply
from bisector.recipe.model import Recipe
from bisector.search.ahead import SearchAhead
from bisector.search.clone import PrivateClone
from bisector.search.commits import SearchEnd, SearchResult, check_ends, search, stood_in
from bisector.search.ends import Ends, ends_anew, ends_in_cells
from bisector.search.fixups import Fixup, Fixups
from bisector.search.frontier import Frontier
from bisector.search.gitrepo import History, UserRepository
from bisector.search.knowledge import Knowledge, LongSkipRun, UntestableParents
from bisector.search.proof import Proof, Retry
from bisector.search.skip_runs import try_edges
from bisector.session import Session
from bisector.stage import CampaignState, Stage
from bisector.store import CampaignRow
from bisector.targets import subject_of

RESTARTS = 3
"""So often a search goes on from what a proof that contradicted it has taught."""

NOT_SEARCHED = (
    "no commit was searched for: the culprit was a suspect beforehand, and was tried against its parents at once"
)


@dataclass(frozen=True)
class CommitRequest:
    """A search among commits, as a person wants it. ``good`` and ``bad`` are revisions of ``repo``."""

    recipe: Recipe
    source: str  # the recipe as resolved
    repo: Path
    good: str
    bad: str
    cells: tuple[Cell, ...]
    pinned: bool = False  # the person named the cell
    direction: Direction = BUG
    resume: bool = False
    good_label: str = ""  # what people call the end; default: the revision as given
    bad_label: str = ""
    suspects: tuple[str, ...] = ()  # ids of commits to prove before anything is searched


@dataclass(frozen=True)
class CommitCampaign:
    """A search among commits.

    Args:
        request: what is to be searched for.
        session: what to work with; its store holds everything that was learnt.
    """

    request: CommitRequest
    session: Session

    def run(self) -> tuple[CampaignRow, Outcome]:
        """Ends, search, proof. Raises InfraError or Interrupted with the state kept for --resume."""
        request, store = self.request, self.session.store
        user = UserRepository(request.repo)
        good, bad = user.resolve(request.good), user.resolve(request.bad)
        bases = check_ends(user, *request.direction.old_new(good, bad), request.direction)
        # as the user's repository has them now; our clone's refs are those of the day on which it was made
        fixups = [
            Fixup(user.resolve(each.broken_by), user.resolve(each.fixed_by)) for each in request.recipe.search.fixups
        ]
        if not request.resume:
            self.session.vm_kernel(request.recipe)  # what is not to be had is said before anything is stored
        row = self._open(str(request.repo.resolve()), good, bad)
        with self.session.lock(row.id):
            if done := store.campaign(row.id).outcome:  # by another command, after we had looked for it
                return store.campaign(row.id), done
            self.session.pin_vm_kernel(request.recipe, row.id)
            store.set_state(row.id, CampaignState.RUNNING)
            try:
                clone = self.session.clone(user)
                outcome = _Work.of(request, self.session, row, clone, good, bad, tuple(fixups), bases).run()
            except BaseException:
                store.set_state(row.id, CampaignState.INTERRUPTED)
                raise
            store.finish(row.id, outcome)
        return store.campaign(row.id), outcome

    def _open(self, repo: str, good: Commit, bad: Commit) -> CampaignRow:
        request, store = self.request, self.session.store
        question = (request.recipe.recipe, repo, good.oid, bad.oid, request.direction.find_fix)
        if request.resume:
            row = store.newest_unfinished(*question, source=request.source) or store.newest_unfinished(*question)
            if row is None:
                raise UsageError(
                    "there is no unfinished campaign of this recipe, repository, good and bad",
                    hint="leave out --resume to start one; 'bisector campaigns' lists what there is",
                )
            if row.source != request.source:
                raise RecipeChanged("the recipe", row.id)
            self.session.check_own(row.id, request.recipe)
            return row
        row = CampaignRow(
            id=f"{request.recipe.recipe}-{time.strftime('%Y%m%d-%H%M%S')}",
            recipe=request.recipe.recipe,
            title=request.recipe.title or "",
            source=request.source,
            repo=repo,
            good=good.oid,
            bad=bad.oid,
            find_fix=request.direction.find_fix,
            cell=request.cells[0].name if request.pinned else "",
            created=time.time(),
            state=CampaignState.RUNNING,
        )
        return self.session.add_campaign(row, request.recipe)


@dataclass(frozen=True)
class _Work:
    """A campaign at work.

    Args:
        good, bad: the ends.
        judge: of this campaign.
        bases: ids of the merge bases that stand in for the older end; none where the newer one holds it.
    """

    request: CommitRequest
    session: Session
    row: CampaignRow
    clone: PrivateClone
    history: History
    judge: Judge
    good: Candidate
    bad: Candidate
    old: Commit
    new: Commit
    bases: tuple[str, ...]

    @classmethod
    def of(
        cls,
        request: CommitRequest,
        session: Session,
        row: CampaignRow,
        clone: PrivateClone,
        good: Commit,
        bad: Commit,
        fixups: tuple[Fixup, ...],
        bases: tuple[str, ...],
    ) -> _Work:
        """With the judge and the candidates of this campaign."""
        kind, history = subject_of(request.recipe).commits, clone.history()
        target = session.source(request.recipe, request.cells, clone)
        toolchain.pin(target, session.store, row.id, session.setting.listener)
        ends = (
            candidate(good, request.good_label or request.good, kind),
            candidate(bad, request.bad_label or request.bad, kind),
        )
        judge = session.judge(row.id, request.recipe, target, ends[0], Fixups(fixups, history.is_ancestor))
        judge.second = ends[1]
        sides = request.direction.old_new(good, bad)
        return cls(request, session, row, clone, history, judge, *ends, *sides, bases)

    def run(self) -> Outcome:
        """Ends, then the suspects named beforehand, then search and proof in turns."""
        recipe = self.request.recipe
        cases = [self._case(apply(recipe, cell), cell) for cell in self.request.cells]
        self._stage(f"Ends: {self.good} (good) and {self.bad} (bad)")
        self._ahead.for_ends(self.good, self.bad)
        found = ends_in_cells(self.judge, self.good, self.bad, cases, self.request.direction)
        if isinstance(found, Outcome):
            return found
        outcome = self._suspected(found) or self._search_and_prove(found)
        return self._said(outcome, found)

    def _case(self, recipe: Recipe, cell: Cell) -> Case:
        kernels = other_kernels(self.judge, recipe, self.good, self.bad)
        return self.session.case(recipe, cell, sequential=True, kernels=kernels)

    def _suspected(self, ends: Ends) -> Outcome | None:
        """The outcome when one of the suspects stands its proof: no commit has to be searched for. None: search."""
        for number, oid in enumerate(self.request.suspects, 1):
            suspect = self.history.commit(oid)
            self._stage(f"Proof of the suspect {suspect}")
            self._ahead.for_proof(suspect)
            case = replace(ends.case, rule=ends.case.rule.of_suspect())
            known = self._fresh_knowledge(replace(ends, case=case))
            answer = self._prove(known, number, SearchResult(SearchEnd.FIRST_BAD, str(suspect), first_bad=suspect))
            if isinstance(answer, Outcome) and answer.kind is OutcomeKind.CULPRIT:
                return replace(answer, assumptions=(*answer.assumptions, NOT_SEARCHED))
            self._stage(f"Not so: {answer.summary if isinstance(answer, Outcome) else answer.reason}")
        return None

    def _search_and_prove(self, ends: Ends) -> Outcome:
        """Search, prove, and when the proof contradicts go on from what is left, a bounded number of times."""
        known = self._fresh_knowledge(ends)
        outcome = Outcome(OutcomeKind.NOT_CONFIRMED, "nothing was searched")
        for number in range(1, RESTARTS + 2):
            result = self._search(known)
            log, steps = result.log, tuple(known.steps)
            if result.first_bad is None and not result.suspects:
                return Outcome(OutcomeKind.UNRESOLVED, result.summary, judgements=steps, bisect_log=log)
            named = result.first_bad or f"one of {len(result.suspects)} commits"
            self._stage(f"Proof of {named}")
            if result.first_bad:
                self._ahead.for_proof(result.first_bad)
            place = number + len(self.request.suspects)  # each proof of a campaign has its share of the budget
            answer = self._prove(known, place, result)
            if isinstance(answer, Outcome):
                return replace(answer, judgements=steps, bisect_log=log)
            self._stage(f"The proof contradicts the search: {answer.reason}")
            known.correct(answer.correction)
            outcome = Outcome(
                OutcomeKind.NOT_CONFIRMED,
                f"{named}: {answer.reason}",
                suspects=() if answer.impossible else (result.first_bad,) if result.first_bad else result.suspects,
                judgements=steps,
                bisect_log=log,
            )
            if answer.final:
                return outcome
            if self._older_end(known) is None:
                summary = f"{outcome.summary}; {self._older(known)}"
                return replace(outcome, kind=OutcomeKind.UNRESOLVED, summary=summary, suspects=())
            if number > RESTARTS:
                return replace(answer.instead, judgements=steps, bisect_log=log) if answer.instead else outcome
            if answer.in_doubt:
                again = ends_anew(self.judge, ends, answer.good, answer.bad, known.case.rule, self.request.direction)
                if isinstance(again, Outcome):
                    return replace(again, judgements=steps, bisect_log=log)
                known, ends = self._knowledge_after(known, again, answer.searched), again
        return outcome

    @property
    def _ahead(self) -> SearchAhead:
        like = Candidate(self.good.target, "")
        return SearchAhead(self.judge, self.clone, self.request.direction, like, (self.old.oid, self.new.oid))

    def _prove(self, known: Knowledge, number: int, found: SearchResult) -> Outcome | Retry:
        """Prove what a search found, without the parents that turn out to be untestable."""
        while isinstance(answer := self._proof(known, number).run(found), UntestableParents):
            known.correct(answer)
        return answer

    def _proof(self, known: Knowledge, number: int) -> Proof:
        ends = self.old, self.new
        paths = tuple(self.request.recipe.search.paths)
        return Proof(self.judge, known, self.history, *ends, self.request.direction, number, self.good.target, paths)

    def _fresh_knowledge(self, ends: Ends) -> Knowledge:
        frontier = Frontier((self.old.oid,), (self.new.oid,))
        only = self.request.recipe.search
        every = not (only.paths or only.first_parent)
        return Knowledge(self.judge, ends.case, frontier, self.history.is_ancestor, self.request.direction, every)

    def _knowledge_after(self, known: Knowledge, ends: Ends, searched: str | None) -> Knowledge:
        """What the next search knows after the ends were tried anew: every verdict is in doubt, so all are taken
        again (their trials are stored, and count). ``searched``: the commit whose trials of the search the ends count.
        """
        fresh = self._fresh_knowledge(ends)
        fresh.steps, fresh.counted = known.steps, known.counted_with(searched)
        return fresh

    # ---- search

    def _search(self, known: Knowledge) -> SearchResult:
        """What git finds from what is known; it begins anew where a long run of skips was left by its edges."""
        while True:
            try:
                return self._bisect(known)
            except LongSkipRun as run:
                self._stage(f"Edges of a run of commits that cannot be judged, around {run.inside}")
                try_edges(known, self.history, run.inside)

    def _bisect(self, known: Knowledge) -> SearchResult:
        recipe = self.request.recipe
        older = self._older_end(known)
        assert older is not None  # the older end is one, until a proof corrects it, and then this comes before
        old = self.history.commit(older)
        new = self.history.commit(known.frontier.first_new)
        ask = self.request
        self._stage(f"Search between {ask.good_label or ask.good} and {ask.bad_label or ask.bad}")
        began = time.monotonic()

        def listen(progress: Progress) -> None:
            left = _time_left(progress, began) if known.steps else ""
            self._tell(replace(progress, detail=progress.detail + left, stage=Stage.SEARCH))

        log = self.session.store.campaign_folder(self.row.id) / "bisect.log"
        with self.clone.bisect_worktree(self.row.id) as worktree, self._ahead.during(known, self.row.id, log):
            return search(
                self.clone,
                old,
                new,
                known.ask,
                direction=self.request.direction,
                worktree=worktree,
                processes=self.session.processes,
                paths=recipe.search.paths,
                first_parent=recipe.search.first_parent,
                known_skips=known.frontier.skips,
                # git would first test where the others part from the newer end; what they are is known anyway
                known_old=[oid for oid in known.frontier.old if oid != old.oid and self._holds(new.oid, oid)],
                target=self.good.target,
                log=log,
                listener=listen,
            )

    def _older_end(self, known: Knowledge) -> str | None:
        """The commit of the old side that the next search begins at; None when a proof has left none.

        One that the new end holds comes first: git does not have to ask where the two part.
        """
        new, old = known.frontier.first_new, known.frontier.old
        held = next((oid for oid in old if self._holds(new, oid)), None)
        return held or next((oid for oid in old if self.history.merge_bases(oid, new)), None)

    def _holds(self, newer: str, older: str) -> bool:
        return self.history.is_ancestor(older, newer)

    def _older(self, known: Knowledge) -> str:
        """Why nothing is left to search between: a proof found a commit new that all old ones hold."""
        word, other = self.request.direction.new, self.request.direction.old
        commit = self.history.commit(known.frontier.first_new)
        why = "so it became so before them, and was otherwise again on the way to them"
        return f"{commit} is {word}, and every commit known to be {other} holds it, {why}. Name an older {other} commit"

    # ---- what is said beside the outcome (law 6)

    def _said(self, outcome: Outcome, ends: Ends) -> Outcome:
        recipe = self.request.recipe
        searched = stood_in(self.history, self.bases, outcome.judgements) if outcome.judgements else ()
        assumed = [*searched, *outcome.assumptions]
        if recipe.search.paths:
            assumed.append(f"the change lies under {', '.join(recipe.search.paths)} (search.paths)")
        for fixup in recipe.search.fixups:
            assumed.append(
                f"{fixup.fixed_by} fixes {fixup.broken_by}; it was laid over what lies between (search.fixups)"
            )
        if recipe.search.first_parent:
            assumed.append("only first parents were searched (search.first_parent): a merge stands for its branch")
        if self.request.pinned:
            assumed.append(f"the cell {ends.case.cell.name} was named by the caller")
        assumed += said(recipe, self.good, self.bad)
        assumed.append(self.session.how_sure(recipe))
        if ends.case.lasting:
            assumed.append(f"the workload was stretched: {ends.case.lasting}")
        others = [cell.name for cell in self.request.cells if cell.name != ends.case.cell.name]
        unchecked = [*outcome.unchecked, *self.judge.promises_broken()]
        if others:
            unchecked.append(f"the search ran in one cell; it was not repeated in {', '.join(others)}")
        return replace(
            outcome,
            good=ends.good,
            bad=ends.bad,
            cell=ends.case.cell.name,
            assumptions=tuple(dict.fromkeys(assumed)),
            unchecked=tuple(unchecked),
            find_fix=self.request.direction.find_fix,
            newer_untested=not self.request.direction.find_fix,
            numbers=ends.case.numbers,
            same_inputs=sum(bool(image.same_inputs) for image in self.session.store.images(self.row.id)),
        )

    def _stage(self, text: str) -> None:
        self._tell(Progress(Phase.STAGE, text))

    def _tell(self, progress: Progress) -> None:
        with_context(self.session.setting.listener, campaign=self.row.id, recipe=self.request.recipe.recipe)(progress)


def candidate(commit: Commit, label: str = "", kind: TargetKind = TargetKind.KERNEL_SOURCE) -> Candidate:
    """A commit as a candidate of a source history."""
    return Candidate(kind, commit.oid, label="" if commit.oid.startswith(label) else label)


def _time_left(progress: Progress, began: float) -> str:
    if progress.phase is not Phase.SEARCH or not progress.fraction:
        return ""
    seconds = (time.monotonic() - began) * (1 - progress.fraction) / progress.fraction
    return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
