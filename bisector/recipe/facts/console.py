# SPDX-License-Identifier: GPL-2.0-only
"""``console: {vm: REGEX}``: a line on the console of the VM, or of the inner guest."""

from __future__ import annotations

import re

from bisector.model import Ending, EventKind, Fact, FactKind, Observation
from bisector.recipe import patterns
from bisector.recipe.facts.expect import ExpectedText
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence

TIME_STAMP = re.compile(r"^\[\s*\d+\.\d+\]\s*(\[\s*[TC]\d+\]\s*)?")
"""printk's time, and the caller's id with CONFIG_PRINTK_CALLER."""


def untimed(line: str) -> str:
    """A kernel's line without its time stamp."""
    return TIME_STAMP.sub("", line)


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    event = next((event for event in observation.console if event.kind is EventKind.WATCH), None)
    if event:
        return Finding(True, f"console: {untimed(event.text)}", event.at)
    return Finding(False) if observation.ending is Ending.FINISHED else UNKNOWN  # the line may have come later


ROW = Row(
    FactKind.CONSOLE,
    Key.MACHINE,
    ExpectedText,
    _evaluate,
    StepRequirement.ALL_IF_NEGATED,
    WorkEvidence.UNLESS_NEGATED,
    value_faults=patterns.faults,
    expressions=True,
    watched=True,
)
