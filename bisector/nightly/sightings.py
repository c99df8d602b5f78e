# SPDX-License-Identifier: GPL-2.0-only
"""One recipe on tonight's tree: which of its regressions were seen, which are gone, and which are not known."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bisector.model import Cell, Verdict
from bisector.nightly.config import WatchedRecipe
from bisector.nightly.questions import Question
from bisector.nightly.records import Answer, Kind, Regression, Role, State, Where, new_name
from bisector.nightly.state import NightState


@dataclass(frozen=True)
class Sightings:
    """What one night's trials say of the regressions that are known, and of new ones."""

    state: NightState

    def test(self, item: WatchedRecipe) -> None:
        """Try a recipe in all its cells, and note what was seen. Raises InfraError, Interrupted."""
        seen: dict[str, Answer] = {}
        for cell in item.wanted:
            answer = self.state.ask(self.first(item, cell))
            for condition in answer.conditions if answer.verdict is Verdict.BAD else ():
                seen.setdefault(condition, answer)
        for regression in list(self.state.open_of(item)):
            alone = None if regression.condition in seen else self._look_alone(item, regression)
            if alone is not None:
                seen[regression.condition] = alone
        for condition, answer in seen.items():
            self._seen(item, condition, answer)

    def first(self, item: WatchedRecipe, cell: Cell) -> Question:
        """What tonight's tree is tried for in a cell before anything else of it."""
        mine = [each for each in self.state.open_of(item) if each.cell == cell.name]
        trials = max((self.state.tonight(item, each) for each in mine), default=self.state.session.trials(item.recipe))
        return Question(item, cell, Role.NEXT, "", trials, sure=bool(mine))

    def _seen(self, item: WatchedRecipe, condition: str, answer: Answer) -> None:
        state, tonight = self.state, self.state.night.name
        text = f"{condition} in {answer.reproduced} of {answer.conclusive} trials" + (
            f" ({answer.cell})" if answer.cell else ""
        )
        known = state.open_one(item, condition)
        if known is None:
            name = new_name(state.regressions, item.name, condition)
            known = Regression(name, state.watch.name, item.name, condition, answer.cell, opened=tonight)
            known = state.save(replace(known, seen=(tonight,)))
        elif tonight not in known.seen:
            same = state.regressions.get(known.same_as)
            alone = known.same_as if same and same.is_open else ""  # the other one is gone, and this one is not
            known = state.save(replace(known, seen=(*known.seen, tonight), same_as=alone))
        first = known.opened == tonight
        state.add_news(Kind.OPENED if first else Kind.STILL, known, text)

    def _look_alone(self, item: WatchedRecipe, regression: Regression) -> Answer | None:
        """Whether a regression that did not show is gone. Gives an answer in which it showed after all."""
        state = self.state
        cell = next((cell for cell in item.wanted if cell.name == regression.cell), None)
        if cell is None or state.item(regression) is None:
            state.add_news(Kind.UNKNOWN, regression, "its recipe has no longer this cell or this condition")
            return None
        answer = state.night.answer(item.name, cell.name, Role.NEXT, "")
        assert answer is not None
        if answer.verdict is Verdict.BAD:  # by another condition, which may have come first and hidden this one
            tonight = state.tonight(item, regression)
            answer = state.ask(Question(item, cell, Role.NEXT, regression.condition, tonight, sure=True))
        if answer.verdict is Verdict.BAD:
            return answer
        needed, clean = state.needed(item, regression), state.series(item, regression).clean
        if answer.verdict is not Verdict.GOOD:
            state.add_news(Kind.UNKNOWN, regression, f"not known: {answer.reason}")
        elif clean < needed:
            text = f"clean in {clean} trials since it was seen last; gone after {needed}"
            state.add_news(Kind.UNKNOWN, regression, text)
        else:
            self._gone_from_next(item, regression, cell, needed)
        return None

    def _gone_from_next(self, item: WatchedRecipe, regression: Regression, cell: Cell, needed: int) -> None:
        """It is fixed when no tree that had it shows it any more, by the same test."""
        state, clean = self.state, self.state.series(item, regression).clean
        text = f"clean in {clean} of {clean} trials of {state.tree.name}"
        inside = regression.culprit and state.holds(state.day.base.oid, regression.culprit.oid)
        if regression.where is not Where.NEXT or inside:
            trials = state.tonight_of_base(item, regression)
            base = state.ask(Question(item, cell, Role.BASE, regression.condition, trials, sure=True))
            if base.verdict is Verdict.BAD:
                state.add_news(Kind.HELD, regression, f"{text}; {state.tree.base_tree} still has it: {base.reason}")
                return
            of_base = state.series(item, regression).base
            if base.verdict is not Verdict.GOOD or of_base < needed:
                more = f"clean in {of_base} trials; gone after {needed}" if of_base else base.reason
                state.add_news(
                    Kind.UNKNOWN, regression, f"{text}; whether {state.tree.base_tree} has it is not known: {more}"
                )
                return
            text += f" and {of_base} of {of_base} of its base"
        if said := state.speaks_for(item, regression, needed):
            text += f": {said}"
        closed = replace(regression, state=State.FIXED, closed=state.night.name, search=None)
        state.add_news(Kind.FIXED, closed, text)  # before it is closed: a night that is killed in between adds it again
        state.save(closed)

    def learn(self, regression: Regression) -> None:
        """Learn the rate of a regression that was seen tonight, where nothing else did and time is left. Raises
        InfraError, Interrupted."""
        item = None if self.state.deadline.spent else self.state.item(regression)
        if item and self.state.night.name in regression.seen and not regression.same_as:
            self.state.learn(item, regression)
