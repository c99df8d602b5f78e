# SPDX-License-Identifier: GPL-2.0-only
"""The state of one night: what it works with, what it remembers, and each change of that written down at once.

A night that is killed at any moment finds on its state what was written before, and asks nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from bisector.codec import dump
from bisector.interfaces import Listener, Phase, Progress, with_context
from bisector.model import Outcome
from bisector.nightly.config import Watch, WatchedRecipe
from bisector.nightly.deadline import Deadline
from bisector.nightly.gone import RAREST, trials_to_call_gone, trials_without_rate
from bisector.nightly.once import Once
from bisector.nightly.questions import Question, QuestionRunner
from bisector.nightly.records import (
    A_NIGHT,
    LEARN,
    NOTHING,
    Answer,
    Kind,
    News,
    Night,
    Regression,
    Role,
    Search,
    Series,
    of_campaign,
    open_one,
    series,
)
from bisector.nightly.trees.tree import Day, Tree
from bisector.session import DEFAULT_MAX_ERROR, Session
from bisector.store import CampaignRow, Store
from bisector.verdict.sequential import Evidence

Ended = tuple[CampaignRow, Outcome]
"""A search that has ended."""


def nights_of(store: Store, watch: str) -> tuple[Night, ...]:
    """All nights of a watch, oldest first."""
    nights = [store.read(Night, body, f"a night of {watch}") for body in store.nights(watch)]
    return tuple(sorted(nights, key=lambda night: night.tag))  # a clock that was set back changes no order of days


def regressions_of(store: Store, watch: str) -> tuple[Regression, ...]:
    """All regressions of a watch."""
    return tuple(store.read(Regression, body, f"a regression of {watch}") for body in store.regressions(watch))


@dataclass
class NightState:
    """One night at work. ``night`` and ``regressions`` are as stored; change them by the methods alone.

    ``cut``: trials of earlier nights that ended before the question was answered, by the night's name.
    ``once``: what is done once, whether this night comes to it first or a preview (bisector/nightly/ahead.py).
    """

    watch: Watch
    session: Session
    tree: Tree
    day: Day
    runner: QuestionRunner
    night: Night
    before: tuple[Night, ...]
    regressions: dict[str, Regression]
    deadline: Deadline
    cut: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)
    once: Once = field(default_factory=Once)
    _before: dict[tuple[object, ...], Series] = field(default_factory=dict)  # series of the nights before this one
    _lock: threading.RLock = field(default_factory=threading.RLock)  # around what previews write, too
    _ahead: dict[Hashable, Answer] = field(default_factory=dict)  # answers that this night has not come to
    _begun: dict[str, Search] = field(default_factory=dict)  # searches, likewise, by regression
    _come: set[str] = field(default_factory=set)  # regressions that this night has come to

    # ---- what is written down

    def save_night(self, night: Night) -> None:
        """The night as it stands now, with answers that it has not come to."""
        used, taken = self.deadline.used, self.deadline.taken
        with self._lock:
            self.night = replace(
                night, used=used.wall, used_machine=used.machine, seconds=taken.wall, machine=taken.machine
            )
            whole = replace(self.night, answers=(*self.night.answers, *self._ahead.values()))
            self.session.store.save_night(whole.watch, whole.tag, whole.next, whole.began, dump(whole))

    def save(self, regression: Regression) -> Regression:
        """A regression as it stands now, and the search of it that was begun before this night came to it."""
        with self._lock:
            self.regressions[regression.id] = regression
            begun = self._begun.get(regression.id) if regression.is_open else None
            whole = replace(regression, search=regression.search or begun)
            self.session.store.save_regression(whole.watch, whole.id, dump(whole))
        return regression

    def keep_ahead(self, key: Hashable, answer: Answer) -> None:
        """Write down an answer that this night will come to."""
        with self._lock:
            self._ahead[key] = answer
            self.save_night(self.night)

    def keep_search(self, regression: str, search: Search) -> None:
        """Write down that a search was begun that this night will come to."""
        with self._lock:
            known = self.regressions.get(regression)
            if known and not known.search and regression not in self._come:
                self._begun.setdefault(regression, search)
                self.save(known)

    def turn_of(self, regression: Regression) -> None:
        """This night comes to the regression: what is begun from here on, it begins itself."""
        with self._lock:
            self._come.add(regression.id)
            self._begun.pop(regression.id, None)

    def take_begun(self) -> None:
        """The night ends early: searches that were begun ahead are those of their regressions."""
        with self._lock:
            for name, search in self._begun.items():
                self.regressions[name] = replace(self.regressions[name], search=search)
            self._begun.clear()

    @property
    def listener(self) -> Listener:
        """Who watches."""
        return self.session.setting.listener

    def add_news(self, kind: Kind, regression: Regression, text: str) -> None:
        """Add one line to the news of this night."""
        news = News(kind, regression.id, text)
        if news in self.night.news:
            return
        self.save_night(self.night.with_news(news))
        self.emit(Phase.REGRESSION, text, regression, kind=kind.value, **_about(regression))

    def emit(self, phase: Phase, text: str, regression: Regression, **facts: object) -> None:
        """Tell those who watch; nothing is written down."""
        campaign = regression.campaigns[-1] if regression.campaigns else ""
        facts = {"regression": regression.id, **facts}
        self.listener(Progress(phase, text, campaign=campaign, recipe=regression.recipe, facts=facts))

    def emit_night(self, **facts: object) -> None:
        """Tell those who watch how the night stands."""
        night = self.night
        about: dict[str, object] = {
            "watch": night.watch,
            "night": night.name,
            "tag": night.tag,
            "next": night.next,
            "base": night.base,
            "base_name": night.base_name,
            "state": night.state.value,
            "ran": True,
        }
        self.listener(Progress(Phase.NIGHT, night.tag, facts=about | facts))

    def finish(self, regression: Regression) -> None:
        """Nothing is left to do for it tonight."""
        if regression.id not in self.night.finished:
            self.save_night(replace(self.night, finished=(*self.night.finished, regression.id)))

    # ---- questions

    def ask(self, question: Question) -> Answer:
        """The answer, from tonight if it was given already. Raises InfraError, Interrupted."""
        mine = (question.item.name, question.cell.name, question.role, question.condition)
        known = self.night.answer(*mine)
        if known:
            return known
        key = question.key
        answer = self.answered(key, lambda: self.runner.ask(question, self.before))
        self._come_to(key, answer)
        return answer

    def answered(self, key: Hashable, work: Callable[[], Answer]) -> Answer:
        """What ``work`` answers, from a preview where one came to it before."""
        return self.once.get(key, work)

    def ended(self, key: Hashable, regression: Regression, search: Search, work: Callable[[], Ended]) -> Ended:
        """The search's end, from a preview where one came to it before."""
        return self.once.get(key, work)

    def _come_to(self, key: Hashable, answer: Answer) -> None:
        with self._lock:
            self._ahead.pop(key, None)
            self.save_night(replace(self.night, answers=(*self.night.answers, answer)))
        self._emit_answer(answer)

    def _emit_answer(self, answer: Answer) -> None:
        facts = {**asdict(answer), "verdict": answer.verdict.value}
        del facts["campaign"], facts["recipe"], facts["question"], facts["key"]
        stage = answer.role.stage(answer.condition)
        heard = with_context(self.listener, campaign=answer.campaign, recipe=answer.recipe, stage=stage)
        heard(Progress(Phase.ANSWER, answer.reason, facts=facts))

    def open_of(self, item: WatchedRecipe) -> Iterator[Regression]:
        """Open regressions of a recipe."""
        yield from [each for each in self.regressions.values() if each.is_open and each.recipe == item.name]

    def open_one(self, item: WatchedRecipe, condition: str) -> Regression | None:
        """The open regression that a condition of a recipe belongs to."""
        return open_one(self.regressions.values(), item.name, condition)

    def holds(self, newer: str, older: str) -> bool:
        """Whether a commit holds another one."""
        return self.tree.history.is_ancestor(older, newer)

    def item(self, regression: Regression) -> WatchedRecipe | None:
        """The recipe of a regression, None when it is watched no more, or not in that cell."""
        for item in self.watch.items:
            if item.name == regression.recipe and regression.cell in [cell.name for cell in item.wanted]:
                return item if regression.condition in item.recipe.bad_when else None
        return None

    # ---- whether it is gone

    def series(self, item: WatchedRecipe, regression: Regression) -> Series:
        """The regression's trials up to now, with those of its campaigns."""
        questions = self.runner.questions(item, regression.cell, regression.condition)
        of_it = (regression.id, regression.opened, regression.returned, regression.campaigns)
        if of_it not in self._before:
            campaigns = sum(self._learnt_by_campaigns(item, regression), Evidence())
            before = map(self._whole, self.before)
            self._before[of_it] = series(before, regression, questions, NOTHING.learnt(campaigns))
        return series((self.night,), regression, questions, self._before[of_it])

    def needed(self, item: WatchedRecipe, regression: Regression) -> int:
        """Clean trials in a row that call this regression gone; never fewer than the recipe asks for."""
        found = self.series(item, regression)
        wanted = trials_to_call_gone(found.known, _max_error(item), self._check(found, regression))
        return max(wanted, self.session.trials(item.recipe))

    def speaks_for(self, item: WatchedRecipe, regression: Regression, needed: int) -> str:
        """What ``needed`` clean trials say in words, where they do not go by the regression's own rate."""
        found = self.series(item, regression)
        by_rate = needed != trials_without_rate(_max_error(item), self._check(found, regression))
        return "" if by_rate else f"a bug that shows in at least {RAREST:.0%} of trials would have been seen"

    def tonight(self, item: WatchedRecipe, regression: Regression) -> int:
        """How many of them are drawn tonight: what earlier clean nights left, within reason."""
        return self._within_reason(item, self.needed(item, regression) - self.series(item, regression).clean)

    def tonight_of_base(self, item: WatchedRecipe, regression: Regression) -> int:
        """How many of them are drawn of the base tonight."""
        return self._within_reason(item, self.needed(item, regression) - self.series(item, regression).base)

    def learn(self, item: WatchedRecipe, regression: Regression) -> None:
        """Draw on tonight's tree, which has the regression, until its rate is known: so that some night it can be
        distinguished from one that is gone. Raises InfraError, Interrupted."""
        known = self.series(item, regression).known.reproduced
        mine = (item.name, regression.cell, Role.RATE, regression.condition)
        if known >= LEARN or self.night.answer(*mine):
            return
        cell = next(cell for cell in item.wanted if cell.name == regression.cell)
        question = Question(item, cell, Role.RATE, regression.condition, A_NIGHT, sure=True)
        key = (*question.key, known)
        answer = self.answered(key, lambda: self.runner.learn(question, self.before, LEARN - known))
        self._come_to(key, answer)

    def _whole(self, night: Night) -> Night:
        """An earlier night with the trials that were cut short."""
        cut = self.cut.get(night.name)
        return replace(night, answers=(*night.answers, *cut)) if cut else night

    def _within_reason(self, item: WatchedRecipe, left: int) -> int:
        return max(min(left, A_NIGHT), self.session.trials(item.recipe))

    @staticmethod
    def _check(found: Series, regression: Regression) -> int:
        return 1 + found.sightings + len(regression.campaigns)

    def _learnt_by_campaigns(self, item: WatchedRecipe, regression: Regression) -> Iterator[Evidence]:
        """Trials of the regression's campaigns that drew until the rate was known, by the workload that the nights
        have: trials of any other are none of this series."""
        if item.recipe.trials is not None:
            return
        plan = self.runner.plan(item, regression.cell, regression.condition)
        for outcome in self.outcomes(regression):
            yield of_campaign(outcome, plan)

    def outcomes(self, regression: Regression) -> tuple[Outcome, ...]:
        """Outcomes of the regression's campaigns."""
        rows = [self.session.store.campaign(name) for name in regression.campaigns]
        return tuple(row.outcome for row in rows if row.outcome)


def _max_error(item: WatchedRecipe) -> float:
    return item.recipe.confidence.max_error if item.recipe.confidence else DEFAULT_MAX_ERROR


def _about(regression: Regression) -> dict[str, object]:
    """A regression as a watching program sees it."""
    culprit = regression.culprit
    return {
        "condition": regression.condition,
        "cell": regression.cell,
        "state": regression.state.value,
        "where": regression.where.value,
        "opened": regression.opened,
        "culprit": culprit.oid if culprit else "",
        "subject": culprit.subject if culprit else "",
        "same_as": regression.same_as,
    }
