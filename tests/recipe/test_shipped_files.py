# SPDX-License-Identifier: GPL-2.0-only
"""Shipped recipes and fragments are found by name, in a checkout and in an installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bisector.errors import RecipeError
from bisector.recipe.load import find, load
from bisector.system import shipped

ROOT = Path(__file__).parents[2]


def test_checkout_has_them_beside_the_package() -> None:
    assert shipped.recipes() == ROOT / "recipes"
    assert shipped.kconfigs() == ROOT / "kconfigs"


def test_name_with_or_without_suffix_and_path_are_the_same_recipe() -> None:
    file = ROOT / "recipes" / "dio-misaligned-pread.yaml"
    assert find("dio-misaligned-pread") == find("dio-misaligned-pread.yaml") == find(file) == file
    assert load("dio-misaligned-pread") == load(str(file))


def test_those_in_a_folder_are_found_by_folder_and_name() -> None:
    file = ROOT / "recipes" / "field" / "loop-4k-guest.yaml"
    assert find("field/loop-4k-guest") == find("field/loop-4k-guest.yaml") == find(file) == file


@pytest.mark.parametrize("name", ["field/../field/loop-4k-guest", "../recipes/field/loop-4k-guest", "field/no-such"])
def test_no_other_way_leads_into_a_folder(name: str) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        find(name)


def test_installed_package_has_them_inside(tmp_path: Path) -> None:
    package = tmp_path / "bisector"
    shutil.copytree(ROOT / "bisector", package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for name in ("recipes", "kconfigs"):  # as pyproject's force-include lays them
        shutil.copytree(ROOT / name, package / "data" / name)
    program = "from bisector.recipe.load import load; print(load('virtio-open-lvm-raid1').file)"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout.strip(), found.stderr) == (
        str(package / "data" / "recipes" / "virtio-open-lvm-raid1.yaml"),
        "",
    )
