# SPDX-License-Identifier: GPL-2.0-only
"""``tap: {STEP: {TEST: 'not ok'}}``: what tests said that print TAP or KTAP, as kselftests and KUnit do."""

from __future__ import annotations

import fnmatch
import re
from typing import Literal

from bisector.model import Fact, FactKind, Observation
from bisector.recipe.facts import printed
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import LOST, UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence
from bisector.recipe.facts.step import ended, only_of_programs
from bisector.recipe.values import shown

LINE = re.compile(
    r"(?P<margin>(?:\s|#\s)*+)(?P<result>ok|not ok)\b[ \t]*+(?P<number>\d*+)[ \t]*+(?:- )?(?P<name>[^#]*+)"
    r"(?:#[ \t]*+(?P<directive>\w*).*)?"
)
"""A test's line. A subtest is indented, by kselftest's runner with ``# `` (Documentation/dev-tools/ktap.rst)."""

_EXPECTED = {"TODO", "XFAIL"}
WORST_LAST = ("skip", "ok", "todo", "not ok")

TestResult = Literal["ok", "not ok", "skip", "todo", "none"]


class ExpectedTest(Expect[TestResult]):
    """What a test said; ``todo`` is a failure that was expected, ``none`` a test that was not heard of."""


def results(text: str) -> dict[str, str]:
    """Name of each test in TAP or KTAP → ok, not ok, skip, todo; of a subtest as ``PARENT/NAME``.

    The line of a test comes behind those of its subtests. One without a name goes by its number. Of several tests with
    one name (of a program that runs twice, say) the worst result counts.
    """
    found: list[tuple[int, str, str]] = []
    for line in printed.lines(text):
        seen = LINE.fullmatch(line.rstrip())
        if seen is None:
            continue
        name = seen["name"].strip() or seen["number"]
        if not name:
            continue
        margin, directive = len(seen["margin"]), (seen["directive"] or "").upper()
        for index in range(len(found) - 1, -1, -1):
            if found[index][0] <= margin:
                break
            inner, below, result = found[index]
            found[index] = (inner, f"{name}/{below}", result)
        found.append((margin, name, _result(seen["result"], directive)))
    return {name: result for _, name, result in sorted(found, key=lambda one: WORST_LAST.index(one[2]))}


def _result(result: str, directive: str) -> str:
    return "skip" if directive == "SKIP" else "todo" if directive in _EXPECTED else result


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    if step is None:
        return UNKNOWN
    every = results(step.detail)
    named = {name: result for name, result in every.items() if fnmatch.fnmatchcase(name, fact.name)}
    for name, result in named.items():
        if result in fact.values:
            return Finding(True, f"{fact.where}: {result} {name}")
    if printed.is_cut(step.detail):  # a test of that name may have been heard of before
        return LOST
    if not named:
        return Finding("none" in fact.values, f"{fact.where}: no test {fact.name}")
    return Finding(False)


def _name_fault(name: str) -> str:
    return "" if name == name.strip() and "#" not in name else f"{shown(name)} is no name of a test"


ROW = Row(
    FactKind.TAP,
    Key.STEP,
    ExpectedTest,
    _evaluate,
    StepRequirement.ITS_STEP,
    WorkEvidence.UNLESS_NEGATED,
    misfit=only_of_programs,
    name_faults=_name_fault,
    named=True,
    output=printed.KEPT,
)
