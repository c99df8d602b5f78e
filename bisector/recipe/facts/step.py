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
    names = ", ".join(NAMES)
    raise wrong(
        f"{shown(value)} is no exit code; write a number, {{not: 0}} for any failure, SIGSEGV and its like, or {names}"
    )


ExitCode = Annotated[int, BeforeValidator(exit_code), WithJsonSchema({"type": ["integer", "string"]})]


class ExpectedExit(Expect[ExitCode]):
    """Exit codes; a signal is its negative number, or its name."""


def ended(fact: Fact, observation: Observation) -> StepFacts | None:
    """The step that a fact is about, None where it did not end: then nothing of it is known."""
    step = observation.result.step(fact.where) if observation.result else None
    return step if step and step.done else None


SIGNAL = 128
"""The guest's shell tells the end by a signal as this and the signal's number (POSIX, 2.8.2)."""

KILLED = -9
"""Exit of a QEMU that the agent killed: a step's ``kill``, or a guest that did not let it end."""


def failed(step: StepFacts) -> bool:
    """Whether a step did not do what it was for. A verify that found damage did, and so did one that a pause cut."""
    if step.blocks or step.skipped or (step.where == "guest" and step.exit == KILLED and step.done):
        return False  # where somebody else killed QEMU (a lack of memory, say) the step in the guest has no end
    return not step.done or step.exit not in (None, 0)


def _exit(fact: Fact, observation: Observation) -> Finding:
    step = observation.result.step(fact.where) if observation.result else None
    if step is None or step.exit is None or not (step.done or _crashed(step)):
        return UNKNOWN
    codes = {step.exit}
    if step.where == "guest" and step.exit > SIGNAL:
        codes.add(SIGNAL - step.exit)
    return Finding(not codes.isdisjoint(map(int, fact.values)))


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
    if not step.errno and "none" in fact.values and (failed(step) or _paused(step)):
        return UNKNOWN  # no success, and no error that has a name
    return Finding(_NUMBERS.get(step.errno, step.errno or "none") in {_NUMBERS.get(one, one) for one in fact.values})


def _crashed(step: StepFacts) -> bool:
    """Whether the QEMU that it worked on ended by a signal of its own: that is how the step ended."""
    return step.where == "guest" and step.exit is not None and step.exit < 0 and step.exit != KILLED


def _paused(step: StepFacts) -> bool:
    """Whether a pause of the guest cut it short: ``resume`` says how it ended."""
    return step.where == "guest" and step.exit is None


def only_of_programs(step: Subject) -> str:
    """Why a fact of what was printed is none of that step, "" where it is."""
    return "" if step.kind in ("run", "fio", "qmp") else f"only a program prints, and {step.name} does {step.kind}"


def _of_what_speaks(step: Subject) -> str:
    """As ``only_of_programs``, of what was said: where a disk is plugged, QEMU or the kernel says why not."""
    return "" if step.kind in ("plug", "unplug", "suspend") else only_of_programs(step)


def _without_errno(step: Subject) -> str:
    """Why no error of that step has a name, "" where it has."""
    if step.kind in ("plug", "unplug") and step.inside:
        return ""  # QEMU's monitor says why
    if step.kind not in ("run", "stop", "corrupt", "fail", "remove", "add", "plug", "unplug"):
        return ""
    return f"the error of {step.name} ({step.kind}) has no name; ask for its exit code"


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
    misfit=_without_errno,
)
