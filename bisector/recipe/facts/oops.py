# SPDX-License-Identifier: GPL-2.0-only
"""``oops: {vm: REGEX}``: a crash of the kernel, by its first line or its fingerprint."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from bisector.model import EventKind, Fact, FactKind, Observation
from bisector.recipe import patterns, values
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import Finding, Key, Row, StepRequirement, WorkEvidence

Crash = Annotated[str, BeforeValidator(lambda value: "true" if value is True else values.text(value))]
"""``true`` for any crash, a regular expression on its first line, or a fingerprint as a report names it."""


class ExpectedCrash(Expect[Crash]):
    """``true`` for any crash, or regular expressions on its first line."""


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    for event in observation.console:
        if event.kind is EventKind.CRASH and event.where == fact.where:
            if any(value in ("true", event.fingerprint) or re.search(value, event.text) for value in fact.values):
                return Finding(True, at=event.at)
    return Finding(False)


ROW = Row(
    FactKind.OOPS,
    Key.MACHINE,
    ExpectedCrash,
    _evaluate,
    StepRequirement.ALL_IF_NEGATED,
    WorkEvidence.NEVER,
    value_faults=patterns.faults,
    expressions=True,
    names_crash=True,
)
