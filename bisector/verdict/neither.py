# SPDX-License-Identifier: GPL-2.0-only
"""Trials that were neither bad nor good, always for one reason: the recipe does not fit what its steps do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bisector.agent.plan import Result
from bisector.model import Trial

ENOUGH = 3
"""So many first trials that are all neither, for one and the same reason, end a campaign: the next would be, too."""

HINT = (
    "look at what the steps printed, then correct the step, or name in bad_when or good_when what it does "
    "('bisector test RECIPE' tries one candidate)"
)

COMPARED = (
    "one candidate has no verdict where a number is compared with the good end's: "
    "'bisector run RECIPE --repo DIR --good REV --bad REV' measures both ends, then searches"
)
"""What a test says of a recipe with a number relative to the good end, instead of HINT."""


@dataclass(frozen=True)
class NeverJudged:
    """Both ends' first trials were all neither, for the same reason: which is the recipe's, and not a candidate's."""

    trials: int
    reason: str


def always_neither(trials: Sequence[Trial]) -> bool:
    """Whether these trials were all neither bad nor good, and how their steps ended was always the same."""
    if not trials or not all(trial.reading.neither for trial in trials):
        return False
    return len({_ended(trial.observation.result) for trial in trials}) == 1


def stops(trials: Sequence[Trial]) -> bool:
    """Whether the first trials of a campaign say that no trial will ever be bad or good."""
    return len(_numbers(trials)) >= ENOUGH and always_neither(trials)


def _numbers(trials: Sequence[Trial]) -> set[int]:
    """Ends that have one image share its trials: each counts once."""
    return {trial.number for trial in trials}


def _ended(result: Result | None) -> object:
    """How each step and layer ended; what a step printed may differ from trial to trial."""
    if result is None:
        return None
    steps = tuple((step.name, step.done, step.exit, step.errno, step.blocks) for step in result.steps)
    return steps, tuple((layer.name, layer.health) for layer in result.layers)


def summary(never: NeverJudged) -> str:
    """What such a campaign says, and what to do."""
    return f"the first {never.trials} trials were all neither bad nor good for one reason ({never.reason}): {HINT}"


def never_judged(trials: Sequence[Trial]) -> NeverJudged | None:
    """What a campaign ends with after these first trials, None while it goes on."""
    return NeverJudged(len(_numbers(trials)), trials[-1].reading.reason) if stops(trials) else None
