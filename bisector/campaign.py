# SPDX-License-Identifier: GPL-2.0-only
"""The story of one search, read top to bottom: ends → commits → proof → outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from bisector.errors import UsageError
from bisector.judge import Case
from bisector.model import (
    Candidate,
    Cell,
    Commit,
    Judgement,
    Outcome,
    OutcomeKind,
    Progress,
    TargetKind,
    Verdict,
)
from bisector.recipe.matrix import apply
from bisector.recipe.model import Recipe
from bisector.search.commits import SearchResult, check_ends, search
from bisector.search.gitrepo import UserRepository
from bisector.search.proof import Proof, Proven, prove
from bisector.store import CampaignRow
from bisector.workbench import Workbench


@dataclass(frozen=True)
class Request:
    """What a person asked ``bisector run`` for. ``good`` and ``bad`` are revisions of ``repo``."""

    recipe: Recipe
    source: str  # the recipe as resolved
    repo: Path
    good: str
    bad: str
    cells: tuple[Cell, ...]
    pinned: bool = False  # the person named the cell
    find_fix: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Ends:
    """The two ends in the cell in which the search runs, or the outcome that ends the story here."""

    good: Judgement | None = None
    bad: Judgement | None = None
    case: Case | None = None
    stop: Outcome | None = None


@dataclass
class Campaign:
    """One campaign at work.

    Args:
        request: what was asked.
        bench: what to work with; its store holds everything that was learnt.
    """

    request: Request
    bench: Workbench
    _judged: list[Judgement] = field(default_factory=list)

    def run(self) -> tuple[CampaignRow, Outcome]:
        """Ends, search, proof. Raises InfraError or Interrupted with the state kept for --resume."""
        user = UserRepository(self.request.repo)
        good, bad = user.resolve(self.request.good), user.resolve(self.request.bad)
        older, newer = (bad, good) if self.request.find_fix else (good, bad)
        check_ends(user, older, newer, find_fix=self.request.find_fix)
        self.row = self._open(str(self.request.repo.resolve()), good, bad)
        with self.bench.lock(self.row.id):
            self.bench.store.set_state(self.row.id, "running")
            try:
                outcome = self._story(user, good, bad)
            except BaseException:
                self.bench.store.set_state(self.row.id, "interrupted")
                raise
            self.bench.store.finish(self.row.id, outcome)
        return self.bench.store.campaign(self.row.id), outcome

    def _story(self, user: UserRepository, good: Commit, bad: Commit) -> Outcome:
        self.clone = self.bench.clone(user)
        target = self.bench.kernel_source(self.request.recipe, self.request.cells, self.clone)
        control = candidate(good, self.request.good)
        self.judge = self.bench.judge(self.row.id, self.request.recipe, target, control)
        ends = self._ends(good, bad)
        if ends.stop or not (ends.case and ends.good and ends.bad):
            return ends.stop or Outcome(OutcomeKind.UNRESOLVED, "no cell of this recipe applies")
        found = self._search(ends.case, good, bad)
        outcome = self._conclude(found, ends.case)
        return replace(
            outcome,
            good=ends.good,
            bad=ends.bad,
            cell=ends.case.cell.name,
            judgements=found.steps,
            bisect_log=found.log,
            assumptions=found.assumptions + self._assumptions(),
            unchecked=self._unchecked(ends.case),
            find_fix=self.request.find_fix,
        )

    # ---- the row in the store

    def _open(self, repo: str, good: Commit, bad: Commit) -> CampaignRow:
        request = self.request
        store = self.bench.store
        if request.resume:
            row = store.newest_unfinished(request.recipe.recipe, repo, good.oid, bad.oid, request.find_fix)
            if row is None:
                raise UsageError(
                    "there is no unfinished campaign of this recipe, repository, good and bad",
                    hint="leave out --resume to start one; 'bisector campaigns' lists what there is",
                )
            if row.source != request.source:
                raise UsageError(
                    f"the recipe has changed since campaign {row.id} began",
                    hint="bring it back, or leave out --resume to start a new campaign (built images are kept)",
                )
            return row
        pinned = request.cells[0].name if request.pinned else ""
        row = CampaignRow(
            id=f"{request.recipe.recipe}-{time.strftime('%Y%m%d-%H%M%S')}",
            recipe=request.recipe.recipe,
            title=request.recipe.title or "",
            source=request.source,
            repo=repo,
            good=good.oid,
            bad=bad.oid,
            find_fix=request.find_fix,
            cell=pinned,
            created=time.time(),
            state="running",
        )
        return self.bench.add_campaign(row)

    # ---- ends

    def _ends(self, good: Commit, bad: Commit) -> Ends:
        """Judge both ends in every cell; the search runs in the first one in which they differ as told."""
        told = []
        chosen = Ends()
        for cell in self.request.cells:
            case = self.bench.case(apply(self.request.recipe, cell), cell)
            names = f"{self.request.good} (good) and {self.request.bad} (bad)"
            self._stage(f"Ends: {names}{f' in {cell.name}' if cell.name else ''}")
            at_good = self.judge.ask(candidate(good, self.request.good), case, "ends")
            at_bad = self.judge.ask(candidate(bad, self.request.bad), case, "ends")
            told.append((cell, at_good, at_bad))
            differ = (at_good.verdict, at_bad.verdict) == (Verdict.GOOD, Verdict.BAD)
            if differ and chosen.case is None:
                chosen = Ends(at_good, at_bad, case)
        return chosen if chosen.case else Ends(stop=self._ends_stop(told))

    def _ends_stop(self, told: list[tuple[Cell, Judgement, Judgement]]) -> Outcome:
        cell, good, bad = told[0]
        common = {"good": good, "bad": bad, "cell": cell.name, "find_fix": self.request.find_fix}
        verdicts = {(g.verdict, b.verdict) for _, g, b in told}
        unjudged = [j for _, g, b in told for j in (g, b) if j.verdict in (Verdict.SKIP, Verdict.WEAK)]
        if unjudged:
            first = unjudged[0]
            what = f"the end {first.candidate} cannot be judged: {first.reason}"
            return Outcome(OutcomeKind.UNRESOLVED, what, **common)  # type: ignore[arg-type]
        if verdicts == {(Verdict.BAD, Verdict.GOOD)}:
            what = (
                f"the ends are the other way round: {good.candidate} is bad and {bad.candidate} is good; "
                "swap --good and --bad" + ("" if self.request.find_fix else ", and add --find-fix to look for the fix")
            )
            return Outcome(OutcomeKind.ENDS_ALIKE, what, **common)  # type: ignore[arg-type]
        what = (
            f"both ends are {bad.verdict}: {good.candidate} ({good.reason}), {bad.candidate} ({bad.reason}). "
            "Try a longer workload, more I/O, another cell, or ends further apart"
        )
        return Outcome(OutcomeKind.ENDS_ALIKE, what, **common)  # type: ignore[arg-type]

    # ---- search

    def _search(self, case: Case, good: Commit, bad: Commit) -> SearchResult:
        recipe = self.request.recipe
        self._stage(f"Search between {self.request.good} and {self.request.bad}")
        began = time.monotonic()

        def ask(asked: Candidate) -> Judgement:
            judgement = self.judge.ask(asked, case, "search")
            self._judged.append(judgement)
            return judgement

        def listen(progress: Progress) -> None:
            left = self._time_left(progress, began)
            self.bench.setting.listener(replace(progress, detail=progress.detail + left))

        with self.clone.bisect_worktree(self.row.id) as worktree:
            return search(
                self.clone,
                good,
                bad,
                ask,
                worktree=worktree,
                processes=self.bench.processes,
                paths=recipe.search.paths,
                first_parent=recipe.search.first_parent,
                find_fix=self.request.find_fix,
                log=self.bench.store.campaign_folder(self.row.id) / "bisect.log",
                listener=listen,
            )

    def _time_left(self, progress: Progress, began: float) -> str:
        if progress.phase != "search" or not progress.fraction or not self._judged:
            return ""
        seconds = (time.monotonic() - began) * (1 - progress.fraction) / progress.fraction
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"

    # ---- proof and outcome

    def _conclude(self, found: SearchResult, case: Case) -> Outcome:
        if found.first_bad is None:
            kind = OutcomeKind.NARROWED if found.suspects else OutcomeKind.UNRESOLVED
            return Outcome(kind, found.summary, suspects=found.suspects)
        self._stage(f"Proof of {found.first_bad}")
        proof = prove(
            found.first_bad,
            lambda asked: self.judge.ask(asked, case, "proof"),
            lookup=self.clone.history().commit,
            find_fix=self.request.find_fix,
        )
        return proven(proof, found.first_bad)

    # ---- what is said beside the outcome (law 6)

    def _assumptions(self) -> tuple[str, ...]:
        recipe = self.request.recipe
        said = []
        if recipe.search.paths:
            said.append(f"the change lies under {', '.join(recipe.search.paths)} (search.paths)")
        if recipe.search.first_parent:
            said.append("only first parents were searched (search.first_parent): a merge stands for its branch")
        if self.request.pinned:
            said.append(f"the cell {self.request.cells[0].name} was named by the caller")
        said.append(f"{self.bench.trials(recipe)} clean trials make a candidate good")
        return tuple(said)

    def _unchecked(self, case: Case) -> tuple[str, ...]:
        others = [cell.name for cell in self.request.cells if cell.name != case.cell.name]
        said = [f"the search ran in one cell; the proof was not repeated in {', '.join(others)}"] if others else []
        said.append("whether reverting the commit on the bad end mends it")
        said.append("whether a newer kernel than the bad end has it fixed already")
        return tuple(said)

    def _stage(self, text: str) -> None:
        self.bench.setting.listener(Progress("stage", text))


def candidate(commit: Commit, label: str = "") -> Candidate:
    """A commit as a candidate of a source history."""
    return Candidate(TargetKind.KERNEL_SOURCE, commit.oid, label=label if label != commit.oid else "")


def proven(proof: Proof, culprit: Commit) -> Outcome:
    """The outcome that a proof allows (law 3)."""
    kinds = {
        Proven.CONFIRMED: OutcomeKind.CULPRIT,
        Proven.NARROWED: OutcomeKind.NARROWED,
        Proven.NOT_CONFIRMED: OutcomeKind.NOT_CONFIRMED,
    }
    confirmed = proof.kind is Proven.CONFIRMED
    suspects = proof.suspects or (() if confirmed else (culprit,))
    return Outcome(
        kinds[proof.kind],
        str(culprit) if confirmed else proof.summary,
        culprit=culprit if confirmed else None,
        suspects=suspects,
        proof=proof.judgements,
    )
