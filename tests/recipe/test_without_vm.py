# SPDX-License-Identifier: GPL-2.0-only
"""A guest of a QEMU under test that runs on the host itself (``vm: none``): which kernel it boots, and its plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bisector.cli.helpers import load_recipe
from bisector.errors import UsageError
from bisector.model import Cell
from bisector.recipe import files
from bisector.recipe.load import load
from bisector.recipe.model import Recipe
from bisector.recipe.plan import plan_for
from bisector.recipe.resolve import resolved_yaml


def written(folder: Path, guest: dict[str, Any] | None = None, **more: Any) -> Path:
    (folder / "bzImage").write_bytes(b"kernel")
    data: dict[str, Any] = {
        "recipe": "r",
        "target": {"qemu": {"build": ["qemu-system-x86_64"]}},
        "vm": "none",
        "storage": {"img": {"file": "qcow2", "size": "8M"}},
        "guest": {"os": "linux", "drives": {"vda": {"of": "img"}}, **(guest or {})},
        "steps": [{"boot": {"start": "guest"}}],
        "bad_when": {"b": {"exit": {"boot": 1}}},
        "good_when": {"g": {"exit": {"boot": 0}}},
    }
    file = folder / "r.yaml"
    file.write_text(json.dumps(data | more), encoding="utf-8")
    return file


def loaded(folder: Path, guest: dict[str, Any] | None = None, **more: Any) -> Recipe:
    return load(written(folder, guest, **more))


@pytest.mark.parametrize(
    ("guest", "more", "kernel"),
    [
        ({}, {}, ""),
        ({"kernel": "6.12"}, {}, "6.12"),
        ({"kernel": "./bzImage"}, {}, "./bzImage"),
        ({"os": "none"}, {}, None),
        ({"kernel": "./bzImage"}, {"vm": {"kernel": "6.18"}}, "6.18"),
        ({}, {"vm": {}}, ""),
        ({}, {"vm": {}, "target": {"kernel": {"config": ["base"]}}}, None),
    ],
)
def test_the_kernel_that_is_booted_and_not_tested(
    tmp_path: Path, guest: dict[str, Any], more: dict[str, Any], kernel: str | None
) -> None:
    assert loaded(tmp_path, guest, **more).other_kernel == kernel


def test_without_a_vm_a_kernel_is_an_image_and_no_file_of_each_trial(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, {"kernel": "./bzImage"})
    assert files.own(recipe) == ("./bzImage",)  # kept with the campaign, and packed by an export
    plan = plan_for(recipe, Cell(""))
    assert not plan.vm and plan.guest is not None
    assert (plan.guest.kernel, plan.files) == ("", ())
    in_vm = plan_for(loaded(tmp_path, {"kernel": "./bzImage"}, vm={}), Cell(""))
    assert in_vm.guest is not None and (in_vm.guest.kernel, len(in_vm.files)) == ("bzImage", 1)


def test_the_command_line_names_another(tmp_path: Path) -> None:
    file = str(written(tmp_path, {"kernel": "6.12"}))
    assert load_recipe(file, None, "6.18")[0].other_kernel == "6.18"
    other = tmp_path / "elsewhere"
    other.write_bytes(b"kernel")
    assert load_recipe(file, None, str(other))[0].other_kernel == str(other)


def test_where_no_kernel_is_booted_none_is_named(tmp_path: Path) -> None:
    file = written(tmp_path)
    data = json.loads(file.read_text())
    del data["guest"]
    data |= {"bad_when": {"b": {"exit": {"look": 1}}}, "good_when": {"g": {"exit": {"look": 0}}}}
    data["steps"] = [{"look": {"run": ["true"]}}]
    file.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="no kernel is booted"):
        load_recipe(str(file), None, "6.18")


def test_it_resolves_to_itself(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, {"kernel": "6.12"})
    (tmp_path / "again.yaml").write_text(resolved_yaml(recipe))
    assert load(tmp_path / "again.yaml") == recipe
