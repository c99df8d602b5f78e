# SPDX-License-Identifier: GPL-2.0-only
"""What a step ended with: ``exit: {STEP: 0}``, ``output: {STEP: REGEX}``, ``errno: {STEP: EIO}``."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from bisector.agent.plan import StepFacts
from bisector.model import Fact, FactKind, Observation
from bisector.recipe import patterns, values
from bisector.recipe.facts import printed
from bisector.recipe.facts.expect import Expect, ExpectedText
from bisector.recipe.facts.row import LOST, UNKNOWN, Finding, Key, Row, StepRequirement, Subject, WorkEvidence
from bisector.recipe.values import shown, suggestion, wrong

FIO_JSON = '{"fio version":'
"""So begins the line of numbers that the agent makes of fio's JSON (agent/fio.py), which ``value`` looks into."""

NAMES = {"KSFT_PASS": 0, "KSFT_FAIL": 1, "KSFT_XFAIL": 2, "KSFT_XPASS": 3, "KSFT_SKIP": 4}
"""Names of exit codes that a recipe may write (tools/testing/selftests/kselftest.h); those of signals go as well."""


def exit_code(value: object) -> int:
    """An exit code as a number or by its name: ``KSFT_SKIP``, ``SIGSEGV``."""
    if not isinstance(value, str):
        return values.count(-64, 255)(value)
    if value in NAMES:
        return NAMES[value]
    if value in signal.Signals.__members__:
        return -signal.Signals[value]
    raise wrong(f"{shown(value)} is no exit code; write a number, SIGSEGV and its like, or {', '.join(NAMES)}")


ExitCode = Annotated[int, BeforeValidator(exit_code), WithJsonSchema({"type": ["integer", "string"]})]


class ExpectedExit(Expect[ExitCode]):
    """Exit codes; a signal is its negative number, or its name."""


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
    lines = [line for line in printed.lines(step.detail) if not line.startswith(FIO_JSON)]
    for line in lines:
        if any(re.search(value, line[: printed.LONGEST]) for value in fact.values):
            return Finding(True, f"{fact.where}: {line.strip()}" if line.strip() else "")
    lost = printed.is_cut(step.detail) or any(len(line) > printed.LONGEST for line in lines)
    return LOST if lost else Finding(False)


_NUMBERS = {name: number for name, number in vars(errno).items() if name.startswith("E")}
"""Errors by all their names: EOPNOTSUPP is ENOTSUP, and EWOULDBLOCK is EAGAIN."""


def _errno(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    if step is None:
        return UNKNOWN
    return Finding(_NUMBERS.get(step.errno, step.errno or "none") in {_NUMBERS.get(one, one) for one in fact.values})


def only_of_programs(step: Subject) -> str:
    """Why a fact of what was printed is none of that step, "" where it is."""
    return "" if step.kind in ("run", "fio", "qmp") else f"only a program prints, and {step.name} does {step.kind}"


def _of_what_speaks(step: Subject) -> str:
    """As ``only_of_programs``, of what was said: where a disk is plugged, QEMU or the kernel says why not."""
    return "" if step.kind in ("plug", "unplug", "suspend") else only_of_programs(step)


def _errno_names(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    for index, name in enumerate(names):
        if name != "none" and name not in _NUMBERS:
            hint = suggestion(name, _NUMBERS).split(" (")[0]
            yield index, f"{shown(name)} is no error name such as EIO; success is 'none'{hint}"


EXIT = Row(
    FactKind.EXIT,
    Key.STEP,
    ExpectedExit,
    _exit,
    StepRequirement.ITS_STEP,
    WorkEvidence.ALWAYS,
    negated_names_failure=True,
)
OUTPUT = Row(
    FactKind.OUTPUT,
    Key.STEP,
    ExpectedText,
    _output,
    StepRequirement.ITS_STEP,
    WorkEvidence.UNLESS_NEGATED,
    value_faults=patterns.faults,
    misfit=_of_what_speaks,
    expressions=True,
    output=printed.KEPT,
)
ERRNO = Row(
    FactKind.ERRNO,
    Key.STEP,
    ExpectedText,
    _errno,
    StepRequirement.ITS_STEP,
    WorkEvidence.ALWAYS,
    value_faults=_errno_names,
)
