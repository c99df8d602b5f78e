# SPDX-License-Identifier: GPL-2.0-only
"""One question of a night: what does this candidate answer, in this cell of this recipe?"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from bisector.case import Case
from bisector.codec import digest
from bisector.interfaces import EditsDoNotApply, Phase, Progress, Target
from bisector.judge import Judge
from bisector.model import Candidate, Cell, Commit, Judgement, Signal, TargetKind, Trial, Verdict
from bisector.nightly.config import WatchedRecipe
from bisector.nightly.records import Answer, Night, Role, carried
from bisector.nightly.trees.tree import Day
from bisector.recipe.matrix import apply
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.search.clone import PrivateClone
from bisector.session import OTHER_FAILURES, Session
from bisector.stage import CampaignState
from bisector.store import CampaignRow
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.sequential import often_failed


@dataclass(frozen=True)
class Question:
    """A question of the night. ``condition``: one of the recipe's, "" for all; ``trials``: clean ones make it good.

    ``sure``: so many that a known regression would show.
    """

    item: WatchedRecipe
    cell: Cell
    role: Role
    condition: str
    trials: int
    sure: bool = False

    @property
    def stage(self) -> str:
        """The stage of its trials in the store."""
        return self.role.stage(self.condition)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Names it within its night, with all that its answer depends on."""
        return (self.item.name, self.cell.name, self.role, self.condition, self.trials, self.sure)


@dataclass(frozen=True)
class _Put:
    """A question put to its candidate. ``name`` and ``key``: as in its answer; ``row``: id of tonight's test."""

    question: Question
    candidate: Candidate
    case: Case
    target: Target
    name: str
    key: str
    row: str


def narrowed(recipe: Recipe, condition: str) -> Recipe:
    """The recipe with one of its bad conditions alone: another failure than that is none of it (law 2)."""
    if not condition or set(recipe.bad_when) == {condition}:
        return recipe
    return recipe.model_copy(update={"bad_when": {condition: recipe.bad_when[condition]}})


