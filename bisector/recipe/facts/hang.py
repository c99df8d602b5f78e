# SPDX-License-Identifier: GPL-2.0-only
"""``hang: {STEP: true}``: a step began and did not end before the deadline."""

from __future__ import annotations

from bisector.model import Ending, Fact, FactKind, Observation
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence
from bisector.recipe.values import Flag


class ExpectedFlag(Expect[Flag]):
    """Yes or no."""


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    """Whether the deadline passed in a step that had begun: of that name, any (vm), or one of the guest's."""
    steps = observation.result.steps if observation.result else ()
    last = steps[-1] if steps and not steps[-1].done and observation.ending is Ending.DEADLINE else None
    if fact.where in ("vm", "guest"):
        hung = last is not None and fact.where in ("vm", last.where)
        ended = observation.ending is Ending.FINISHED
    else:
        hung = last is not None and last.name == fact.where
        ended = any(step.name == fact.where and step.done for step in steps)
    return Finding(hung is ("true" in fact.values)) if hung or ended else UNKNOWN


ROW = Row(
    FactKind.HANG,
    Key.STEP_OR_MACHINE,
    ExpectedFlag,
    _evaluate,
    StepRequirement.STEPS_BEFORE_LAST,
    WorkEvidence.NEVER,
    names_hang=True,
    needs_deadline=True,
)
