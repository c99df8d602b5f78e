# SPDX-License-Identifier: GPL-2.0-only
"""How long a workload must last: learnt from when reproductions came. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bisector.agent.plan import Plan
from bisector.agent.plan import lasting as seconds_of
from bisector.model import EventKind, Observation, Reading, Signal
from bisector.verdict.chance import mean_at_most, rate_at_least

COVERED = 0.9
"""Part of the reproductions that a trial's workload is to be long enough for."""

EARLY = 5
"""So many reproductions, all in the first half of the workload, say that a longer one would bring no more: where the
time is what a trial lacks, each falls into the first half with a chance of about one half."""

FULL = 0.95
"""Part of its time that a step must have lasted to count as one that nothing cut short."""

METHOD = "exponential times, ended by reproduction or clock (Epstein and Sobel, 1953)"


@dataclass(frozen=True)
class Stretch:
    """What a ``for:`` step should last.

    Args:
        seconds: for the step; the recipe's own where that is enough.
        mean: of the time to reproduce, estimated; inf when nothing reproduced.
        mean_upper: its upper bound at that confidence.
        capped: whether the ceiling cut it short.
    """

    seconds: float
    mean: float
    mean_upper: float
    capped: bool = False


def stretch(
    reproduced_at: Sequence[float], clean_for: Sequence[float], planned: float, *, error: float = 0.1, ceiling: float
) -> Stretch:
    """Seconds that a ``for:`` step must last so that a bad candidate's bug has the time to show.

    Args:
        reproduced_at: seconds into the workload at which each reproduction of known bad candidates came.
        clean_for: seconds of workload of each of their trials that ended without one (clean, or another failure).
        planned: seconds that the recipe says.
        error: chance allowed that the mean is underestimated.
        ceiling: seconds that are never exceeded.

    Where trials were cut by the clock the mean lies above what they lasted, and the method sees it: three reproductions
    in ten trials of 20 s speak of a mean of 60 s. The step lasts until COVERED of the reproductions have come at the
    upper bound of the mean. A bug that shows at a fixed time is covered too, for its times lie near their mean. After
    a stretch the rate of reproduction is another one and is learnt from fresh trials.
    """
    events, watched = len(reproduced_at), sum(reproduced_at) + sum(clean_for)
    if not events:
        return Stretch(planned, math.inf, math.inf)
    upper = mean_at_most(watched, events, error)
    wanted = max(planned, -math.log(1.0 - COVERED) * upper)
    return Stretch(min(wanted, max(planned, ceiling)), watched / events, upper, capped=wanted > max(planned, ceiling))


# ---- what trials show of it


def lasting(plan: Plan) -> float:
    """Seconds that the plan's ``for:`` steps last together."""
    return seconds_of((step.group, step.seconds) for step in plan.steps)


def stretched_plan(plan: Plan, seconds: float) -> Plan:
    """The plan with its ``for:`` steps lasting ``seconds`` together, each in its part."""
    factor = seconds / lasting(plan)
    steps = tuple(replace(step, seconds=round(step.seconds * factor, 1)) for step in plan.steps)
    return replace(plan, steps=steps)


def learnt(
    observations: Sequence[Observation], readings: Sequence[Reading], plan: Plan, ceiling: float
) -> Stretch | None:
    """How long the workload must last by the trials of one bad candidate; None where they say nothing about it.

    Args:
        observations, readings: of the same trials, drawn with ``plan``.
        ceiling: seconds that are never exceeded.

    Nothing is said where the plan has no ``for:``, where each trial reproduced, and where reproductions came so early
    that the clean trials lacked something else than time. Where some reproduction is only seen in the state at the
    end, its time is not known, and the part of the trials that reproduced speaks for the time.
    """
    planned = lasting(plan)
    pairs = list(zip(observations, readings, strict=True))
    shown = [_shown_at(seen, reading, plan) for seen, reading in pairs if reading.signal is Signal.REPRODUCED]
    clean = sum(reading.signal is Signal.CLEAN for reading in readings)
    if not planned or not clean or not shown:
        return None
    times = [min(at, planned) for at in shown if at is not None]
    if len(times) == len(shown):
        if len(times) >= EARLY and max(times) <= planned / 2:
            return None
        return stretch(times, [planned] * clean, planned, ceiling=ceiling)
    return _by_rate(len(shown), clean, planned, ceiling)


def _by_rate(reproduced: int, clean: int, planned: float, ceiling: float, error: float = 0.1) -> Stretch:
    """Exponential times of which nothing is known but whether they lay inside the workload."""
    rate, lower = reproduced / (reproduced + clean), rate_at_least(reproduced, reproduced + clean, error)
    upper = planned / -math.log1p(-lower)
    wanted = max(planned, -math.log(1.0 - COVERED) * upper)
    most = max(planned, ceiling)
    return Stretch(min(wanted, most), planned / -math.log1p(-rate), upper, wanted > most)


def _shown_at(seen: Observation, reading: Reading, plan: Plan) -> float | None:
    """Seconds into the workload at which the trial reproduced, None where only its end shows that it did."""
    timed = [step.name for step in plan.steps if step.seconds]
    facts = [step for step in (seen.result.steps if seen.result else ()) if step.name in timed]
    began = facts[0].started if facts else seen.timing.storage
    events = [
        event.at - seen.timing.boot - began
        for event in seen.console
        if event.kind is EventKind.CRASH or event.name.startswith(f"{reading.condition}/")
    ]
    if events:
        return max(0.0, min(events))
    wanted = {step.name: step.seconds for step in plan.steps}
    cut = [step for step in facts if step.ended - step.started < FULL * wanted[step.name]]
    return max(0.0, min(step.ended for step in cut) - began) if cut else None
