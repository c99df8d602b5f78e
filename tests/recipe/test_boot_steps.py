# SPDX-License-Identifier: GPL-2.0-only
"""Steps that end a boot of the VM: what a recipe may say, and what its plan has."""

from __future__ import annotations

from typing import Any

import pytest

from bisector.model import Cell
from bisector.recipe.parse import parse
from bisector.recipe.plan import BOOT, DEADLINE, plan_for
from bisector.recipe.text import Fault

STAMP = {"write": {"stamp": "d", "size": "4M"}}
OFF = {"off": {"power_cut": "vm"}}


def parsed(*steps: dict[str, Any], **more: Any) -> tuple[Any, tuple[Fault, ...]]:
    last = next(iter(steps[-1]))
    data: dict[str, Any] = {
        "recipe": "boots",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {"d": {"disk": "nvme", "size": "64M"}},
        "steps": list(steps),
        "bad_when": {"b": {"exit": {last: 1}}},
        "good_when": {"g": {"exit": {last: 0}}},
    }
    return parse(data | more)


def test_each_further_boot_gives_the_trial_more_time() -> None:
    torn = {"torn": {"stamp": "d", "size": "4M", "for": "2s", "kill": True}}
    recipe, faults = parsed(STAMP, OFF, {"again": {"reboot": "vm"}}, torn, {"look": {"verify": "d"}})
    assert not faults
    plan = plan_for(recipe, Cell(""))
    assert [step.ends_boot for step in plan.steps] == [False, True, True, True, False]
    assert (plan.boots(), plan.deadline) == (4, DEADLINE + 2 + 3 * BOOT)
    again, _ = parse(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again == recipe


GUEST = {"os": "linux", "drives": {"vda": {"of": "d"}}}
CORRUPT = {"hurt": {"corrupt": "d", "class": "zeroed"}}
FILE = {"img": {"file": "raw", "size": "4M"}, "on": {"disk": "loop", "of": "img"}}


@pytest.mark.parametrize(
    ("steps", "more", "expected"),
    [
        ([OFF], {}, ""),
        ([{"off": {"power_cut": "guest"}}], {}, "vm"),
        ([{"off": {"reboot": "vm", "in": "guest"}}], {}, "the verb reboot has no 'in'"),
        ([{"off": {"reboot": "vm"}}], {"vm": "none"}, "there is no VM"),
        ([OFF], {"storage": {"z": {"disk": "zram", "size": "4M"}}}, "would be gone after the power_cut of step off"),
        ([OFF], {"storage": FILE}, "would be gone after the power_cut"),
        ([{"start": {"start": "guest"}}, OFF, {"stop": {"stop": "guest"}}], {"guest": GUEST}, "starts the guest"),
        ([{"start": {"start": "guest"}}, OFF, {"up": {"start": "guest"}}], {"guest": GUEST}, ""),
        ([OFF], {"guest": {"os": "image", "image": "./x.qcow2"}}, "would lose its disk at the power_cut"),
        (
            [STAMP, CORRUPT, OFF, {"back": {"corrupt": "d", "class": "restored"}}], {},
            "what was damaged before the VM was booted again is not restored",
        ),
        ([{"w": {"stamp": "d", "size": "4M", "kill": True}}], {}, "needs 'for'"),
    ],
)  # fmt: skip
def test_what_a_reboot_needs(steps: list[dict[str, Any]], more: dict[str, Any], expected: str) -> None:
    _, faults = parsed(*steps, **more)
    said = "\n".join(fault.message for fault in faults)
    assert expected in said if expected else said == ""
