# SPDX-License-Identifier: GPL-2.0-only
"""``hang: {STEP: true}``: a step began and did not end before the deadline."""

from __future__ import annotations

from collections.abc import Sequence

from bisector.agent.plan import StepFacts
from bisector.model import Ending, Fact, FactKind, Observation
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence
from bisector.recipe.values import Flag


class ExpectedFlag(Expect[Flag]):
    """Yes or no."""


def asks_for_hang(fact: Fact) -> bool:
    """Whether that fact is that something hangs, and not that nothing does."""
    return ("true" in fact.values) is not fact.negate


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    """Whether the deadline passed in a step that had begun: of that name, any (vm), or one of the guest's."""
    steps = observation.result.steps if observation.result else ()
    open_ones = _open(steps) if observation.ending is Ending.DEADLINE else []
    if fact.where in ("vm", "guest"):
        hung = any(fact.where in ("vm", step.where) for step in open_ones)
        ended = observation.ending is Ending.FINISHED
    else:
        hung = any(step.name == fact.where for step in open_ones)
        ended = any(step.name == fact.where and step.done for step in steps)
    return Finding(hung is ("true" in fact.values)) if hung or ended else UNKNOWN


def _open(steps: Sequence[StepFacts]) -> list[StepFacts]:
    """The step that began last, where it did not end; of several beside each other those that did not.

    One beside others may also be cut short because QEMU ended, whose exit code it then has.
    """
    last = steps[-1] if steps else None
    if last is None or not last.group:
        return [last] if last and not last.done else []
    return [step for step in steps if step.group == last.group and not step.done and step.exit is None]


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
