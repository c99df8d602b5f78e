# SPDX-License-Identifier: GPL-2.0-only
"""How long the workload must last, learnt from what trials showed."""

import pytest

from bisector.agent.plan import Plan, Result, Step, StepFacts
from bisector.model import ConsoleEvent, Ending, EventKind, Observation, Reading, Signal, Timing
from bisector.verdict.duration import lasting, learnt, stretched_plan

PLAN = Plan((Step("probe", "start"), Step("load", "io", seconds=15.0), Step("more", "io", seconds=5.0)))
CLEAN = Reading(Signal.CLEAN, "healthy")
BAD = Reading(Signal.REPRODUCED, "leg-failed")


def clean() -> tuple[Observation, Reading]:
    steps = (StepFacts("probe", 1.0, 2.0, done=True), StepFacts("load", 2.0, 17.0, done=True))
    return Observation(Ending.FINISHED, Result(complete=True, steps=steps)), CLEAN


def by_line(at: float) -> tuple[Observation, Reading]:
    """A console line ``at`` seconds into the workload; the agent began 6 s after the trial, the workload 2 s later."""
    line = ConsoleEvent(8.0 + at, "vm", EventKind.WATCH, "leg-failed/0", "Disk failure")
    steps = (StepFacts("load", 2.0, 2.0),)
    return Observation(Ending.DECISIVE, Result(steps=steps), (line,), "", Timing(6.0, 2.0)), BAD


def at_the_end() -> tuple[Observation, Reading]:
    """Only the state after the workload tells."""
    steps = (StepFacts("load", 2.0, 17.0, done=True), StepFacts("more", 17.0, 22.0, done=True))
    return Observation(Ending.FINISHED, Result(complete=True, steps=steps)), BAD


def found(trials: list[tuple[Observation, Reading]], plan: Plan = PLAN, ceiling: float = 600.0) -> float | None:
    seen, readings = zip(*trials, strict=True)
    stretch = learnt(seen, readings, plan, ceiling)
    return stretch.seconds if stretch else None


def test_late_and_missing_reproductions_need_a_longer_workload() -> None:
    seconds = found([*map(by_line, (3.0, 8.0, 11.0, 16.0, 18.0, 19.0)), *[clean()] * 9])
    assert seconds is not None
    assert seconds > 80.0  # about 43 s on average: nine of ten within 98 s


def test_what_is_only_seen_at_the_end_is_learnt_from_the_rate() -> None:
    seconds = found([*[at_the_end()] * 6, *[clean()] * 9])
    assert seconds is not None
    assert seconds > 80.0


@pytest.mark.parametrize(
    "trials",
    [
        [at_the_end()] * 6,  # each trial reproduced: the time was enough
        [by_line(19.0)] * 6,
        [*[by_line(0.5)] * 6, *[clean()] * 9],  # always at once, or never: it is not the time that was missing
        [clean()] * 6,
    ],
)
def test_nothing_is_stretched_where_time_is_not_what_lacks(trials: list[tuple[Observation, Reading]]) -> None:
    assert found(trials) is None


def test_a_plan_without_a_lasting_step_is_left_alone() -> None:
    plan = Plan((Step("probe", "start"),))
    assert lasting(plan) == 0.0
    assert found([*[by_line(0.0)] * 3, *[clean()] * 3], plan) is None


def test_the_ceiling_holds() -> None:
    assert found([by_line(18.0), *[clean()] * 30], ceiling=100.0) == 100.0


def test_steps_are_stretched_in_their_parts_and_the_question_becomes_another() -> None:
    longer = stretched_plan(PLAN, 80.0)
    assert [step.seconds for step in longer.steps] == [0.0, 60.0, 20.0]
    assert longer.identity() != PLAN.identity()


def test_steps_beside_each_other_last_as_long_as_the_longest() -> None:
    beside = Plan(
        (
            Step("load", "io", seconds=20.0, group="busy"),
            Step("more", "io", seconds=20.0, group="busy"),
            Step("end", "io", seconds=1.0),
        )
    )
    assert lasting(beside) == 21.0
    assert lasting(stretched_plan(beside, 42.0)) == 42.0
    late = [*map(by_line, (11.0, 14.0, 15.0, 17.0, 18.0, 19.0)), *[clean()] * 9]
    assert found(late, beside) is not None  # beyond the half of 21 seconds, and not of 41
