# SPDX-License-Identifier: GPL-2.0-only
"""``bisector show`` prints what runs for what the recipe tests, and what is not done for a packaged kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisector.cli import plan_text
from bisector.cli.plan_text import Host
from bisector.recipe.load import load
from bisector.recipe.modules import not_applied

QEMU = """
recipe: r
target: {qemu: {build: [%s]}}
vm: %s
storage: {d: {%s, size: 64M}}
steps:
  - one: {run: [cat, '{d}']}
bad_when: {bad: {exit: {one: 1}}}
good_when: {good: {exit: {one: 0}}}
"""
KERNEL = """
recipe: r
target: {kernel: {config: [base, ./sg.config], %s}}
storage: {d: {disk: nvme, size: 64M}}
steps:
  - one: {run: [cat, '{d}']}
bad_when: {bad: {exit: {one: 1}}}
good_when: {good: {exit: {one: 0}}}
"""
NOT_APPLIED = (
    "./sg.config is not applied to a packaged kernel (CONFIG_CHR_DEV_SG, CONFIG_A): it is as its distribution built it"
)


def shown(folder: Path, text: str) -> str:
    (folder / "sg.config").write_text("CONFIG_CHR_DEV_SG=m\n# CONFIG_A is not set\n# words\n")
    (folder / "r.yaml").write_text(text)
    recipe = load(folder / "r.yaml")
    host = Host(3, "")
    said = plan_text.as_text(recipe, text, host)
    assert plan_text.as_object(recipe, text, host)["build"]
    return said


def test_a_recipe_that_tests_qemu_shows_how_qemu_is_built_and_no_make_of_a_kernel(tmp_path: Path) -> None:
    said = shown(tmp_path, QEMU % ("qemu-img", "none", "file: raw"))
    assert "../configure" in said and "ninja -j3 qemu-img" in said
    assert "make -C" not in said and "config fragments" not in said and "bzImage" not in said
    assert "PATH=IMAGE/bin:$PATH python3" in said and "vng" not in said


def test_the_emulator_under_test_is_carried_by_another_kernel(tmp_path: Path) -> None:
    said = shown(tmp_path, QEMU % ("qemu-system-x86_64", "{}", "disk: nvme"))
    assert "--target-list=x86_64-softmmu" in said
    assert "vng --run WORK" in said and "--rodir=IMAGE=IMAGE" in said


def test_a_recipe_that_tests_a_kernel_shows_its_make_and_what_a_package_does_not_get(tmp_path: Path) -> None:
    said = shown(tmp_path, KERNEL % "make: {CC: gcc-12}")
    assert "make -C BUILD/tree O=.objects -j3" in said and "allnoconfig" in said and "CC=gcc-12" in said
    assert "../configure" not in said
    assert "modules 9p 9pnet_virtio nvme" in said
    assert NOT_APPLIED in said and "make: (CC) says nothing of a packaged kernel" in said


@pytest.mark.parametrize("more", ["base_config: ./whole.config", ""])
def test_a_config_of_the_recipes_own_is_said_to_be_left_aside(tmp_path: Path, more: str) -> None:
    (tmp_path / "whole.config").write_text("CONFIG_B=y\n")
    (tmp_path / "sg.config").write_text("".join(f"CONFIG_S{number}=y\n" for number in range(9)))
    (tmp_path / "r.yaml").write_text(KERNEL % more)
    first, *rest = not_applied(load(tmp_path / "r.yaml"))
    assert "CONFIG_S0, CONFIG_S1, CONFIG_S2, CONFIG_S3 and 5 more" in first
    assert [line.partition(" ")[0] for line in rest] == (["./whole.config"] if more else [])


def test_a_layer_is_shown_as_words_on_one_line(tmp_path: Path) -> None:
    storage = "d: {disk: nvme, size: 64M}, f: {fs: ext4, of: d, mkfs: [-b, 1024]}"
    said = shown(tmp_path, (KERNEL % "make: {}").replace("d: {disk: nvme, size: 64M}", storage))
    assert "#   layer name=f kind=fs type=ext4 of=d options=mkfs=-b 1024\n" in said
