# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe says that its own scripts use: programs, modules of a packaged kernel, a udev that lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bisector.agent.storage import WITHOUT_UDEV, Storage
from bisector.codec import dump
from bisector.model import Cell
from bisector.recipe.model import Recipe
from bisector.recipe.modules import modules_for
from bisector.recipe.parse import parse
from bisector.recipe.plan import added_fragments, plan_for
from bisector.system.proc import Processes
from bisector.trial.programs import missing

BASE = {
    "recipe": "needy",
    "target": {"kernel": {"config": ["base"]}},
    "steps": [{"try": {"run": ["true"]}}],
    "bad_when": {"b": {"exit": {"try": 1}}},
    "good_when": {"g": {"exit": {"try": 0}}},
}


def recipe(needs: Any) -> Recipe:
    found, faults = parse({**BASE, "needs": needs} if needs else BASE)
    assert found is not None and not faults, faults
    return found


def test_a_program_that_a_script_calls_is_missed_before_anything_is_tried(tmp_path: Path) -> None:
    lacking = missing(recipe({"programs": ["sh", "no-such-program"]}), os.environ, Processes(tmp_path))
    assert [one.what for one in lacking] == [
        "the recipe needs no-such-program, which this host, whose programs the VM sees, does not have"
    ]


def test_modules_that_a_script_loads_are_unpacked_under_any_spelling() -> None:
    cell = Cell("plain")
    more = set(modules_for(recipe({"modules": ["scsi_debug", "dm-thin-pool"]}), [cell]))
    assert more - set(modules_for(recipe(None), [cell])) == {"scsi_debug", "dm_thin_pool"}


def test_udev_lives_only_where_it_is_asked_for_and_old_plans_keep_their_identity() -> None:
    plain, alive = (plan_for(recipe(needs), Cell("plain")) for needs in (None, {"udev": True}))
    assert (plain.udev, alive.udev) == (False, True)
    assert plain.identity() != alive.identity()
    assert '"udev"' not in dump(plain)


def test_cgroups_are_in_the_plan_and_in_the_config_and_old_plans_keep_their_identity() -> None:
    both = recipe({"cgroups": ["memory", "io"]})
    assert plan_for(both, Cell("plain")).cgroups == ("io", "memory")
    assert added_fragments(both, [Cell("plain")]) == ("cgroup-io", "cgroup-memory")
    assert '"cgroups"' not in dump(plan_for(recipe(None), Cell("plain")))
    assert added_fragments(recipe(None), [Cell("plain")]) == ()


@pytest.mark.parametrize("needs", [{"udev": True}, {"cgroups": ["io"]}])
def test_without_a_vm_there_is_nothing_of_the_vms_to_need(needs: dict[str, object]) -> None:
    (word,) = needs
    qemu = {"target": {"qemu": {"build": ["qemu-img"]}}, "vm": "none"}
    assert not parse({**BASE, **qemu})[1]
    (fault,) = parse({**BASE, **qemu, "needs": needs})[1]
    assert (fault.path, fault.message) == (("needs", word), f"without a VM there is no {word} of its own ('vm: none')")


def test_a_script_waits_for_udev_where_it_lives(tmp_path: Path) -> None:
    for udev in (False, True):
        storage = Storage(str(tmp_path), 1.0, udev=udev)
        storage.build((), vm=True)
        assert set(storage.environment()) & set(WITHOUT_UDEV) == (set() if udev else set(WITHOUT_UDEV))


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"programs": ["./mine"]}, "is no name of a program"),
        ({"modules": ["dm thin"]}, "is no name of a module"),
        ({"udev": "on"}, "expected true or false"),
        ({"packages": ["fio"]}, "packages"),
        ({"cgroups": ["cpu"]}, "'cpu' is not known (allowed: io, memory)"),
    ],
)
def test_what_is_wrong_with_needs_is_said(needs: dict[str, object], said: str) -> None:
    _, faults = parse({**BASE, "needs": needs})
    assert [fault for fault in faults if said in fault.message or said in fault.path], faults


def test_a_packaged_kernel_brings_what_f2fs_asks_for_by_itself() -> None:
    """Its modules name the library crc32 alone, which is built in, and not the algorithm."""
    storage = {"d": {"disk": "nvme", "size": "128M"}, "data": {"fs": "f2fs", "of": "d"}}
    found, faults = parse({**BASE, "storage": storage})
    assert found is not None and not faults, faults
    assert {"f2fs", "crc32_generic"} <= set(modules_for(found, [Cell("plain")]))
