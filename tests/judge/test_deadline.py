# SPDX-License-Identifier: GPL-2.0-only
"""How long a trial may take, and that a slow host does not look like a hang."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from test_judge import CASE, Make, make, of, saw

from bisector.agent.plan import Plan, Result, StepFacts
from bisector.case import Case
from bisector.interfaces import CancelToken, Listener
from bisector.judge import Judge
from bisector.model import Condition, Ending, Fact, FactKind, Image, Observation, Question, Signal, Timing, Verdict
from bisector.verdict.clock import HANG_FACTOR, STARVED
from bisector.verdict.fixed import FixedTrials

__all__ = ["make"]
HUNG = Condition("stuck", (Fact(FactKind.HANG, "probe", ("true",)),))
DONE = Condition("done", (Fact(FactKind.HANG, "probe", ("true",), negate=True),))


@dataclass
class Clocked:
    """Each trial needs so many seconds of its host and no more; 0: it hangs for good."""

    needs: list[float]
    deadlines: list[float] = field(default_factory=list)
    starved: float = 0.0  # part of the time of a trial that runs into its deadline

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        self.deadlines.append(plan.deadline)
        need = self.needs.pop(0)
        if need and need < plan.deadline:
            return saw("healthy", seconds=need - 2.0)  # two of them for the storage
        unfinished = Result(steps=(StepFacts("probe", 2.0, 2.0),), elapsed=plan.deadline)
        total = plan.deadline + 6.0
        return Observation(
            Ending.DEADLINE, unfinished, timing=Timing(6.0, 2.0, plan.deadline, total), starved=self.starved * total
        )


def case_of(condition: Condition, **changes: object) -> Case:
    """``CASE`` with that bad condition, good after three clean trials."""
    question = Question((condition,), CASE.question.good)
    return replace(CASE, question=question, rule=FixedTrials(trials=3, other_cap=3), **changes)


def clocked(make: Make, *needs: float) -> tuple[Judge, Clocked]:
    judge, *_ = make({})
    runner = Clocked(list(needs))
    return Judge(replace(judge.tools, runner=runner), judge.control), runner


@pytest.mark.parametrize("condition", [HUNG, DONE])
def test_a_busy_host_makes_no_hang_of_a_clean_trial(make: Make, condition: Condition) -> None:
    judge, runner = clocked(make, 8.0, 8.0, 48.0)
    case = replace(case_of(HUNG), question=Question((HUNG,), (condition,))) if condition is DONE else case_of(HUNG)
    assert judge.ask(of("good"), case, "ends").verdict is Verdict.GOOD
    assert runner.deadlines == [120.0] * 3


def test_a_true_hang_is_seen(make: Make) -> None:
    judge, _ = clocked(make, 8.0, 0.0)
    assert judge.ask(of("bad"), case_of(HUNG), "search").verdict is Verdict.BAD


@pytest.mark.parametrize(("starved", "verdict"), [(STARVED, Verdict.GOOD), (0.9 * STARVED, Verdict.BAD)])
def test_a_host_without_time_for_the_trial_is_no_hang(make: Make, starved: float, verdict: Verdict) -> None:
    judge, runner = clocked(make, 8.0, 800.0, 8.0, 8.0)
    runner.starved = starved
    assert judge.ask(of("good"), case_of(HUNG), "ends").verdict is verdict
    signals = [trial.reading.signal for trial in judge.tools.store.trials("c1")]
    assert (Signal.INFRA in signals) is (verdict is Verdict.GOOD)


def test_clean_trials_that_are_slow_give_later_ones_more_time(make: Make) -> None:
    judge, runner = clocked(make, 100.0, 150.0, 290.0)
    assert judge.ask(of("good"), case_of(HUNG), "ends").verdict is Verdict.GOOD
    assert runner.deadlines == [120.0, HANG_FACTOR * 100.0, HANG_FACTOR * 150.0]


def test_a_deadline_that_the_recipe_names_is_kept(make: Make) -> None:
    judge, runner = clocked(make, 100.0, 110.0, 119.0)
    judge.ask(of("good"), case_of(HUNG, fixed_deadline=True), "ends")
    assert runner.deadlines == [120.0] * 3


def test_what_a_trial_was_given_stands_in_its_observation(make: Make) -> None:
    judge, _ = clocked(make, 8.0, 8.0, 8.0)
    judge.ask(of("good"), replace(CASE, rule=FixedTrials(trials=3)), "ends")
    store = judge.tools.store
    assert [trial.observation.deadline for trial in store.trials("c1")] == [120.0, 40.0, 40.0]
    assert all(trial.reading.signal is Signal.CLEAN for trial in store.trials("c1"))
