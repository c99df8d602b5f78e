# SPDX-License-Identifier: GPL-2.0-only
"""Numbers: ``seconds: {STEP: '< 10'}``, ``value: {STEP: {NAME: '>= 100'}}``, ``count: {vm: {REGEX: '> 3'}}``.

Each may be compared with the good end's, too: ``'< 0.8 × good'`` (verdict/numbers.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bisector.model import Ending, EventKind, Fact, FactKind, Observation
from bisector.recipe import patterns
from bisector.recipe.facts import printed
from bisector.recipe.facts.comparison import (
    ExpectedNumber,
    ExpectedTime,
    any_holds,
    plain,
    read_all,
    relative,
    relative_faults,
)
from bisector.recipe.facts.console import untimed
from bisector.recipe.facts.row import LOST, UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence
from bisector.recipe.facts.step import ended, only_of_programs

NUMBERS = (FactKind.SECONDS, FactKind.VALUE, FactKind.COUNT)
"""The facts that compare a number."""

ERRORS = ("error", "total_err")
"""Ends of names by which fio counts what went wrong."""

MOST = 1000
"""Lines that a count may ask for: each one that is found stands in the trial's observation."""


def _seconds(fact: Fact, observation: Observation) -> Finding:
    """How long a step took that did its work; of one that the deadline ended it is known that it took longer."""
    step = observation.result.step(fact.where) if observation.result else None
    if step is None or step.skipped or step.exit not in (None, 0):
        return UNKNOWN
    took = step.ended - step.started
    if step.done and step.exit is None and step.where == "guest":
        return UNKNOWN  # a pause cut it short
    if step.done:
        return Finding(any_holds(fact.values, took), f"{fact.where}: {took:.1f} s", number=took)
    if observation.ending is not Ending.DEADLINE or relative(fact.values):
        return UNKNOWN
    if any(one.is_least and one.holds(took) for one in read_all(fact.values)):
        return Finding(True, f"{fact.where}: more than {took:.1f} s")
    return UNKNOWN


def _value(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    if step is None:
        return UNKNOWN
    if step.errno and step.detail.startswith("{") and not fact.name.endswith(ERRORS):
        return UNKNOWN  # fio's job met an error and gave up: what it did until then is no measure
    found = printed.number(step.detail, fact.name)
    if found is None:
        return LOST if printed.is_cut(step.detail) else UNKNOWN
    return Finding(any_holds(fact.values, found), f"{fact.where}: {fact.name} = {plain(found)}", number=found)


def _count(fact: Fact, observation: Observation) -> Finding:
    """The lines of a console. More may come until the trial has ended, so that fewer are known only then."""
    watched = (event for event in observation.console if event.kind is EventKind.WATCH)
    lines = sorted(watched, key=lambda event: event.at)
    comparisons, found = read_all(fact.values), len(lines)
    if relative(fact.values):
        ended = observation.ending is Ending.FINISHED
        return Finding(None, f"console: {found} lines", number=float(found)) if ended else UNKNOWN
    certain = [one for one in comparisons if one.is_least and one.holds(found)]
    if certain:
        needed = min(one.enough for one in certain)
        last = lines[needed - 1] if 0 < needed <= found else None
        said = f"console, {found} lines or more: {untimed(last.text)}" if last else ""
        return Finding(True, said, last.at if last else None)
    if observation.ending is Ending.FINISHED:
        return Finding(any(one.holds(found) for one in comparisons))
    beyond = all(not one.is_least and found > one.number for one in comparisons)
    return Finding(False) if beyond else UNKNOWN


def most(values: Sequence[str]) -> int:
    """How many lines have to be found before the answer of a count is known: at least one."""
    return MOST if relative(values) else max(1, *(one.enough for one in read_all(values)))


def _countable(values: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    yield from relative_faults(values)
    for index, one in enumerate(read_all(values)):
        if not one.of_good and not 0 <= one.number <= MOST:
            yield index, f"lines are counted from 0 to {MOST}"
        elif not one.of_good and (one.sign, one.number) in ((">=", 0.0), ("<", 0.0)):
            yield index, f"'{one}' is {'always' if one.is_least else 'never'} so: there are 0 lines or more"
        elif one.sign == "=" and one.number != int(one.number):
            yield index, f"{plain(one.number)} lines there are never"


def _time_faults(values: Sequence[str]) -> Iterator[tuple[int, str]]:
    yield from relative_faults(values)
    for index, one in enumerate(read_all(values)):
        if one.of_good:
            continue
        if one.sign == "=":
            yield index, f"no step takes {plain(one.number)} s to the millisecond; compare a time by < or >"
        elif not one.is_least and one.number <= 0:
            yield index, f"'{one}' is never so: each step takes a time"


SECONDS = Row(
    FactKind.SECONDS,
    Key.STEP,
    ExpectedTime,
    _seconds,
    StepRequirement.ITS_STEP,
    WorkEvidence.ALWAYS,
    value_faults=_time_faults,
)
VALUE = Row(
    FactKind.VALUE,
    Key.STEP,
    ExpectedNumber,
    _value,
    StepRequirement.ITS_STEP,
    WorkEvidence.ALWAYS,
    value_faults=relative_faults,
    misfit=only_of_programs,
    name_faults=printed.name_fault,
    named=True,
    output=printed.KEPT,
)
COUNT = Row(
    FactKind.COUNT,
    Key.MACHINE,
    ExpectedNumber,
    _count,
    StepRequirement.ALL_IF_NEGATED,
    WorkEvidence.NEVER,
    value_faults=_countable,
    name_faults=patterns.fault,
    absence=lambda fact: fact.negate is any(one.is_least for one in read_all(fact.values)),
    named=True,
    watched=True,
)
