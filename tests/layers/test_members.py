# SPDX-License-Identifier: GPL-2.0-only
"""Steps that fail, remove and add members of an array, and that pull disks out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bisector.agent import members
from bisector.agent.command import CommandResult, Halt
from bisector.agent.plan import Layer, Step
from bisector.agent.storage import Storage
from bisector.errors import RecipeError
from bisector.layers.machine import BuiltLayer
from bisector.recipe.load import loads

LAYERS = {
    "array": Layer("array", "md", "raid1", ("a", "b"), options=(("spare", "s"),)),
    **{name: Layer(name, "disk", "loop", size=8 << 20) for name in ("a", "b", "s", "free")},
}


class Standing(Storage):
    """Storage that stands already; notes what is run instead of running it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), 5.0)
        self._built = {name: BuiltLayer(layer, f"/dev/{name}") for name, layer in LAYERS.items()}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    noted: list[str] = []

    def run(argv: list[str], **_: object) -> CommandResult:
        noted.append(" ".join(argv))
        return CommandResult(1 if "--remove" in argv else 0, "said\n")

    monkeypatch.setattr(members, "run", run)
    monkeypatch.setattr(members, "find_tool", lambda name: name)
    return noted


def test_a_member_fails_and_is_added_again_and_waited_for(tmp_path: Path, ran: list[str]) -> None:
    storage = Standing(tmp_path)
    assert members.change(storage, Step("x", "fail", ("a", "b")), 5.0) == (0, "said\nsaid")
    assert members.change(storage, Step("x", "add", ("s",)), 5.0)[0] == 0
    assert members.change(storage, Step("x", "add", ("free",), to="array"), 5.0)[0] == 0
    assert ran == [
        "mdadm --manage /dev/array --fail /dev/a",
        "mdadm --manage /dev/array --fail /dev/b",
        *("mdadm --manage /dev/array --add /dev/s", "mdadm --wait /dev/array"),
        *("mdadm --manage /dev/array --add /dev/free", "mdadm --wait /dev/array"),
    ]


def test_what_the_tool_refuses_is_the_steps_exit_code(tmp_path: Path, ran: list[str]) -> None:
    assert members.change(Standing(tmp_path), Step("x", "remove", ("a", "b")), 5.0) == (1, "said")
    assert len(ran) == 1


def test_a_layer_of_no_array_is_a_fault_of_the_plan(tmp_path: Path, ran: list[str]) -> None:
    with pytest.raises(Halt) as caught:
        members.change(Standing(tmp_path), Step("x", "fail", ("free",)), 5.0)
    assert caught.value.fault.stage == "plan"


def faults(step: dict[str, Any]) -> str:
    disk = {"disk": "loop", "size": "8M"}
    data = {
        "recipe": "members",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {
            **dict.fromkeys(("a", "b", "c", "d", "e"), disk),
            "f": {"disk": "nvme", "size": "8M"},
            "array": {"md": "raid1", "of": ["a", "b"], "spare": "c"},
            "vol": {"lvm": "linear", "of": "d", "size": "4M"},
        },
        "steps": [{"act": step}],
        "bad_when": {"bad": {"exit": {"act": 1}}},
        "good_when": {"good": {"exit": {"act": 0}}},
    }
    try:
        loads(json.dumps(data), Path("members.yaml"))
    except RecipeError as error:
        return "\n".join(str(diagnostic) for diagnostic in error.diagnostics)
    return ""


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"fail": "a"}, ""),
        ({"remove": ["a", "c"]}, ""),
        ({"add": "e", "to": "array"}, ""),
        ({"add": "e"}, "e is no member of an array of md; name the array with 'to'"),
        ({"fail": "d"}, "d is no member of an array of md"),
        ({"fail": "array"}, "array is no member of an array of md"),
        ({"fail": "nowhere"}, "no layer 'nowhere'"),
        ({"add": "e", "to": "vol"}, "vol is no array of md (allowed: array)"),
        ({"unplug": "f"}, ""),
        ({"unplug": ["f", "array"]}, "array is no disk that can be pulled out: there are nvme, virtio-blk, scsi, ahci"),
        ({"unplug": "a"}, "a is no disk that can be pulled out"),
        ({"unplug": "f", "in": "guest"}, "there is no 'guest:'"),
        ({"plug": "f"}, "no step before this one pulls f out"),
        ({"fail": "a", "to": "array"}, "the verb fail has no 'to'"),
        ({"fail": "a", "in": "guest"}, "the verb fail has no 'in'"),
    ],
)
def test_a_recipe_names_members_of_arrays(step: dict[str, Any], expected: str) -> None:
    assert expected in faults(step) if expected else faults(step) == ""
