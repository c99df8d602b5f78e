# SPDX-License-Identifier: GPL-2.0-only
"""One question of a night: what does this candidate answer, in this cell of this recipe?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bisector.model import Candidate, Cell, Commit, Signal, TargetKind, Verdict, digest
from bisector.nightly.config import Watched
from bisector.nightly.memory import Answer, Night, carried
from bisector.recipe.matrix import apply
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.seams import EditsDoNotApply, Progress
from bisector.search.clone import PrivateClone
from bisector.search.nexttree import Day
from bisector.store import CampaignRow
from bisector.verdict.sequential import FixedTrials
from bisector.workbench import OTHER_FAILURES, Workbench


@dataclass(frozen=True)
class Question:
    """What is asked. ``asked``: a condition, "" for all of the recipe's; ``trials``: clean ones that make it good.

    ``sure``: so many that a known regression would show.
    """

    item: Watched
    cell: Cell
    role: str  # next or base
    asked: str
    trials: int
    sure: bool = False


def narrowed(recipe: Recipe, condition: str) -> Recipe:
    """The recipe with one of its bad conditions alone: another failure than that is none of it (law 2)."""
    if not condition or set(recipe.bad_when) == {condition}:
        return recipe
    return recipe.model_copy(update={"bad_when": {condition: recipe.bad_when[condition]}})


@dataclass(frozen=True)
class Trier:
    """Asks on behalf of one night. Its trials stand in the store under a test for each recipe."""

    bench: Workbench
    clone: PrivateClone
    watch: str
    day: Day
    repo: str  # what rows of the store say of where it comes from

    def ask(self, question: Question, nights: Sequence[Night]) -> Answer:
        """The answer: an earlier one of the identical candidate, or from trials now. Raises InfraError, Interrupted."""
        item, commit = question.item, self.day.next if question.role == "next" else self.day.base
        recipe = narrowed(item.recipe, question.asked)
        candidate = self._candidate(commit, question.role)
        target = self.bench.kernel_source(item.recipe, item.wanted, self.clone)
        case = self.bench.case(apply(recipe, question.cell), question.cell)
        name = digest(resolved_yaml(recipe), question.cell.name, case.plan.identity())
        try:
            key = target.key(candidate)
        except EditsDoNotApply:  # not without edits; kept for what a target may do
            key = ""
        earlier = carried(nights, name, commit.oid, key) if key else None
        if earlier and (earlier.verdict is Verdict.BAD or earlier.told >= question.trials):
            return replace(earlier, role=question.role, asked=question.asked, sure=question.sure)
        row = self._row(item)
        stage = "-".join(filter(None, (question.role, question.asked)))
        self._tell(candidate, question, row, stage)
        judge = self.bench.judge(row, recipe, target, self._control(candidate, nights))
        fixed = FixedTrials(question.trials, OTHER_FAILURES)
        judged = judge.ask(candidate, replace(case, belief=fixed), stage)
        readings = [trial.reading for trial in judged.trials if trial.reading.signal is Signal.REPRODUCED]
        reproduced, told = judged.counts
        return Answer(
            recipe=item.name,
            cell=question.cell.name,
            role=question.role,
            asked=question.asked,
            candidate=commit.oid,
            question=name,
            key=key,
            verdict=judged.verdict,
            reason=judged.reason,
            conditions=tuple(dict.fromkeys(reading.condition for reading in readings)),
            reproduced=reproduced,
            told=told,
            campaign=row,
            sure=question.sure,
        )

    def _candidate(self, commit: Commit, role: str) -> Candidate:
        label = self.day.tag if role == "next" else f"base of {self.day.tag}"
        return Candidate(TargetKind.KERNEL_SOURCE, commit.oid, label=label)

    def _control(self, candidate: Candidate, nights: Sequence[Night]) -> Candidate:
        """What is known to boot: the newest base that was good on another night, else the other one of tonight's."""
        for night in reversed(nights):
            for answer in night.answers:
                good = answer.role == "base" and answer.verdict is Verdict.GOOD
                if good and answer.candidate != candidate.revision:
                    return Candidate(TargetKind.KERNEL_SOURCE, answer.candidate)
        other = self.day.base if candidate.revision == self.day.next.oid else self.day.next
        return Candidate(TargetKind.KERNEL_SOURCE, other.oid)

    def _row(self, item: Watched) -> str:
        """Id of tonight's test of a recipe; a night that is resumed finds its own again."""
        name = f"night-{self.watch}-{self.day.tag}-{self.day.next.oid[:8]}-{item.name}"
        store = self.bench.store
        if not store.has_campaign(name):
            row = self.bench.add_campaign(
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
                    state="test",
                ),
                item.recipe,
            )
            return row.id  # another one where a folder of that name holds trials already
        return name

    def _tell(self, candidate: Candidate, question: Question, row: str, stage: str) -> None:
        where = f" in {question.cell.name}" if question.cell.name else ""
        asked = f", {question.asked}" if question.asked else ""
        name = question.item.name
        told = Progress("stage", f"{candidate}: {name}{asked}{where}", campaign=row, recipe=name, stage=stage)
        self.bench.setting.listener(told)
