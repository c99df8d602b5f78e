# SPDX-License-Identifier: GPL-2.0-only
"""What a step ended with: ``exit: {STEP: 0}``, ``output: {STEP: REGEX}``, ``errno: {STEP: EIO}``."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BeforeValidator

from bisector.agent.plan import StepFacts
from bisector.model import Fact, FactKind, Observation
from bisector.recipe import patterns, values
from bisector.recipe.facts.expect import Expect, ExpectedText
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, RestsOn, Row, ShowsWork, Subject
from bisector.recipe.values import shown, suggestion

ExitCode = Annotated[int, BeforeValidator(values.count(-64, 255))]


class ExpectedExit(Expect[ExitCode]):
    """Exit codes; a signal is its negative number."""


def ended(fact: Fact, observation: Observation) -> StepFacts | None:
    """The step that a fact is about, None where it did not end: then nothing of it is known."""
    step = observation.result.step(fact.where) if observation.result else None
    return step if step and step.done else None


def _exit(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    return UNKNOWN if step is None or step.exit is None else Finding(str(step.exit) in fact.values)


def _output(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    if step is None:
        return UNKNOWN
    for line in step.detail.splitlines():
        if any(re.search(value, line) for value in fact.values):
            return Finding(True, f"{fact.where}: {line.strip()}" if line.strip() else "")
    return Finding(False)


def _errno(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    return UNKNOWN if step is None else Finding((step.errno or "none") in fact.values)


def _only_of_programs(step: Subject) -> str:
    return "" if step.kind == "run" else f"only a program prints, and {step.name} does {step.kind}"


def _errno_names(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    for index, name in enumerate(names):
        if name != "none" and name not in errno.errorcode.values():
            hint = suggestion(name, errno.errorcode.values()).split(" (")[0]
            yield index, f"{shown(name)} is no error name such as EIO; success is 'none'{hint}"


EXIT = Row(
    FactKind.EXIT,
    Key.STEP,
    ExpectedExit,
    _exit,
    RestsOn.ITS_STEP,
    ShowsWork.ALWAYS,
    negated_names_failure=True,
)
OUTPUT = Row(
    FactKind.OUTPUT,
    Key.STEP,
    ExpectedText,
    _output,
    RestsOn.ITS_STEP,
    ShowsWork.UNLESS_NEGATED,
    value_faults=patterns.faults,
    misfit=_only_of_programs,
    expressions=True,
)
ERRNO = Row(
    FactKind.ERRNO,
    Key.STEP,
    ExpectedText,
    _errno,
    RestsOn.ITS_STEP,
    ShowsWork.ALWAYS,
    value_faults=_errno_names,
)
