# SPDX-License-Identifier: GPL-2.0-only
"""Drives of the inner guest that come and go while it runs: their word, their steps, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from bisector.model import Cell
from bisector.recipe.parse import parse
from bisector.recipe.plan import added_fragments, plan_for
from bisector.recipe.text import Fault

BOOT = {"boot": {"start": "guest"}}
PLUG = {"in": {"plug": "vdb", "in": "guest"}}
PULL = {"out": {"unplug": "vda", "in": "guest"}}


def parsed(*steps: dict[str, Any], **guest: Any) -> tuple[Any, tuple[Fault, ...]]:
    drives = {"vda": {"of": "a", "device": "nvme", "hotplug": "present"}, "vdb": {"of": "b", "hotplug": "absent"}}
    last = next(iter(steps[-1]))
    return parse(
        {
            "recipe": "plugged",
            "target": {"kernel": {"config": ["base"]}},
            "storage": {name: {"disk": "nvme", "size": "64M"} for name in "ab"},
            "guest": {"os": "linux", "drives": drives, **guest},
            "steps": list(steps),
            "bad_when": {"b": {"exit": {last: 1}, "output": {last: "hotplug"}}},
            "good_when": {"g": {"exit": {last: 0}}},
        }
    )


def test_the_word_and_the_steps_are_in_the_plan_and_the_kernel_gets_what_it_needs() -> None:
    recipe, faults = parsed(BOOT, PLUG, PULL, {"again": {"plug": "vda", "in": "guest"}})
    assert not faults
    plan = plan_for(recipe, Cell("plain"))
    assert plan.guest is not None
    assert [drive.words for drive in plan.guest.drives] == [(("hotplug", "present"),), (("hotplug", "absent"),)]
    assert [(step.verb, step.objects, step.where) for step in plan.steps[1:3]] == [
        ("plug", ("vdb",), "guest"),
        ("unplug", ("vda",), "guest"),
    ]
    assert "hotplug" in added_fragments(recipe, [Cell("plain")])
    plain, _ = parsed(BOOT, {"look": {"run": ["true"]}}, drives={"vda": {"of": "a", "device": "nvme"}})
    assert "hotplug" not in added_fragments(plain, [Cell("plain")])


def test_a_drive_that_a_command_of_qmps_pulled_out_is_put_in_again() -> None:
    pull = {"out": {"qmp": {"device_del": {"id": "vda"}}, "until": "DEVICE_DELETED"}}
    assert not parsed(BOOT, pull, {"in": {"plug": "vda", "in": "guest"}})[1]


@pytest.mark.parametrize(
    ("steps", "guest", "said"),
    [
        ([BOOT, {"in": {"plug": "vda", "in": "guest"}}], {}, "no step before this one pulls vda out"),
        ([BOOT, PULL, {"new": {"restart": "guest"}}, {"in": {"plug": "vda", "in": "guest"}}], {}, "pulls vda out"),
        ([BOOT, PULL], {"drives": {"vda": {"of": "a"}}}, "vda is no drive of the guest with 'hotplug: present'"),
        ([BOOT, {"x": {"unplug": "vdc", "in": "guest"}}], {}, "the guest has no layer 'vdc'"),
        ([PLUG], {}, "no step before this one starts the guest"),
        ([BOOT], {"drives": {"vda": {"of": "a", "device": "ahci", "hotplug": "present"}}}, "hotplug"),
        ([BOOT], {"drives": {"vda": {"of": "a", "hotplug": "later"}}}, "present, absent"),
        (
            [BOOT],
            {"drives": {"vda": {"of": "a", "hotplug": "present"}, "ide": {"of": "b", "device": "ide"}}},
            "no ports for hot-plug beside ide",
        ),
        (
            [BOOT],
            {"drives": {"vda": {"of": "a", "hotplug": "absent"}}, "storage": {"fs": {"fs": "ext4", "of": "vda"}}},
            "vda is not there when the guest's storage is made",
        ),
    ],
)
def test_what_is_wrong_is_said(steps: list[dict[str, Any]], guest: dict[str, Any], said: str) -> None:
    _, faults = parsed(*steps, **guest)
    assert [fault for fault in faults if said in fault.message], faults
