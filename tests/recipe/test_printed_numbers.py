# SPDX-License-Identifier: GPL-2.0-only
"""Numbers that a trial does not have, or has elsewhere, and comparisons that always or never hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bisector.agent.plan import Result, StepFacts
from bisector.model import Ending, Fact, FactKind, Observation
from bisector.recipe.facts import printed
from bisector.recipe.facts.table import ROWS
from bisector.recipe.parse import parse

BASE: dict[str, Any] = {
    "recipe": "numbers",
    "target": {"kernel": {"config": ["base"]}},
    "steps": [{"load": {"run": ["true"]}}],
    "good_when": {"fine": {"exit": {"load": 0}}},
}
FIO = json.dumps({"fio version": "fio-3.36", "jobs": [{"write": {"iops": 812.5}}]}, indent=1)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ('{"a": 1' + "0" * 400 + "}", "a", None),  # larger than any float
        (f"[   12.345678] loop0: detected\n{FIO}\n", "write.iops", 812.5),  # a JSON text, too
        (f"[{{]\n{FIO}\n", "write.iops", 812.5),
        ('{"a": 1, "b": {"a": 5}}\n{"a": 2}\n{"b": 3}\n', "a", 2.0),  # as of lines the last one
        ('{"a": 1}\n' * 3_000 + '{"a": 2}\n', "a", 2.0),
    ],
)
def test_a_number_is_found_wherever_it_stands(text: str, name: str, expected: float | None) -> None:
    assert printed.number(text, name) == expected


def test_a_step_that_a_pause_cut_short_has_no_time() -> None:
    step = StepFacts("load", 1.0, 2.0, done=True, exit=None, where="guest")
    observation = Observation(Ending.FINISHED, Result(steps=(step,), complete=True))
    assert ROWS[FactKind.SECONDS].evaluate(Fact(FactKind.SECONDS, "load", ("< 10",)), observation).seen is None


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"count": {"vm": {"a": ">= 0"}}}, "'>= 0' is always so: there are 0 lines or more"),
        ({"count": {"vm": {"a": "< 0"}}}, "'< 0' is never so"),
        ({"count": {"vm": {"a": 2.5}}}, "2.5 lines there are never"),
        ({"seconds": {"load": 10}}, "no step takes 10 s to the millisecond; compare a time by < or >"),
        ({"seconds": {"load": "<= 0s"}}, "'<= 0' is never so"),
    ],
)
def test_a_comparison_that_decides_nothing_is_refused(bad: dict[str, Any], said: str) -> None:
    _, found = parse({**BASE, "bad_when": {"b": bad}})
    assert len(found) == 1 and said in found[0].message, found
