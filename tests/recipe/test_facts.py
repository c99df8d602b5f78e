# SPDX-License-Identifier: GPL-2.0-only
"""Every fact of a condition has a row: its grammar, its place, and how a trial is searched for it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bisector.agent.plan import AgentEvent, LayerFacts, Result, StepFacts
from bisector.model import ConsoleEvent, Ending, EventKind, Fact, FactKind, Observation
from bisector.recipe import schema
from bisector.recipe.conditions import Condition
from bisector.recipe.facts.table import ROWS

DOCS = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
DOCUMENTED = re.findall(
    r"^\| `((\w+): \{.*?\})` \|", DOCS.split("\n## Conditions\n")[1].split("\n## ")[0], re.MULTILINE
)

TRIAL = Observation(
    Ending.DEADLINE,
    Result(
        layers=(LayerFacts("lv", "/dev/lv", health="degraded"),),
        steps=(
            StepFacts(
                "probe", 1.0, 2.0, done=True, exit=1, errno="EIO", detail="wrote 0 bytes\niops=250\nnot ok 2 - direct"
            ),
            StepFacts("check", 2.0, 3.0, done=True, exit=0, blocks=("torn",), detail="1 of 8 blocks"),
            StepFacts("last", 3.0, 4.0),
        ),
        events=(
            AgentEvent(1.5, "qmp", "STOP"),
            AgentEvent(3.5, "agent", "leak", "raid1_write_request (3 of 96 bytes)"),
            AgentEvent(3.5, "agent", "leaks-sought", "1"),
        ),
    ),
    (
        ConsoleEvent(1.0, "vm", EventKind.WATCH, "lost/0", "[    1.000000] md: lost"),
        ConsoleEvent(2.0, "vm", EventKind.CRASH, "oops", "BUG: kernel NULL pointer dereference"),
    ),
)
SHOWN = {  # what TRIAL shows of each fact: its place and value, another value, the reason, the console's time
    FactKind.CONSOLE: ("vm", "md: lost", "", "console: md: lost", 1.0),
    FactKind.EXIT: ("probe", "1", "0", "", None),
    FactKind.OUTPUT: ("probe", "0 bytes", "4096 bytes", "probe: wrote 0 bytes", None),
    FactKind.ERRNO: ("probe", "EIO", "none", "", None),
    FactKind.HEALTH: ("lv", "degraded", "healthy", "", None),
    FactKind.BLOCKS: ("check", "torn", "clean", "check: 1 of 8 blocks", None),
    FactKind.EVENT: ("guest", "STOP", "RESET", "", None),
    FactKind.HANG: ("last", "true", "false", "", None),
    FactKind.OOPS: ("vm", "NULL pointer", "use-after-free", "", 2.0),
    FactKind.SECONDS: ("check", "< 2", "> 2", "check: 1.0 s", None),
    FactKind.VALUE: ("probe", ">= 100", "< 100", "probe: iops = 250", None),
    FactKind.COUNT: ("vm", "> 0", "> 1", "console, 1 lines or more: md: lost", 1.0),
    FactKind.TAP: ("probe", "not ok", "ok", "probe: not ok direct", None),
    FactKind.MADE: ("lv", "true", "false", "", None),
    FactKind.LEAK: ("vm", "raid1_", "raid5_", "leak: raid1_write_request (3 of 96 bytes)", None),
}
NAMES = {FactKind.VALUE: "iops", FactKind.COUNT: "md: lost", FactKind.TAP: "direct"}
UNCERTAIN = (
    FactKind.CONSOLE,
    FactKind.EVENT,
    FactKind.COUNT,
)  # not seen in a trial that was cut short: it may have come later


def fact(kind: FactKind, value: str) -> Fact:
    return Fact(kind, SHOWN[kind][0], (value,), name=NAMES.get(kind, ""))


def test_every_fact_has_a_row_and_their_order_names_the_watches_of_stored_trials() -> None:
    assert list(ROWS) == list(FactKind) == list(SHOWN)
    assert [kind.value for kind in ROWS] == [
        "console", "exit", "output", "errno", "health", "blocks", "event", "hang", "oops",
        "seconds", "value", "count", "tap", "made", "leak",
    ]  # fmt: skip
    assert all(row.kind is kind for kind, row in ROWS.items())


def test_every_fact_is_a_key_of_a_condition_and_of_the_schema() -> None:
    assert list(Condition.model_fields) == [kind.value for kind in ROWS]
    assert set(schema.json_schema()["$defs"]["Condition"]["properties"]) == {kind.value for kind in ROWS}


def test_the_docs_name_every_fact_and_no_other() -> None:
    assert sorted(name for _, name in DOCUMENTED) == sorted(kind.value for kind in ROWS)


@pytest.mark.parametrize(("example", "name"), DOCUMENTED)
def test_what_the_docs_show_of_a_fact_is_what_the_grammar_takes(example: str, name: str) -> None:
    condition = Condition.model_validate(YAML(typ="safe", pure=True).load(example))
    assert [one.row.kind.value for one in condition.facts()] == [name]


@pytest.mark.parametrize("kind", FactKind)
def test_a_fact_is_found_where_the_trial_shows_it(kind: FactKind) -> None:
    _, value, _, reason, at = SHOWN[kind]
    found = ROWS[kind].evaluate(fact(kind, value), TRIAL)
    assert (found.seen, found.reason, found.at) == (True, reason, at)


@pytest.mark.parametrize("kind", FactKind)
def test_a_fact_with_another_value_is_not_found(kind: FactKind) -> None:
    trial = replace(TRIAL, console=()) if ROWS[kind].watched else TRIAL  # a watch has no line but the one looked for
    found = ROWS[kind].evaluate(fact(kind, SHOWN[kind][2]), trial)
    assert found.seen is (None if kind in UNCERTAIN else False)
    assert found.at is None


@pytest.mark.parametrize("kind", FactKind)
def test_a_vm_that_never_reached_the_agent_shows_no_fact(kind: FactKind) -> None:
    found = ROWS[kind].evaluate(fact(kind, SHOWN[kind][1]), Observation(Ending.NO_AGENT))
    assert not found.seen
    assert found.reason == ""


@pytest.mark.parametrize("kind", FactKind)
def test_what_is_found_does_not_turn_on_not(kind: FactKind) -> None:
    one = fact(kind, SHOWN[kind][1])
    assert ROWS[kind].evaluate(one, TRIAL) == ROWS[kind].evaluate(replace(one, negate=True), TRIAL)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("^md_handle_request$", True),  # a function on top of its trace
        ("raid1_", True),
        ("raid5_", False),
        ("oops", False),  # the kind is no function
        ("oops: raid1_read_request", True),  # a fingerprint with fewer functions
        ("oops: raid1_read_request < md_handle_request", True),
        ("oops: raid1_read", False),
        ("bug: raid1_read_request", False),
    ],
)
def test_a_crash_is_known_by_the_functions_on_top_of_its_trace(value: str, seen: bool) -> None:
    line = "BUG: kernel NULL pointer dereference, address: 0000000000000010"
    crash = ConsoleEvent(2.0, "vm", EventKind.CRASH, "oops", line, "oops: raid1_read_request < md_handle_request")
    trial = replace(TRIAL, console=(crash,))
    assert ROWS[FactKind.OOPS].evaluate(Fact(FactKind.OOPS, "vm", (value,)), trial).seen is seen
