# SPDX-License-Identifier: GPL-2.0-only
"""``leak: {vm: REGEX}``: memory of the kernel that leaked in the trial, by the functions that allocated it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from bisector.agent.plan import LEAK, LEAKS_SOUGHT
from bisector.model import Fact, FactKind, Observation
from bisector.recipe import patterns, values
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import LOST, UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence

Leak = Annotated[str, BeforeValidator(lambda value: "true" if value is True else values.text(value))]


class ExpectedLeak(Expect[Leak]):
    """``true`` for any leak, or regular expressions on the functions that allocated what leaked."""


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    """Found, or looked for and not found; without that event it was not looked for, which says how many there are."""
    events = [event for event in observation.result.events if event.source == "agent"] if observation.result else []
    places = [event.detail for event in events if event.name == LEAK]
    for place in places:
        if any(value == "true" or re.search(value, place) for value in fact.values):
            return Finding(True, f"leak: {place}")
    sought = next((event.detail for event in events if event.name == LEAKS_SOUGHT), None)
    if sought is None:
        return UNKNOWN
    return LOST if sought.isdecimal() and int(sought) > len(places) else Finding(False)


ROW = Row(
    FactKind.LEAK,
    Key.VM,
    ExpectedLeak,
    _evaluate,
    StepRequirement.ALL_IF_NEGATED,
    WorkEvidence.NEVER,
    value_faults=patterns.faults,
    expressions=True,
)
