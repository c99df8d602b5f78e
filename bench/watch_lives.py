# SPDX-License-Identifier: GPL-2.0-only
"""``python -m bench.watch_lives``: how often a watch calls a regression fixed that is there, and how soon a gone one.

Each life is a watch of one recipe, night after night, on trees that all have one regression of a given rate, and from
some night on on trees that do not. What is counted, decided and remembered is the code of the night: ``Sightings``,
``NightState`` and the records below them. Acted are the trials, the store, and the campaign, whose bad end and culprit
are drawn by the rule of the search's own ends.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from bench.calibration.figures import table, upper
from bisector.interfaces import CancelToken, ignore
from bisector.model import (
    Candidate,
    Cell,
    Commit,
    Ending,
    Judgement,
    Observation,
    Outcome,
    OutcomeKind,
    Reading,
    Signal,
    TargetKind,
    Trial,
    Verdict,
)
from bisector.nightly.config import Watch, WatchedRecipe
from bisector.nightly.deadline import Deadline, Spent
from bisector.nightly.questions import Question, QuestionRunner
from bisector.nightly.records import Answer, Night, Regression, Series, State, Where
from bisector.nightly.sightings import Sightings
from bisector.nightly.state import NightState
from bisector.nightly.trees.linux_next import LinuxNext
from bisector.nightly.trees.tree import Day, Tree
from bisector.recipe.parse import parse
from bisector.session import OTHER_FAILURES, Session, Setting
from bisector.system.proc import Processes
from bisector.system.xdg import Folders
from bisector.verdict.budget import Budget as Allowed
from bisector.verdict.confirm import REPRODUCTIONS
from bisector.verdict.ends import MoreEndTrials, ends
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.sequential import Decision, Evidence

RECIPE, CONDITION, PLAN = "acted", "failed", "plan"
TRIALS = 5  # of a night that knows of no regression
MAX_ERROR = 0.01
NIGHTS = 120
RATES = (0.02, 0.05, 0.3)


@dataclass(frozen=True)
class Life:
    """How one watch lives.

    Args:
        rate: of the regression while it is there.
        fixed: the night from which it is not, counted from the one that met it; 0 for never.
        searched: whether a campaign ends on the night that meets it.
        learns: whether nights have the time to learn its rate.
    """

    rate: float
    fixed: int = 0
    searched: bool = False
    learns: bool = True
    nights: int = NIGHTS


@dataclass
class _Trials:
    """Trials that are dice."""

    chance: random.Random
    rate: float

    def until(self, rule: FixedTrials) -> tuple[Evidence, Decision]:
        """Trials of one question, until decided by the judge's own rule."""
        seen = Evidence()
        while True:
            decision = rule.decide(seen)
            if isinstance(decision, Decision):
                return seen, decision
            seen = seen.plus(self.one())

    def one(self) -> Signal:
        return Signal.REPRODUCED if self.chance.random() < self.rate else Signal.CLEAN

    def many(self, count: int) -> Evidence:
        seen = Evidence()
        for _ in range(count):
            seen = seen.plus(self.one())
        return seen


@dataclass
class _ActedRunner:
    """Answers as ``QuestionRunner`` does, from dice."""

    trials: _Trials
    night: int = 0

    def ask(self, question: Question, nights: Sequence[Night]) -> Answer:
        seen, decided = self.trials.until(FixedTrials(question.trials, OTHER_FAILURES))
        return self._answer(question, seen, decided.verdict)

    def learn(self, question: Question, nights: Sequence[Night], reproductions: int) -> Answer:
        seen = Evidence()
        while seen.reproduced < reproductions and seen.conclusive < question.trials:
            seen = seen.plus(self.trials.one())
        return self._answer(question, seen, Verdict.BAD if seen.reproduced else Verdict.WEAK)

    def questions(self, item: WatchedRecipe, cell: str, condition: str) -> tuple[str, ...]:
        return ("question",)

    def plan(self, item: WatchedRecipe, cell: str, condition: str) -> str:
        return PLAN

    def _answer(self, question: Question, seen: Evidence, verdict: Verdict) -> Answer:
        return Answer(
            recipe=RECIPE,
            cell="",
            role=question.role,
            condition=question.condition,
            candidate=f"{self.night:040}",
            question="question",
            key="key",
            verdict=verdict,
            reason="",
            conditions=(CONDITION,) if seen.reproduced else (),
            reproduced=seen.reproduced,
            conclusive=seen.conclusive,
            campaign="row",
            sure=question.sure,
        )


