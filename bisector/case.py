# SPDX-License-Identifier: GPL-2.0-only
"""What one campaign asks of every candidate, and how long its workload has to last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bisector.agent.plan import Plan
from bisector.model import Cell, Question, Signal, Trial
from bisector.numbers import Numbers
from bisector.verdict.duration import lasting, learnt, stretched_plan
from bisector.verdict.rule import Rule

LONGEST = 600.0
"""Seconds that a stretched workload never passes, where the recipe names no deadline."""

SPARE = 2.0
"""Where it does, so many times what the slowest clean trial took beside its workload stay free."""


@dataclass(frozen=True)
class Case:
    """What one campaign asks of every candidate, in one cell of its recipe."""

    cell: Cell
    plan: Plan
    question: Question
    rule: Rule
    fixed_deadline: bool = False  # the recipe names its deadline: not scaled
    numbers: tuple[Numbers, ...] = ()  # of both ends, where the recipe compares with the good end's
    lasting: str = ""  # how much longer the workload lasts than the recipe says, and why; "" where it does not


def stretched(case: Case, reproducing: Sequence[Trial]) -> Case:
    """The case with its workload (``for:``) as long as the bug needs to show; itself where nothing is to be stretched.

    ``reproducing``: all trials of one candidate that is bad for certain. A stretched plan asks another question and has
    another identity: no trial of the shorter one counts for it.
    """
    plan = case.plan
    planned = lasting(plan)
    slowest = max((agent_seconds(trial) for trial in reproducing), default=0.0)
    ceiling = plan.deadline - SPARE * max(0.0, slowest - planned) if case.fixed_deadline else LONGEST
    found = learnt(
        [trial.observation for trial in reproducing], [trial.reading for trial in reproducing], plan, ceiling
    )
    if found is None or found.seconds <= planned:
        return case
    longer = stretched_plan(plan, found.seconds)
    deadline = plan.deadline if case.fixed_deadline else plan.deadline + found.seconds - planned
    mean = f"about {found.mean:.0f} s on average" if found.mean < found.seconds else f"{found.mean:.0f} s or more"
    words = f"for: {found.seconds:.0f} s instead of {planned:.0f} s, because the bug takes {mean} to show"
    return replace(case, plan=replace(longer, deadline=deadline), lasting=words)


def agent_seconds(trial: Trial) -> float:
    """What a clean trial took from the agent's start on; 0 for any other, which may have been cut short."""
    timing = trial.observation.timing
    return timing.storage + timing.workload if trial.reading.signal is Signal.CLEAN else 0.0
