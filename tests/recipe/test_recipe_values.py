# SPDX-License-Identifier: GPL-2.0-only
"""Values that a tool, a file's name or another syntax would refuse hours later, or take for something else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bisector.errors import RecipeError
from bisector.layers import table
from bisector.layers.row import Row
from bisector.recipe.load import loads
from bisector.recipe.storage import KINDS, Layer
from bisector.system import shipped

DISKS = {f"leg{n}": {"disk": "nvme", "size": "128M"} for n in range(5)}
BASE: dict[str, Any] = {
    "recipe": "values",
    "target": {"kernel": {"config": ["base", "lvm-raid"]}},
    "storage": {
        **DISKS,
        "boot": {"lvm": "raid1", "of": ["leg0", "leg1"], "size": "32M"},
        "loop": {"disk": "loop", "size": "8M"},
        "fs": {"fs": "ext4", "of": "leg2"},
        "img": {"file": "qcow2", "of": "fs", "size": "8M"},
    },
    "guest": {"os": "linux", "drives": {"vda": {"of": "boot"}}},
    "steps": [
        {"start": {"start": "guest"}},
        {"probe": {"io": "boot", "read": "4k"}},
        {"inside": {"io": "vda", "in": "guest", "read": "4k"}},
        {"own": {"run": ["true"], "in": "guest"}},
    ],
    "bad_when": {"bad": {"exit": {"probe": 1}}},
    "good_when": {"good": {"exit": {"probe": 0}}},
}


def faults_of(path: str, value: object) -> str:
    """What is said of the recipe with that value there; "" for nothing."""
    data = copy.deepcopy(BASE)
    place: Any = data
    *above, last = path.split("/")
    for part in above:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    try:
        loads(json.dumps(data), Path("values.yaml"))
    except RecipeError as error:
        return "\n".join(str(diagnostic) for diagnostic in error.diagnostics)
    return ""


def test_the_recipe_of_these_tests_is_one() -> None:
    assert faults_of("title", "fine") == ""


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "storage/loop/options",
            {"block_size": 777},
            "value of block_size (allowed: a power of two from 512 to 4k)",
        ),
        ("storage/loop/options", {"block_size": "8k"}, "from 512 to 4k"),
        ("storage/loop/options", {"block_size": True}, "the truth value true is no value of block_size"),
        ("storage/loop/options", {"direct_io": "maybe"}, "'maybe' is no value of direct_io (allowed: true, false)"),
        ("storage/loop/options", {"direct_io": 1}, "the number 1 is no value of direct_io"),
        ("storage/boot/options", {"region_size": 3}, "from 4k to 1G"),
        ("storage/boot/options", {"region_size": "96k"}, "a power of two"),
        ("storage/img/options", {"refcount_bits": "banana"}, "'banana' is no value of refcount_bits"),
        ("storage/img/options", {"refcount_bits": 17}, "a power of two from 1 to 64"),
        ("storage/img/options", {"cluster_size": "4M"}, "from 512 to 2M"),
        ("storage/img/options", {"compat": "1.1,data_file=/etc/passwd"}, "(allowed: 0.10, 1.1, v2, v3)"),
        ("storage/img/options", {"preallocation": "all"}, "(allowed: off, metadata, falloc, full)"),
        ("storage/img/options", {"lazy_refcounts": "sometimes"}, "(allowed: true, false)"),
        ("storage/img/options", {"compat": "0.10", "lazy_refcounts": True}, "lazy_refcounts: needs compat 1.1"),
        ("storage/img/options", {"compat": "v2", "refcount_bits": 64}, "refcount_bits: needs compat 1.1"),
        ("storage/img/options", {"cluster_size": "4k", "extended_l2": True}, "needs a cluster_size of 16k"),
        ("storage/leg0/options", {"logical_block_size": 4096}, "disk nvme has no option"),
        ("steps/1/probe", {"run": [True]}, "expected text, found the truth value true; quote it: 'true'"),
        ("confidence", {"max_error": 1}, "expected a number from 0.000001 to 0.5"),
        ("confidence", {"max_error": 1e-300}, "expected a number from 0.000001 to 0.5"),
    ],
)
def test_a_value_that_no_tool_takes_is_refused_with_what_is_allowed(path: str, value: object, expected: str) -> None:
    assert expected in faults_of(path, value)


def test_one_wrong_word_of_a_command_is_one_fault() -> None:
    assert faults_of("steps/1/probe", {"run": [True]}).count("\n") == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("storage/loop/options", {"block_size": 4096, "direct_io": True}),
        ("storage/loop/options", {"block_size": "1k", "direct_io": "off"}),
        ("storage/boot/options", {"region_size": "512k"}),
        ("storage/img/options", {"cluster_size": "1M", "extended_l2": True, "refcount_bits": 64, "compat": "v3"}),
        ("storage/img/options", {"preallocation": "falloc", "lazy_refcounts": "on"}),
    ],
)
def test_a_value_that_the_tool_takes_is_taken(path: str, value: object) -> None:
    assert faults_of(path, value) == ""


@pytest.mark.parametrize("row", table.ROWS.values(), ids=lambda row: row.name)
def test_every_row_of_the_table_is_a_kind_and_a_type_of_the_grammar(row: Row) -> None:
    assert row.kind in KINDS
    assert getattr(Layer.model_validate({row.kind: row.type}), row.kind) == row.type
    assert all((shipped.kconfigs() / f"{name}.config").is_file() for name in row.fragments)


def test_a_type_that_is_not_in_the_table_is_no_type_of_the_grammar() -> None:
    with pytest.raises(ValidationError):
        Layer.model_validate({"md": "raid7"})


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("recipe", "a..b", "is no name"),
        ("recipe", "a.", "is no name"),
        ("recipe", "a.lock", "git keeps names that end in .lock"),
        ("recipe", "x" * 65, "it has 65 characters, 64 at most"),
        ("search", {"good": "v" * 300}, "not one revision"),
        ("search", {"good": "a\u202eb"}, "not one revision"),
        ("search", {"paths": ["/etc"]}, "leads out of the repository"),
        ("search", {"paths": ["drivers/../../x"]}, "leads out of the repository"),
        ("search", {"suites": ["trixie\nTrusted: yes"]}, "is not one printable line"),
        ("search", {"suites": ["trixie main\tx"]}, "is not one printable line"),
        ("search", {"suites": ["trixie contrib"]}, "is no suite"),
        ("search", {"suites": ["./"]}, "is no suite"),
        ("search", {"suites": ["[trusted=yes]"]}, "is no suite"),
        ("search", {"suites": ["-o"]}, "is no suite"),
        ("vm", {"append": ["a b"]}, "is not one kernel option"),
        ("vm", {"append": ["a;reboot"]}, "is not one kernel option"),
        ("vm", {"append": ["$(id)"]}, "is not one kernel option"),
        ("vm", {"append": ["-x"]}, "is not one kernel option"),
        ("vm", {"append": ['a="b']}, "is not one kernel option"),
        ("vm", {"memory": "512"}, "is no memory of a machine"),
        ("vm", {"memory": 1073741825}, "is no memory of a machine"),
        ("guest/memory", "4G", "is more than the VM around it has (2G)"),
        ("storage/seed", {"disk": "nvme", "size": "8M"}, "{seed} stands for the seed"),
        ("storage/bisector0", {"disk": "nvme", "size": "8M"}, "the program's own"),
        ("storage/pvmove1", {"lvm": "linear", "of": "leg3", "size": "8M"}, "LVM keeps names with 'pvmove'"),
        ("storage/a_rmeta_b", {"lvm": "linear", "of": "leg3", "size": "8M"}, "LVM keeps names with '_rmeta'"),
        ("storage/a-mlog", {"lvm": "linear", "of": "leg3", "size": "8M"}, "LVM keeps names with '_mlog'"),
        ("storage/r10", {"lvm": "raid10", "of": list(DISKS), "size": "8M"}, "even in number"),
        ("guest/drives", {f"d{n}": {"of": "leg3", "device": "ide"} for n in range(5)}, "5 drives on ide"),
        ("guest", {"os": "image", "image": "x", "drives": {"system": {"of": "boot"}}}, "what QEMU calls the disk"),
        ("guest/drives", {"d": {"of": "leg3", "device": "nvme", "physical_block": 4096}}, "has no 'physical_block'"),
        (
            "guest",
            {"os": "image", "image": "x", "drives": {"d": {"of": "boot", "device": "nvme", "write_cache": False}}},
            "nvme says that it has a cache",
        ),
        ("steps/3/own/run", ["echo", "a\nb"], "is one line"),
        ("steps/1/probe/read", "1G", "at most 64M"),
        ("steps/2/inside/buffer_offset", 1, "its dd aligns its buffer"),
        ("steps/2/inside/offset", 512, "multiple of its block size"),
    ],
)
def test_a_value_that_would_fail_hours_later_is_refused(path: str, value: object, expected: str) -> None:
    assert expected in faults_of(path, value)


def test_two_volumes_that_lvm_takes_for_one_are_refused() -> None:
    volume = {"lvm": "linear", "size": "8M"}
    both = {"a-b": {**volume, "of": "leg3"}, "a_b": {**volume, "of": "leg4"}}
    assert "are one name to LVM" in faults_of("storage", {**BASE["storage"], **both})


def test_a_deadline_within_which_no_trial_can_end_is_refused() -> None:
    steps = [*BASE["steps"][:1], {"probe": {"io": "boot", "read": "4k", "for": "60s"}}]
    data = json.dumps({**BASE, "steps": steps, "deadline": "60s"})
    with pytest.raises(RecipeError, match="alone last 1m, so no trial could end"):
        loads(data, Path("values.yaml"))


def test_a_list_with_too_many_items_is_distinguished_from_a_long_name() -> None:
    assert "search.suites: has more items than 32" in faults_of("search", {"suites": ["trixie"] * 33})
