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
        ([OFF], {"storage": {"z": {"disk": "nvmf", "size": "4M"}}}, "would be gone after the power_cut of step off"),
        ([OFF], {"storage": FILE}, "would be gone after the power_cut"),
        ([{"start": {"start": "guest"}}, OFF, {"stop": {"stop": "guest"}}], {"guest": GUEST}, "starts the guest"),
        ([{"start": {"start": "guest"}}, OFF, {"up": {"start": "guest"}}], {"guest": GUEST}, ""),
        ([OFF], {"guest": {"os": "image", "image": "./x.qcow2"}}, "would lose its disk at the power_cut"),
        (
            [STAMP, CORRUPT, OFF, {"back": {"corrupt": "d", "class": "restored"}}], {},
            "what was damaged before the VM was booted again is not restored",
        ),
        ([{"w": {"stamp": "d", "size": "4M", "kill": True}}], {}, "needs 'for'"),
        ([{"press": {"reset": "guest"}}], {}, "there is no 'guest:' to reset"),
        ([{"press": {"reset": "guest"}}], {"guest": GUEST}, "no step before this one starts the guest"),
        ([{"up": {"start": "guest"}}, {"press": {"reset": "vm"}}], {"guest": GUEST}, "'reset: guest'"),
        (
            [{"up": {"start": "guest"}}, {"press": {"reset": "guest"}}], {"guest": {**GUEST, "os": "none"}},
            "a guest with 'os: none' ends when its drives are open",
        ),
        (
            [{"up": {"start": "guest"}}, {"g": {"together": [
                {"load": {"io": "vda", "in": "guest", "write": "4k", "for": "9s"}}, {"press": {"reset": "guest"}},
            ]}}],
            {"guest": GUEST, "bad_when": {"b": {"exit": {"press": 1}}}, "good_when": {"g": {"exit": {"press": 0}}}},
            "",
        ),
    ],
)  # fmt: skip
def test_what_a_reboot_needs(steps: list[dict[str, Any]], more: dict[str, Any], expected: str) -> None:
    _, faults = parsed(*steps, **more)
    said = "\n".join(fault.message for fault in faults)
    assert expected in said if expected else said == ""


OLD, NEW = {"old": {"reboot": {"kernel": "good-end"}}}, {"new": {"reboot": {"kernel": "candidate"}}}
OF_QEMU = {"qemu": {"build": ["qemu-img"]}}


def test_a_reboot_names_the_kernel_that_comes_up() -> None:
    recipe, faults = parsed(STAMP, OLD, NEW, {"off": {"power_cut": "vm"}}, {"look": {"verify": "d"}})
    assert not faults and recipe.kernels_beside == ("good-end",)
    plan = plan_for(recipe, Cell(""))
    assert [step.boot_kernel for step in plan.steps] == ["", "good-end", "candidate", "", ""]
    assert (plan.first_kernel, plan.boots()) == ("", 4)
    again, _ = parse(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again == recipe
    recipe, faults = parsed(STAMP, NEW, {"look": {"verify": "d"}}, vm={"kernel": "bad-end"})
    assert not faults and recipe.kernels_beside == ("bad-end",)
    assert plan_for(recipe, Cell("")).first_kernel == "bad-end"


@pytest.mark.parametrize(
    ("steps", "more", "expected"),
    [
        ([{"off": {"reboot": {"kernel": "6.17"}}}], {}, "'6.17' is not known"),
        ([{"off": {"reboot": {}}}], {}, "names no kernel"),
        ([NEW], {}, "candidate runs already"),
        ([OLD, {"more": {"reboot": {"kernel": "good-end"}}}], {}, "good-end runs already"),
        ([STAMP], {"vm": {"kernel": "good-end"}}, "the kernel under test is never booted"),
        ([STAMP], {"vm": {"kernel": "6.17"}}, "the VM boots the kernel under test, or good-end or bad-end before it"),
        ([{"old": {"reboot": {"kernel": "good-end"}, "probability": 0.5}}], {}, "in every trial, or in none"),
        ([OLD], {"target": OF_QEMU}, "the recipe tests QEMU"),
    ],
)
def test_what_another_kernel_needs(steps: list[dict[str, Any]], more: dict[str, Any], expected: str) -> None:
    _, faults = parsed(*steps, **more)
    assert expected in "\n".join(fault.message for fault in faults)