@dataclass(frozen=True)
class QuestionRunner:
    """Asks on behalf of one night. Its trials stand in the store under a test for each recipe."""

    session: Session
    clone: PrivateClone
    watch: str
    day: Day
    repo: str  # what rows of the store say of where it comes from
    adding: threading.Lock = field(default_factory=threading.Lock, compare=False)  # two cells of a recipe begin at once

    def ask(self, question: Question, nights: Sequence[Night]) -> Answer:
        """The answer: an earlier one of the identical candidate, or from trials now. Raises InfraError, Interrupted."""
        put = self._put(question)
        earlier = carried(nights, put.name, put.candidate.revision, put.key) if put.key else None
        if earlier and (earlier.verdict is Verdict.BAD or earlier.conclusive >= question.trials):
            return replace(earlier, role=question.role, condition=question.condition, sure=question.sure)
        put = self._stored(put)
        case = replace(put.case, rule=FixedTrials(question.trials, OTHER_FAILURES))
        judged = self._judge(put, nights).ask(put.candidate, case, question.stage)
        return _answer(question, judged, put.name, put.key, put.row)

    def learn(self, question: Question, nights: Sequence[Night], reproductions: int) -> Answer:
        """Trials of a tree that has shown a regression, until so many more of them reproduce or ``question.trials``
        are drawn: whatever they show counts. Raises InfraError, Interrupted."""
        put = self._stored(self._put(question))
        judge = self._judge(put, nights)
        series = judge.series(put.candidate, put.case, question.stage)
        with judge.ahead() as scope:
            while not series.untestable and (seen := series.evidence).reproduced < reproductions:
                if seen.conclusive >= question.trials or often_failed(seen):
                    break
                if seen.other >= OTHER_FAILURES + 2 * seen.conclusive:
                    break
                scope.want(series.coming(min(question.trials - seen.conclusive, reproductions - seen.reproduced)))
                series.draw()
        verdict = Verdict.BAD if series.evidence.reproduced else Verdict.WEAK
        reason = series.untestable or f"reproduced in {series.evidence.figures}, to learn its rate"
        return _answer(question, series.judgement(verdict, reason), put.name, put.key, put.row)

    def questions(self, item: WatchedRecipe, cell: str, condition: str) -> tuple[str, ...]:
        """Identities of the questions about a regression's cell: all of the recipe, and the condition alone."""
        found = next((each for each in item.wanted if each.name == cell), None)
        return () if found is None else tuple(self._name(item, found, each) for each in ("", condition))

    def plan(self, item: WatchedRecipe, cell: str, condition: str) -> str:
        """Identity of the workload with which a condition is searched for; "" where the recipe has no such cell."""
        found = next((each for each in item.wanted if each.name == cell), None)
        return self._case(narrowed(item.recipe, condition), found).plan.identity() if found else ""

    def cut_short(self, night: Night, items: Sequence[WatchedRecipe]) -> tuple[Answer, ...]:
        """Trials of a night that ended before their question was answered, as answers without a verdict.

        Without them the clean ones would be lost and the others kept, since one that reproduces answers at once.
        """
        store, found = self.session.store, []
        for item in items:
            row = self._row_name(night.tag, night.next, item)
            trials: dict[tuple[str, str], list[Trial]] = {}
            for trial in store.trials(row):
                role, condition = Role.of_stage(trial.stage)
                if role in (Role.NEXT, Role.RATE) and night.answer(item.name, trial.cell, role, condition) is None:
                    trials.setdefault((trial.cell, trial.stage), []).append(trial)
            cells = {each.name: each for each in item.wanted}
            for (name, stage), of_it in trials.items():
                role, condition = Role.of_stage(stage)
                if role and (cell := cells.get(name)):
                    question = Question(item, cell, role, condition, 0)
                    why = "the night ended before this was answered"
                    judged = Judgement(of_it[0].candidate, Verdict.WEAK, why, name, trials=tuple(of_it))
                    found.append(_answer(question, judged, self._name(item, cell, condition), "", row))
        return tuple(found)

    # ---- a question, put to its candidate

    def _put(self, question: Question) -> _Put:
        item, commit = question.item, self.day.base if question.role is Role.BASE else self.day.next
        candidate = self._candidate(commit, question.role)
        target = self.session.kernel_source(item.recipe, item.wanted, self.clone)
        case = self._case(narrowed(item.recipe, question.condition), question.cell)
        try:
            key = target.key(candidate)
        except EditsDoNotApply:  # not without edits; kept for what a target may do
            key = ""
        name = self._name(item, question.cell, question.condition)
        return _Put(question, candidate, case, target, name, key, self._row_name(self.day.tag, self.day.next.oid, item))

    def _stored(self, put: _Put) -> _Put:
        """With the row of its trials in the store."""
        with self.adding:
            return replace(put, row=self._add_row(put.question.item, put.row))

    def _case(self, recipe: Recipe, cell: Cell) -> Case:
        return self.session.case(apply(recipe, cell), cell)

    def _name(self, item: WatchedRecipe, cell: Cell, condition: str) -> str:
        recipe = narrowed(item.recipe, condition)
        return digest(resolved_yaml(recipe), cell.name, self._case(recipe, cell).plan.identity())

    def _judge(self, put: _Put, nights: Sequence[Night]) -> Judge:
        self._tell(put.candidate, put.question, put.row, put.question.stage)
        recipe = narrowed(put.question.item.recipe, put.question.condition)
        return self.session.judge(put.row, recipe, put.target, self._control(put.candidate, nights))

    def _candidate(self, commit: Commit, role: Role) -> Candidate:
        label = f"base of {self.day.tag}" if role is Role.BASE else self.day.tag
        return Candidate(TargetKind.KERNEL_SOURCE, commit.oid, label=label)

    def _control(self, candidate: Candidate, nights: Sequence[Night]) -> Candidate:
        """What is known to boot: the newest base that was good on another night, else the other one of tonight's."""
        for night in reversed(nights):
            for answer in night.answers:
                good = answer.role is Role.BASE and answer.verdict is Verdict.GOOD
                if good and answer.candidate != candidate.revision:
                    return Candidate(TargetKind.KERNEL_SOURCE, answer.candidate)
        other = self.day.base if candidate.revision == self.day.next.oid else self.day.next
        return Candidate(TargetKind.KERNEL_SOURCE, other.oid)

    def _add_row(self, item: WatchedRecipe, name: str) -> str:
        """Id of tonight's test of a recipe in the store; a night that is resumed finds its own again."""
        if not self.session.store.has_campaign(name):
            row = self.session.add_campaign(
                CampaignRow(
                    id=name,
                    recipe=item.name,
                    title=item.recipe.title or "",
                    source=item.source,
                    repo=self.repo,
                    good="",
                    bad=self.day.next.oid,
                    find_fix=False,
                    cell="",
                    created=time.time(),
                    state=CampaignState.TEST,
                ),
                item.recipe,
            )
            return row.id  # another one where a folder of that name holds trials already
        return name

    def _row_name(self, tag: str, oid: str, item: WatchedRecipe) -> str:
        """A recipe that is changed before its night is resumed has a test of its own: what trials of the old one showed
        was read by other conditions."""
        return f"night-{self.watch}-{tag}-{oid[:8]}-{item.name}-{digest(item.source)[:6]}"

    def _tell(self, candidate: Candidate, question: Question, row: str, stage: str) -> None:
        where = f" in {question.cell.name}" if question.cell.name else ""
        condition = f", {question.condition}" if question.condition else ""
        name = question.item.name
        event = Progress(Phase.STAGE, f"{candidate}: {name}{condition}{where}", campaign=row, recipe=name, stage=stage)
        self.session.setting.listener(event)


def _answer(question: Question, judged: Judgement, name: str, key: str, row: str) -> Answer:
    readings = [trial.reading for trial in judged.trials if trial.reading.signal is Signal.REPRODUCED]
    reproduced, conclusive = judged.counts
    return Answer(
        recipe=question.item.name,
        cell=question.cell.name,
        role=question.role,
        condition=question.condition,
        candidate=judged.candidate.revision,
        question=name,
        key=key,
        verdict=judged.verdict,
        reason=judged.reason,
        conditions=tuple(dict.fromkeys(reading.condition for reading in readings)),
        reproduced=reproduced,
        conclusive=conclusive,
        campaign=row,
        sure=question.sure,
    )
