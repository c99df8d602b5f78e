# SPDX-License-Identifier: GPL-2.0-only
"""Steps that give the inner QEMU commands of QMP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bisector.cli import main
from bisector.codec import dump
from bisector.model import Cell
from bisector.recipe.parse import parse
from bisector.recipe.plan import plan_for
from bisector.recipe.resolve import resolved_yaml
from bisector.recipe.text import Fault


def parsed(step: dict[str, Any], *, start: bool = True, **more: Any) -> tuple[Any, tuple[Fault, ...]]:
    data: dict[str, Any] = {
        "recipe": "monitored",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {"d": {"disk": "nvme", "size": "64M"}},
        "guest": {"os": "linux", "drives": {"vda": {"of": "d"}}},
        "steps": [*([{"boot": {"start": "guest"}}] if start else []), {"ask": step}],
        "bad_when": {"b": {"value": {"ask": {"0.stats.wr_bytes": "> 3"}}}},
        "good_when": {"g": {"exit": {"ask": 0}}},
    }
    data |= more
    return parse({name: value for name, value in data.items() if value is not None})


def test_a_command_and_its_event_are_in_the_plan_and_the_layer_in_its_place() -> None:
    mirror = {"drive-mirror": {"device": "vda", "target": "{d}", "sync": "full"}}
    recipe, faults = parsed({"qmp": mirror, "until": "BLOCK_JOB_READY"})
    assert not faults
    boot, step = plan_for(recipe, Cell("plain")).steps
    assert json.loads(step.qmp) == {"execute": "drive-mirror", "arguments": mirror["drive-mirror"]}
    assert (step.until, step.begun(0.0).where) == ("BLOCK_JOB_READY", "guest")
    assert '"qmp"' not in dump(boot)  # so that plans without it keep their identity
    again, _ = parse(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again == recipe


def test_show_prints_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, _ = parsed({"qmp": {"device_del": {"id": "vda"}}, "until": "DEVICE_DELETED"})
    (tmp_path / "monitored.yaml").write_text(resolved_yaml(recipe))
    assert main(["show", str(tmp_path / "monitored.yaml")]) == 0
    shown = 'step ask: qmp {"execute": "device_del", "arguments": {"id": "vda"}} until DEVICE_DELETED'
    assert shown in capsys.readouterr().out


def test_a_command_without_arguments_is_its_name() -> None:
    recipe, faults = parsed({"qmp": "query-blockstats"})
    assert not faults
    assert json.loads(plan_for(recipe, Cell("plain")).steps[1].qmp)["arguments"] == {}


@pytest.mark.parametrize(
    ("step", "more", "said"),
    [
        ({"qmp": {"a": {}, "b": {}}}, {}, "expected one command"),
        ({"qmp": {"Query": {}}}, {}, "qmp"),
        ({"qmp": ["stop"]}, {}, "expected one command"),
        ({"qmp": "stop", "until": "stopped"}, {}, "until"),
        ({"qmp": "stop", "for": "3s"}, {}, "no 'for'"),
        ({"qmp": {"device_del": {"id": "{e}"}}}, {}, "no layer for the placeholder {e}"),
        ({"qmp": "stop"}, {"guest": None}, "there is no 'guest:'"),
        ({"qmp": "stop"}, {"guest": {"os": "none", "drives": {"vda": {"of": "d"}}}}, "ends when its drives are open"),
        ({"qmp": "stop"}, {"start": False}, "no step before this one starts the guest"),
    ],
)
def test_what_is_wrong_is_said(step: dict[str, Any], more: dict[str, Any], said: str) -> None:
    _, faults = parsed(step, **more)
    assert [fault for fault in faults if said in fault.message or said in fault.path], faults
