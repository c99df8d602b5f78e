# SPDX-License-Identifier: GPL-2.0-only
"""``event: {guest: STOP}``: an event of the inner QEMU, as QMP names it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bisector.agent.plan import LEFT_OUT_EVENTS
from bisector.model import Fact, FactKind, Observation
from bisector.recipe.facts.expect import ExpectedText
from bisector.recipe.facts.row import LOST, UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence
from bisector.recipe.values import shown


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    result = observation.result
    if result is None:
        return UNKNOWN
    if any(event.source in ("qmp", fact.where) and event.name in fact.values for event in result.events):
        return Finding(True)
    if any(event.source == "agent" and event.name == LEFT_OUT_EVENTS for event in result.events):
        return LOST
    return Finding(False) if result.complete else UNKNOWN


def _names(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    for index, name in enumerate(names):
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            yield index, f"{shown(name)} is no event; QMP writes them as STOP, SHUTDOWN, RESET"


ROW = Row(
    FactKind.EVENT,
    Key.GUEST,
    ExpectedText,
    _evaluate,
    StepRequirement.ALL_IF_NEGATED,
    WorkEvidence.UNLESS_NEGATED,
    value_faults=_names,
)
