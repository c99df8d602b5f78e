# SPDX-License-Identifier: GPL-2.0-only
"""``oops: {vm: REGEX}``: a crash of the kernel, by its first line, functions on top of its trace, or fingerprint.

The first line of most crashes names no place (``BUG: kernel NULL pointer dereference, address: 0000000000000000``).
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from bisector.model import ConsoleEvent, EventKind, Fact, FactKind, Observation
from bisector.recipe import patterns, values
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import Finding, Key, Row, StepRequirement, WorkEvidence

Crash = Annotated[str, BeforeValidator(lambda value: "true" if value is True else values.text(value))]
"""``true`` for any crash, a regular expression on its first line or its functions, or a fingerprint as reported."""

_FINGERPRINT = re.compile(r"(?:panic|oops|bug|lockup|hung): [A-Za-z_][\w.]*(?: < [A-Za-z_][\w.]*)*")


class ExpectedCrash(Expect[Crash]):
    """``true`` for any crash, or regular expressions on its first line and the functions on top of its trace."""


def _is(event: ConsoleEvent, value: str) -> bool:
    """Whether a crash is the one that ``value`` means. A fingerprint may name fewer functions than a crash has."""
    if value in ("true", event.fingerprint):
        return True
    if _FINGERPRINT.fullmatch(value):
        return event.fingerprint.startswith(f"{value} < ")
    functions = event.fingerprint.partition(": ")[2].split(" < ")
    return any(re.search(value, text) for text in (event.text, *filter(None, functions)))


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    for event in observation.console:
        if event.kind is EventKind.CRASH and event.where == fact.where:
            if any(_is(event, value) for value in fact.values):
                return Finding(True, at=event.at)
    return Finding(False)


ROW = Row(
    FactKind.OOPS,
    Key.VM,  # of an inner guest nobody reads crashes
    ExpectedCrash,
    _evaluate,
    StepRequirement.ALL_IF_NEGATED,
    WorkEvidence.NEVER,
    value_faults=patterns.faults,
    expressions=True,
    names_crash=True,
)
