# SPDX-License-Identifier: GPL-2.0-only
"""Steps that run beside each other: ``together``, and ``while``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from bisector.cli import main
from bisector.codec import dump
from bisector.errors import RecipeError
from bisector.model import Cell
from bisector.recipe.load import load
from bisector.recipe.matrix import apply, override, plain
from bisector.recipe.model import Recipe
from bisector.recipe.parse import parse
from bisector.recipe.plan import plan_for
from bisector.recipe.resolve import resolved_yaml
from bisector.recipe.schema import json_schema
from bisector.recipe.text import Fault

LOAD = {"io": "vda", "in": "guest", "write": "64k", "for": "5s"}
BACKUP = {
    "qmp": {"drive-backup": {"device": "vda", "target": "{copy}", "sync": "full"}},
    "until": "BLOCK_JOB_COMPLETED",
}
ASK = {"qmp": "query-block", "while": "backup"}


def written(*inside: dict[str, Any], more: list[dict[str, Any]] | None = None, **top: Any) -> dict[str, Any]:
    return {
        "recipe": "beside",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {
            "a": {"disk": "nvme", "size": "64M"},
            "b": {"disk": "nvme", "size": "64M"},
            "copy": {"disk": "nvme", "size": "64M"},
            "m": {"md": "raid1", "of": ["a", "b"]},
            "r": {"disk": "nvme", "size": "64M"},
        },
        "guest": {"os": "linux", "drives": {"vda": {"of": "r"}}},
        "steps": [{"boot": {"start": "guest"}}, {"busy": {"together": [*inside]}}, *(more or [])],
        "bad_when": {"b": {"exit": {"backup": 1}}},
        "good_when": {"g": {"exit": {"backup": 0}}},
        **top,
    }


def parsed(*inside: dict[str, Any], **more: Any) -> tuple[Recipe | None, tuple[Fault, ...]]:
    return parse(written({"backup": BACKUP}, *inside, **more))


def test_steps_inside_are_steps_that_know_their_group() -> None:
    recipe, faults = parsed({"load": LOAD}, {"ask": ASK}, more=[{"end": {"stop": "guest"}}])
    assert recipe is not None and not faults
    plan = plan_for(recipe, Cell("plain"))
    assert [(step.name, step.group, step.during) for step in plan.steps] == [
        ("boot", "", ""),
        ("backup", "busy", ""),
        ("load", "busy", ""),
        ("ask", "busy", "backup"),
        ("end", "", ""),
    ]
    assert not {"group", "during"} & set(json.loads(dump(plan.steps[0])))  # plans without them keep their identity


def test_a_recipe_is_written_as_it_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, _ = parsed({"load": LOAD}, {"ask": ASK})
    assert recipe is not None
    data = plain(recipe)
    assert [name for step in data["steps"][1]["busy"]["together"] for name in step] == ["backup", "load", "ask"]
    validate(json.loads(json.dumps(data)), json_schema())
    assert parse(data)[0] == recipe
    (tmp_path / "beside.yaml").write_text(resolved_yaml(recipe))
    assert main(["show", str(tmp_path / "beside.yaml")]) == 0
    assert "step ask (beside the others of busy): qmp" in capsys.readouterr().out


@pytest.mark.parametrize(
    "steps",
    [
        [{"busy": {"together": [{"x": {"run": ["true"]}}]}}],
        [{"busy": {"together": [{"x": {"run": ["true"]}}, {"y": {"run": ["true"]}}], "probability": 0.5}}],
        [{"x": {"run": ["true"], "together": "busy"}}],
    ],
)
def test_the_schema_knows_the_shape_of_a_group(steps: list[dict[str, Any]]) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        validate(written(steps=steps), json_schema())


def test_a_step_inside_is_overridden_by_its_name_and_stays_inside() -> None:
    recipe, _ = parsed({"load": LOAD}, {"ask": ASK})
    assert recipe is not None
    changed = override(recipe, "steps.load.for=9s")
    assert (changed.steps["load"].seconds, changed.steps["load"].together) == (9.0, "busy")
    other = apply(recipe, Cell("c", (("steps.ask", '{"qmp": "query-status", "while": "backup"}'),)))
    assert plan_for(other, Cell("plain")).steps[3].group == "busy"
    assert "query-status" in plan_for(other, Cell("plain")).steps[3].qmp


def test_what_an_override_breaks_is_said_at_the_override() -> None:
    data = written({"backup": BACKUP}, {"ask": ASK})
    data["controls"] = {"c": {"expect": "good", "set": {"steps.ask.while": "boot"}}}
    recipe, faults = parse(data)
    from bisector.recipe import matrix

    assert recipe is not None and not faults
    (fault,) = matrix.faults(recipe)
    assert fault.path == ("controls", "c", "set", "steps.ask.while")
    assert "no step 'boot' beside this one" in fault.message


def test_a_step_of_a_group_may_begin_later_and_the_trial_has_the_time() -> None:
    recipe, faults = parsed({"load": LOAD}, {"ask": {**ASK, "after": "20s"}})
    sooner, _ = parsed({"load": LOAD}, {"ask": ASK})
    assert recipe is not None and sooner is not None and not faults
    plan = plan_for(recipe, Cell("plain"))
    assert [step.after for step in plan.steps if step.after] == [20.0]
    assert plan.deadline >= plan_for(sooner, Cell("plain")).deadline
    _, faults = parsed({"load": LOAD}, more=[{"rest": {"run": ["true"], "after": "2s"}}])
    assert [(fault.path, "no step runs beside this one" in fault.message) for fault in faults] == [
        (("steps", "rest", "after"), True)
    ]


RUN = {"run": ["true"]}


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ([], "2 to 16, found 1"),
        ([{f"s{number}": RUN} for number in range(16)], "2 to 16, found 17"),
        ([{"x": {"together": [{"y": RUN}, {"z": RUN}]}}], "x runs beside others already"),
        ([{"boot": RUN}], "a second step 'boot'"),
        ([{"x": RUN, "y": RUN}], "found a mapping of 2 keys"),
        ([{"x": {"stop": "guest"}}], "the guest is up, or down, for all"),
        ([{"x": {"restart": "guest"}}], "the guest is up, or down, for all"),
        ([{"x": {"start": "guest"}}], "the guest is up, or down, for all"),
        ([{"x": {"resume": "guest"}}], "'qmp: cont'"),
        ([{"x": {"reboot": "vm"}}], "the VM goes down with all"),
        ([{"x": {"power_cut": "vm"}}], "the VM goes down with all"),
        ([{"x": {"corrupt": "m", "class": "zeroed"}}], "must lie still"),
        ([{"x": {"stamp": "vda", "in": "guest", "size": "1M", "for": "1s", "kill": True}}], "what is killed"),
        ([{"load": LOAD}, {"x": LOAD}], "the guest does one step at a time, and load is in it"),
        ([{"x": BACKUP}], "backup waits for BLOCK_JOB_COMPLETED as well"),
        ([{"x": {"stamp": "m", "size": "1M"}}, {"y": {"verify": "m"}}], "cannot be verified"),
        ([{"x": {"stamp": "m", "size": "1M"}}, {"y": {"stamp": "m", "size": "1M"}}], "x changes m at the same time"),
        ([{"x": {"fail": "a"}}, {"y": {"remove": "a"}}], "x changes a at the same time"),
        ([{"x": {"qmp": "query-block", "while": "y"}}], "no step 'y' beside this one"),
        ([{"x": {"qmp": "query-block", "while": "x"}}], "no step 'x' beside this one"),
        ([{"x": {"qmp": "query-block", "while": "boot"}}], "no step 'boot' beside this one"),
        ([{"ask": ASK}, {"x": {"qmp": "query-block", "while": "ask"}}], "ask itself goes on while backup does"),
        ([{"x": {**RUN, "for": "3s", "while": "backup"}}], "either while or for"),
        ([{"x": {"qmp": "stop", "until": "STOP", "while": "backup"}}], "either while or until"),
        ([{"x": {"stamp": "m", "size": "1M", "while": "backup"}}], "the verb stamp has no 'while'"),
    ],
)
def test_what_cannot_run_beside_others_is_said(inside: list[dict[str, Any]], said: str) -> None:
    _, faults = parsed(*inside)
    assert [fault for fault in faults if said in fault.message], faults


def test_a_step_alone_has_nothing_to_wait_for() -> None:
    _, faults = parsed({"ask": ASK}, more=[{"x": {"run": ["true"], "while": "backup"}}])
    assert [fault.message for fault in faults if fault.path == ("steps", "x", "while")] == [
        "no step runs beside this one ('together: [STEP, STEP]')"
    ]


def test_a_condition_names_a_step_and_not_the_group() -> None:
    _, faults = parsed({"ask": ASK}, bad_when={"b": {"hang": {"busy": True}}})
    assert "busy is several steps; name one of them: backup, ask" in [fault.message for fault in faults]


@pytest.mark.parametrize(
    ("busy", "said"),
    [
        ({"together": "x"}, "expected a list of '- NAME"),
        ({"together": [{"backup": BACKUP}, {"x": RUN}], "probability": 0.5}, "takes no 'probability'"),
        ({"together": [{"backup": BACKUP}, None]}, "has no value"),
        ({"together": [{"backup": BACKUP}, {"x": "true"}]}, "expected a mapping"),
    ],
)
def test_the_shape_of_a_group_is_checked(busy: dict[str, Any], said: str) -> None:
    _, faults = parse(written(steps=[{"boot": {"start": "guest"}}, {"busy": busy}]))
    assert [fault for fault in faults if said in fault.message], faults


def test_a_fault_inside_is_shown_where_it_stands(tmp_path: Path) -> None:
    text = resolved_yaml(parsed({"load": LOAD})[0] or pytest.fail("no recipe"))
    lines = text.replace("for: 5s", "fro: 5s").splitlines()
    (tmp_path / "beside.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "beside.yaml")
    (found,) = caught.value.diagnostics
    assert "fro:" in lines[found.line - 1] and lines[found.line - 1][found.column - 1 :].startswith("fro")
    assert found.field == "steps.load.fro"


def test_a_drive_of_the_guest_goes_while_it_is_read() -> None:
    out = {"unplug": "vda", "in": "guest"}
    read = {"io": "vda", "in": "guest", "read": "4k", "while": "out"}
    guest = {"os": "linux", "drives": {"vda": {"of": "r", "device": "scsi", "hotplug": "present"}}}
    _, faults = parsed({"out": out}, {"read": read}, guest=guest)
    assert not faults


@pytest.mark.parametrize(("deadline", "right"), [("6s", True), ("5s", False)])
def test_a_deadline_is_held_against_the_longest_of_them(deadline: str, right: bool) -> None:
    _, faults = parsed({"load": LOAD}, {"more": {"run": ["true"], "for": "5s"}}, deadline=deadline)
    assert (not faults) is right, faults
    assert right or "last 5s" in faults[0].message