@dataclass
class _State(NightState):
    """Remembers, and writes nothing down. The series of all nights before is that of the night before, gone on with:
    it is a fold, and a life would take minutes otherwise."""

    def start_from(self, known: dict[tuple[object, ...], Series]) -> None:
        self._before.update(known)

    def after(self, regressions: dict[str, Regression]) -> dict[tuple[object, ...], Series]:
        return {
            (each.id, each.opened, each.returned, each.campaigns): self.series(_ITEM, each)
            for each in regressions.values()
        }

    def save_night(self, night: Night) -> None:
        self.night = night

    def save(self, regression: Regression) -> Regression:
        self.regressions[regression.id] = regression
        return regression


@dataclass
class _Store:
    """Keeps the outcome of the one campaign."""

    outcome: Outcome | None = None

    def campaign(self, name: str) -> _Store:
        return self


def _setting() -> Setting:
    return Setting(Folders(Path(), Path()), {}, ignore, 1)


@dataclass
class _Session:
    store: _Store = field(default_factory=_Store)
    cancel: CancelToken = field(default_factory=lambda: CancelToken(""))
    setting: Setting = field(default_factory=_setting)

    @staticmethod
    def trials(recipe: object) -> int:
        return TRIALS


def live(life: Life, seed: str) -> int:
    """The night on which the watch calls the regression fixed, 0 when it does not; counted from the one that met it."""
    trials = _Trials(random.Random(seed), life.rate)
    runner = _ActedRunner(trials)
    session = _Session()
    item = _ITEM
    watch = Watch("w", "", (item,), (), 0.0, Path(), Path())
    before: tuple[Night, ...] = ()
    known: dict[tuple[object, ...], Series] = {}
    regressions: dict[str, Regression] = {}
    first = 0
    for number in range(1, 10**6):
        if first and life.fixed and number - first >= life.fixed:
            trials.rate = 0.0
        if first and number - first > life.nights:
            return 0
        state = _state(watch, session, runner, before, regressions, number)
        state.start_from(known)
        Sightings(state).test(item)
        for regression in list(regressions.values()):
            if not first:
                first = number
                state.save(
                    _searched(regression, session, trials) if life.searched else replace(regression, where=Where.NEXT)
                )
            if life.learns and regression.is_open:
                Sightings(state).learn(regressions[regression.id])
            if regressions[regression.id].state is State.FIXED:
                return number - first
        before = (*before, state.night) if first else ()
        known = state.after(regressions)
    return 0


def _item() -> WatchedRecipe:
    recipe, faults = parse(
        {
            "recipe": RECIPE,
            "target": {"kernel": {"config": ["base"]}},
            "confidence": {"max_error": MAX_ERROR},
            "steps": [{"probe": {"run": ["true"]}}],
            "bad_when": {CONDITION: {"exit": {"probe": 3}}},
            "good_when": {"passed": {"exit": {"probe": 0}}},
        }
    )
    assert recipe is not None, faults
    return WatchedRecipe(recipe, "", (Cell(""),), False)


_ITEM = _item()


def _state(
    watch: Watch,
    session: _Session,
    runner: _ActedRunner,
    before: tuple[Night, ...],
    regressions: dict[str, Regression],
    number: int,
) -> _State:
    runner.night = number
    session.setting = _setting()
    deadline = Deadline(cast(Session, session), Spent(math.inf), time.monotonic)
    commit = Commit(f"{number:040}", "")
    night = Night("w", f"next-{number:08}", commit.oid, "", "", float(number))
    return _State(
        watch,
        cast(Session, session),
        cast(Tree, LinuxNext(Path(), "", cast(Processes, None))),
        cast(Day, None),
        cast(QuestionRunner, runner),
        night,
        before,
        regressions,
        deadline,
    )


