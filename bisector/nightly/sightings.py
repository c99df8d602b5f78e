# SPDX-License-Identifier: GPL-2.0-only
"""One recipe on tonight's linux-next: which of its regressions were seen, which are gone, and which are not known."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bisector.model import Cell, Verdict
from bisector.nightly.config import Watched
from bisector.nightly.desk import Desk
from bisector.nightly.memory import Answer, Kind, Regression, State, Where, new_name
from bisector.nightly.trying import Question


@dataclass(frozen=True)
class Sightings:
    """What one night's trials say of the regressions that are known, and of new ones."""

    desk: Desk

    def look(self, item: Watched) -> None:
        """Try a recipe in all its cells, and note what was seen. Raises InfraError, Interrupted."""
        seen: dict[str, Answer] = {}
        for cell in item.wanted:
            mine = [each for each in self.desk.open_of(item) if each.cell == cell.name]
            trials = max(
                (self.desk.tonight(item, each) for each in mine), default=self.desk.session.trials(item.recipe)
            )
            answer = self.desk.ask(Question(item, cell, "next", "", trials, sure=bool(mine)))
            for condition in answer.conditions if answer.verdict is Verdict.BAD else ():
                seen.setdefault(condition, answer)
        for regression in list(self.desk.open_of(item)):
            alone = None if regression.condition in seen else self._look_alone(item, regression)
            if alone is not None:
                seen[regression.condition] = alone
        for condition, answer in seen.items():
            self._seen(item, condition, answer)

    def _seen(self, item: Watched, condition: str, answer: Answer) -> None:
        desk, tonight = self.desk, self.desk.night.name
        told = f"{condition} in {answer.reproduced} of {answer.told} trials" + (
            f" ({answer.cell})" if answer.cell else ""
        )
        known = desk.open_one(item, condition)
        if known is None:
            name = new_name(desk.regressions, item.name, condition)
            known = Regression(name, desk.watch.name, item.name, condition, answer.cell, opened=tonight)
            known = desk.save(replace(known, seen=(tonight,)))
        elif tonight not in known.seen:
            same = desk.regressions.get(known.same_as)
            alone = known.same_as if same and same.is_open else ""  # the other one is gone, and this one is not
            known = desk.save(replace(known, seen=(*known.seen, tonight), same_as=alone))
        first = known.opened == tonight
        desk.tell(Kind.OPENED if first else Kind.STILL, known, told)

    def _look_alone(self, item: Watched, regression: Regression) -> Answer | None:
        """Whether a regression that did not show is gone. Gives an answer in which it showed after all."""
        desk = self.desk
        cell = next((cell for cell in item.wanted if cell.name == regression.cell), None)
        if cell is None or desk.item(regression) is None:
            desk.tell(Kind.UNKNOWN, regression, "its recipe has no longer this cell or this condition")
            return None
        answer = desk.night.answer(item.name, cell.name, "next", "")
        assert answer is not None
        if answer.verdict is Verdict.BAD:  # by another condition, which may have come first and hidden this one
            tonight = desk.tonight(item, regression)
            answer = desk.ask(Question(item, cell, "next", regression.condition, tonight, sure=True))
        if answer.verdict is Verdict.BAD:
            return answer
        needed, clean = desk.needed(item, regression), desk.series(item, regression).clean
        if answer.verdict is not Verdict.GOOD:
            desk.tell(Kind.UNKNOWN, regression, f"cannot be told: {answer.reason}")
        elif clean < needed:
            told = f"clean in {clean} trials since it was seen last; gone after {needed}"
            desk.tell(Kind.UNKNOWN, regression, told)
        else:
            self._gone_from_next(item, regression, cell, needed)
        return None

    def _gone_from_next(self, item: Watched, regression: Regression, cell: Cell, needed: int) -> None:
        """It is fixed when no tree that had it shows it any more, by the same test."""
        desk, clean = self.desk, self.desk.series(item, regression).clean
        told = f"clean in {clean} of {clean} trials of linux-next"
        inside = regression.culprit and desk.holds(desk.day.base.oid, regression.culprit.oid)
        if regression.where is not Where.NEXT or inside:
            trials = desk.tonight_of_base(item, regression)
            base = desk.ask(Question(item, cell, "base", regression.condition, trials, sure=True))
            if base.verdict is Verdict.BAD:
                desk.tell(Kind.HELD, regression, f"{told}; mainline still has it: {base.reason}")
                return
            of_base = desk.series(item, regression).base
            if base.verdict is not Verdict.GOOD or of_base < needed:
                more = f"clean in {of_base} trials; gone after {needed}" if of_base else base.reason
                desk.tell(Kind.UNKNOWN, regression, f"{told}; of mainline it cannot be told: {more}")
                return
            told += f" and {of_base} of {of_base} of its base"
        if said := desk.speaks_for(item, regression, needed):
            told += f": {said}"
        closed = replace(regression, state=State.FIXED, closed=desk.night.name, search=None)
        desk.tell(Kind.FIXED, closed, told)  # before it is closed: a night that is killed in between tells it again
        desk.save(closed)

    def learn(self, regression: Regression) -> None:
        """Learn the rate of a regression that was seen tonight, where nothing else did and time is left. Raises
        InfraError, Interrupted."""
        item = None if self.desk.budget.spent else self.desk.item(regression)
        if item and self.desk.night.name in regression.seen and not regression.same_as:
            self.desk.learn(item, regression)
