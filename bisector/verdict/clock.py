# SPDX-License-Identifier: GPL-2.0-only
"""How long a trial may take, and when its running out of time says nothing. Pure."""

from __future__ import annotations

from bisector.model import Ending, Observation, Question, Reading, Signal
from bisector.recipe.facts.table import ROWS
from bisector.verdict.signature import read

FACTOR = 5.0
LEAST = 30.0
"""A trial may take FACTOR times what the slowest clean one took, and never less than LEAST seconds."""

HANG_FACTOR = 2.0
"""Where a condition is about a hang, the deadline is never shortened, and never less than so many times
what the slowest clean trial took: a slow host must not be taken for a hang."""

STARVED = 0.7
"""A trial whose deadline passed while a thread of it waited for a processor for so much of the time says nothing: it
ran at a third of its speed or less. Two virtual processors that spin on one real one wait for half of it each."""


def deadline(whole: float, slowest: float, question: Question) -> float:
    """Seconds for the agent's part of a trial.

    Args:
        whole: the plan's own deadline.
        slowest: what the slowest clean trial of the question took, 0 while there is none.
        question: the conditions of the trial.

    Shorter than the plan's where nothing is concluded from a trial that runs into it. Where a condition names a hang
    the deadline decides the signal, so it is the plan's, or longer where clean trials are slow.
    """
    if any(ROWS[fact.kind].needs_deadline for fact in question.facts):
        return max(whole, HANG_FACTOR * slowest)
    return min(whole, max(LEAST, FACTOR * slowest)) if slowest else whole


def read_in_time(observation: Observation, question: Question) -> Reading:
    """The signal of one trial; the harness's failure where the host had no time for it."""
    reading = read(observation, question)
    if reading.signal is not Signal.INFRA and (busy := too_busy(observation)):
        return Reading(Signal.INFRA, reason=busy)
    return reading


def too_busy(observation: Observation) -> str:
    """Why a trial that ran out of time says nothing of what it tried, "" where it does: the host had no time for it."""
    if observation.ending is not Ending.DEADLINE or observation.starved < STARVED * observation.timing.total:
        return ""
    if not observation.starved:
        return ""
    return (
        f"the deadline passed on a busy host: the trial was ready to run and had no processor for "
        f"{observation.starved:.0f} of {observation.timing.total:.0f} s"
    )