def _searched(regression: Regression, session: _Session, trials: _Trials) -> Regression:
    """A campaign of linux-next whose parents and good end are clean: drawn by the rule of the ends, and proven."""
    good, bad = Evidence(), Evidence()
    while isinstance(step := ends(good, bad, Allowed(MAX_ERROR)), MoreEndTrials):
        good, bad = good + Evidence(clean=step.good), bad + trials.many(step.bad)
    found = bad.reproduced > 0
    culprit = Evidence()
    while found and culprit.reproduced < REPRODUCTIONS:
        culprit = culprit.plus(trials.one())
    kind = OutcomeKind.CULPRIT if found else OutcomeKind.ENDS_ALIKE
    proof = (_judged(culprit, Verdict.BAD),) if found else ()
    session.store.outcome = Outcome(kind, "", bad=_judged(bad, Verdict.BAD if found else Verdict.GOOD), proof=proof)
    return replace(regression, campaigns=("campaign",))


def _judged(seen: Evidence, verdict: Verdict) -> Judgement:
    candidate = Candidate(TargetKind.KERNEL_SOURCE, "b" * 40)
    signals = [Signal.REPRODUCED] * seen.reproduced + [Signal.CLEAN] * seen.clean
    trials = tuple(
        Trial(0, candidate, "i", PLAN, "ends", "", 0, Reading(signal), Observation(Ending.FINISHED), "")
        for signal in signals
    )
    return Judgement(candidate, verdict, "", trials=trials, plan=PLAN)


KINDS = {
    "no finished search, no time to learn": Life(0.0, learns=False),
    "no finished search": Life(0.0),
    "after a search": Life(0.0, searched=True),
}
FIXED_AFTER = 10  # nights since it was met, in the lives that see it fixed


def rows(lives: int, gone: int, rates: Sequence[float], nights: int, first: int = 0) -> Iterator[tuple[object, ...]]:
    """A row for each rate and kind of life: called fixed while there; and when it is gone, after how many nights.

    Args:
        lives: in which it is never fixed.
        gone: lives in which it is.
    """
    for rate in rates:
        for name, kind in KINDS.items():
            there = replace(kind, rate=rate, nights=nights)
            wrong = sum(bool(live(there, f"{rate} {name} {seed}")) for seed in range(first, first + lives))
            fixed = replace(there, fixed=FIXED_AFTER)
            called = [live(fixed, f"gone {rate} {name} {seed}") for seed in range(first, first + gone)]
            after = sorted(night - FIXED_AFTER + 1 for night in called if night >= FIXED_AFTER)
            middle = statistics.median(after) if after else "-"
            most = after[int(0.9 * (len(after) - 1))] if after else "-"
            yield (str(rate), name, lives, wrong, f"{upper(wrong, lives):.2%}", f"{len(after)}/{gone}", middle, most)


def main() -> None:
    """Print the table of docs/nightly.md."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lives", type=int, default=1000, help="of each kind, never fixed (default 1000)")
    options.add_argument("--gone", type=int, default=200, help="of each kind, fixed on the tenth night (default 200)")
    options.add_argument("--rates", type=float, nargs="+", default=RATES)
    options.add_argument("--nights", type=int, default=NIGHTS, help=f"of a life (default {NIGHTS})")
    options.add_argument("--first", type=int, default=0, help="seed of the first life")
    given = options.parse_args()
    names = ("rate", "", "lives", "fixed while there", "95 % bound", "fixed when gone", "nights, median", "nine of ten")
    print(table(names, tuple(rows(given.lives, given.gone, given.rates, given.nights, given.first))))


if __name__ == "__main__":
    main()
