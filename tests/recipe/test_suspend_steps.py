# SPDX-License-Identifier: GPL-2.0-only
"""Steps that suspend the inner guest, or the VM as far as its tasks: in the plan, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from bisector.agent.plan import CANDIDATE, Plan
from bisector.codec import dump
from bisector.model import Cell
from bisector.recipe.parse import parse
from bisector.recipe.plan import added_fragments, plan_for
from bisector.recipe.text import Fault

BOOT = {"boot": {"start": "guest"}}
SLEEP = {"sleep": {"suspend": "guest"}}
FREEZE = {"freeze": {"suspend": "vm", "level": "freezer"}}
LOAD = {"load": {"io": "vda", "in": "guest", "read": "4k", "while": "sleep"}}
ALL_OF_IT = "the VM itself is suspended as far as its tasks ('level: freezer')"


def parsed(*steps: dict[str, Any], guest: Any = None, **more: Any) -> tuple[Any, tuple[Fault, ...]]:
    last = steps[-1]
    name = next(iter(last))
    inner = last[name].get("together")
    return parse(
        {
            "recipe": "asleep",
            "target": {"kernel": {"config": ["base"]}},
            "storage": {"a": {"disk": "nvme", "size": "64M"}},
            "guest": guest or {"os": "linux", "drives": {"vda": {"of": "a"}}},
            "steps": list(steps),
            "bad_when": {"b": {"errno": {(next(iter(inner[0])) if inner else name): "EBUSY"}}},
            "good_when": {"g": {"exit": {(next(iter(inner[0])) if inner else name): 0}}},
            **more,
        }
    )


def test_what_is_suspended_is_in_the_plan_and_the_kernel_can() -> None:
    deep = {"deep": {"suspend": "guest", "level": "core", "for": "5s"}}
    recipe, faults = parsed(BOOT, SLEEP, FREEZE, deep)
    assert not faults
    steps = plan_for(recipe, Cell("plain")).steps
    assert [(step.verb, step.where, step.level, step.seconds) for step in steps[1:]] == [
        ("suspend", "guest", "", 0.0),
        ("suspend", "vm", "freezer", 0.0),
        ("suspend", "guest", "core", 5.0),
    ]
    assert {"suspend", "suspend-ram"} <= set(added_fragments(recipe, [Cell("plain")]))
    part, _ = parsed(BOOT, FREEZE, {"deep": {"suspend": "guest", "level": "core"}})
    assert added_fragments(part, [Cell("plain")])[-1] == "suspend"
    assert [step.begun(0.0).where for step in steps] == ["guest", "guest", "vm", "guest"]


def test_a_kernel_that_does_not_suspend_is_built_as_before_and_plans_without_it_too() -> None:
    own = {"os": "linux", "drives": {"vda": {"of": "a"}}, "kernel": "./bzImage"}
    for recipe, faults in (parsed(BOOT, SLEEP, guest=own), parsed(BOOT, {"look": {"io": "a", "read": "4k"}})):
        assert not [fault for fault in faults if "bzImage" not in fault.message]
        assert recipe is None or "suspend" not in added_fragments(recipe, [Cell("plain")])
    assert '"level"' not in dump(Plan(steps=(), first_kernel=CANDIDATE))


def test_io_in_the_guest_goes_on_beside_a_suspend_of_it() -> None:
    recipe, faults = parsed(BOOT, {"busy": {"together": [{"sleep": {"suspend": "guest", "for": "5s"}}, LOAD]}})
    assert not faults
    assert [(step.group, step.during) for step in plan_for(recipe, Cell("plain")).steps[1:]] == [
        ("busy", ""),
        ("busy", "sleep"),
    ]


@pytest.mark.parametrize(
    ("steps", "more", "said"),
    [
        ([BOOT, {"x": {"suspend": "vm"}}], {}, ALL_OF_IT),
        ([BOOT, {"x": {"suspend": "vm", "level": "devices"}}], {}, ALL_OF_IT),
        ([BOOT, {"x": {"suspend": "guest", "level": "disk"}}], {}, "freezer"),
        ([BOOT, {"x": {"suspend": "vda"}}], {}, "is not known (allowed: vm, guest)"),
        ([BOOT, {"x": {"suspend": "guest", "in": "guest"}}], {}, "the verb suspend has no 'in'"),
        ([SLEEP], {}, "no step before this one starts the guest"),
        ([SLEEP], {"guest": {"os": "none", "drives": {"vda": {"of": "a"}}}}, "'os: none' takes no commands"),
        ([{"x": {"run": ["true"], "level": "core"}}], {}, "the verb run has no 'level'"),
        ([BOOT, {"two": {"together": [SLEEP, {"more": {"suspend": "guest"}}]}}], {}, "suspends at the same time"),
    ],
)
def test_what_is_wrong_is_said(steps: list[dict[str, Any]], more: dict[str, Any], said: str) -> None:
    _, faults = parsed(*steps, **more)
    assert [fault for fault in faults if said in fault.message], faults


def test_without_a_vm_only_a_guest_is_suspended() -> None:
    qemu = {"target": {"qemu": {"build": ["qemu-system-x86_64"]}}, "vm": "none"}
    storage = {"a": {"file": "raw", "size": "16M"}}
    assert not parsed(BOOT, SLEEP, storage=storage, **qemu)[1]
    _, faults = parsed(BOOT, FREEZE, storage=storage, **qemu)
    assert [fault for fault in faults if "there is no VM" in fault.message], faults
