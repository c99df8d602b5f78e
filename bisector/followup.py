# SPDX-License-Identifier: GPL-2.0-only
"""Is it fixed already? After the outcome the newest mainline at hand is tried like any candidate, and a fix that names
the culprit. What is found stands beside the outcome and never changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bisector import harness, toolchain
from bisector.case import Case, stretched
from bisector.causes import BuildStage
from bisector.errors import UsageError
from bisector.interfaces import Phase, Progress
from bisector.judge import Judge
from bisector.mail import fixed, regression
from bisector.mail.fixed import FixStatus, LaterCommit, Newest
from bisector.model import Candidate, Edit, EditKind, Judgement, Outcome, Verdict
from bisector.other_kernels import other_kernels
from bisector.recipe.matrix import apply, cell_named, cells
from bisector.recipe.model import Recipe
from bisector.report.facts import gather
from bisector.report.stages import FIXED
from bisector.search.fixups import Fixup, Fixups
from bisector.search.gitrepo import UserRepository
from bisector.session import OTHER_FAILURES, Session
from bisector.stage import Stage
from bisector.store import CampaignRow
from bisector.targets import subject_of
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.numbers import resolved


@dataclass(frozen=True)
class RecheckResult:
    """What was tried after the outcome. ``lines``: for people; ``fixed``: all that is known now."""

    lines: tuple[str, ...]
    fixed: FixStatus


def recheck(row: CampaignRow, recipe: Recipe, session: Session) -> RecheckResult:
    """Try the newest mainline of the campaign's repository, and a fix, where nobody has yet; all of it is stored.

    Args:
        row: a finished campaign.
        recipe: its recipe.

    Raises InfraError, Interrupted, UsageError; the outcome stands whatever happens here.
    """
    outcome = row.outcome
    if outcome and outcome.find_fix:
        return RecheckResult(("a search for a fix says already whether a newer one has it",), fixed.UNKNOWN)
    if outcome is None or not outcome.bad or not row.repo or not regression.claims(outcome):
        return RecheckResult(("there is no regression in a repository to look for a fix of",), fixed.UNKNOWN)
    with session.lock(row.id):
        user = UserRepository(Path(row.repo))
        known = _known(row, session, user)
        recheck = _Recheck(row, recipe, session, user, outcome)
        lines = []
        commits = subject_of(recipe).commits
        for newest in known.newest:
            if newest.tree is fixed.Tree.MAINLINE and newest.verdict is None and _is_newer(newest, row, user):
                lines.append(recheck.about(newest.name, Candidate(commits, newest.oid, label=newest.name)))
        lines += recheck.about_fix(next((each for each in known.later if each.repairs and not each.tried), None))
        return RecheckResult(tuple(lines) or ("nothing newer than the bad end is at hand",), _known(row, session, user))


def _known(row: CampaignRow, session: Session, user: UserRepository) -> FixStatus:
    facts = gather(session.store, row, of_recipe=True)
    return fixed.examine(facts, user, series=regression.stable_series(facts))


def _is_newer(newest: Newest, row: CampaignRow, user: UserRepository) -> bool:
    """Whether it may say more than the bad end did: it is neither that nor in it."""
    return not user.is_ancestor(newest.oid, row.bad)


class _Recheck:
    """Puts the campaign's question to candidates that are newer than its ends.

    A candidate is good after as many clean trials as vouched for the good side of the proof.
    """

    def __init__(
        self, row: CampaignRow, recipe: Recipe, session: Session, user: UserRepository, outcome: Outcome
    ) -> None:
        self.row, self.recipe, self.session, self.outcome = row, recipe, session, outcome
        target = session.source(recipe, cells(recipe), session.clone(user))
        toolchain.pin(target, session.store, row.id, session.setting.listener)
        fixups = Fixups(
            tuple(Fixup(user.resolve(f.broken_by), user.resolve(f.fixed_by)) for f in recipe.search.fixups),
            user.is_ancestor,
        )
        control = outcome.good.candidate if outcome.good else None
        self.judge: Judge = session.judge(row.id, recipe, target, control, fixups)
        self.case = self._case()

    def _case(self) -> Case:
        cell = cell_named(self.recipe, self.outcome.cell)
        recipe, ends = apply(self.recipe, cell), (self.outcome.good, self.outcome.bad)
        kernels = other_kernels(self.judge, recipe, *(end.candidate if end else None for end in ends))
        case = self.session.case(recipe, cell, kernels=kernels)
        case = replace(case, question=resolved(case.question, self.outcome.numbers))
        case = self._as_long(case)
        trials = max(self.session.trials(self.recipe), *self._clean())
        return replace(case, rule=FixedTrials(trials, OTHER_FAILURES))

    def _as_long(self, case: Case) -> Case:
        """The case with the workload of the search: one that was stretched, by the trials that said so.

        Raises UsageError where the recipe's own is not, and does not become, what was searched with.
        """
        bad = self.outcome.bad
        if bad is None or not bad.plan or bad.plan == case.plan.identity():
            return case
        ends = self.session.store.trials(self.row.id, image=bad.image, plan=case.plan.identity())
        chosen = Stage.ENDS.again("again")  # the cell was one of several
        stage = chosen if any(trial.stage == chosen for trial in ends) else Stage.ENDS
        longer = stretched(case, [one for one in ends if one.stage == stage and not harness.failed(one)])
        if longer.plan.identity() != bad.plan:
            raise UsageError(
                f"the recipe asks another question than campaign {self.row.id} did",
                hint="bring back its files, and what its VM boots",
            )
        return longer

    def _clean(self) -> Iterator[int]:
        """Conclusive trials of each good candidate of the proof, and of the good end."""
        judged = (*self.outcome.proof, *filter(None, (self.outcome.good,)))
        yield from (judgement.counts[1] for judgement in judged if judgement.verdict is Verdict.GOOD)

    def about(self, name: str, candidate: Candidate) -> str:
        """One candidate's answer, as a line for people."""
        return _line(name, self._answer(name, candidate))

    def about_fix(self, fix: LaterCommit | None) -> Iterator[str]:
        """A fix on top of the bad end, for that is the kernel at fault; where it does not apply, at its own place."""
        if fix is None:
            return
        kind = subject_of(self.recipe).commits
        name = f'{fix.commit.oid[:12]} ("{fix.commit.subject}")'
        on_top = Candidate(kind, self.row.bad, (Edit(EditKind.APPLY, fix.commit.oid),), label="the bad end")
        answer = self._answer(f"{name} {fixed.Place.TOP}", on_top)
        yield _line(f"{name} {fixed.Place.TOP}", answer)
        if answer.failure and answer.failure.stage is BuildStage.EDITS:
            yield self.about(f"{name} {fixed.Place.AT}", Candidate(kind, fix.commit.oid))

    def _answer(self, name: str, candidate: Candidate) -> Judgement:
        words = f"Is it fixed already? {name}"
        event = Progress(Phase.STAGE, words, campaign=self.row.id, recipe=self.row.recipe, stage=FIXED)
        self.session.setting.listener(event)
        return self.judge.ask(candidate, self.case, FIXED)


def _line(name: str, judgement: Judgement) -> str:
    return f"{name} is {judgement.verdict}: {judgement.reason}"
