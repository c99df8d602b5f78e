# SPDX-License-Identifier: GPL-2.0-only
"""What stands in for submodules of QEMU's that a worktree of a clone does not hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fake_qemu import OTHER, QemuSetup

from bisector.target import submodules


def test_what_stands_in_for_submodules_is_said_and_goes_with_the_next_checkout(qemu: QemuSetup) -> None:
    floats = {"tests/fp/meson.build": "files('berkeley-softfloat-3/source/f16_add.c')\n"}
    candidate = qemu.candidate("bare", floats)
    qemu.build(qemu.target(), candidate)
    tree = qemu.build_dir() / "tree"
    assert (tree / "ui/keycodemapdb/README").exists()
    assert "softfloat" not in (tree / "tests/fp/meson.build").read_text().replace("testfloat", "")
    log = next((qemu.root / "a" / "cache" / "builds").glob("*.log")).read_text()
    assert "# ui/keycodemapdb is not in this tree: in its place stands a map without keys" in log
    assert "# berkeley-testfloat-3 is not in this tree" in log
    qemu.sources.checkout(candidate, tree)
    assert (tree / "tests/fp/meson.build").read_text() == floats["tests/fp/meson.build"]


def test_what_stands_in_makes_nothing_be_configured_again(qemu: QemuSetup) -> None:
    qemu.build(qemu.target(), qemu.candidate("one"))
    qemu.build(qemu.target(), qemu.candidate("two", {"qemu-io.c": OTHER}))
    assert qemu.count("configured") == 1


def test_a_tree_that_has_its_parts_keeps_them(qemu: QemuSetup, tmp_path: Path) -> None:
    own = {"ui/keycodemapdb/README": "mine\n", "tests/fp/meson.build": "own\n"}
    for name, text in own.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tests/fp/berkeley-testfloat-3/source").mkdir(parents=True)
    assert submodules.stand_in(tmp_path, 'test -f "$source_path/ui/keycodemapdb/README"') == ()
    assert {name: (tmp_path / name).read_text() for name in own} == own


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ('if ! test -f "$source_path/subprojects/keycodemapdb/README" \\', "subprojects/keycodemapdb/README"),  # 8.1
        (
            'if ! test -f "$source_path/tests/fp/berkeley-testfloat-3/README.md"',  # on the way to it
            "tests/fp/berkeley-testfloat-3/README.md",
        ),
    ],
)
def test_the_tree_says_where_it_looks_for_a_submodule(tmp_path: Path, said: str, missing: str) -> None:
    (message,) = submodules.stand_in(tmp_path, said)
    assert (tmp_path / missing).exists() and missing.rpartition("/")[0] in message


def test_what_an_earlier_build_left_is_reported_again_and_written_anew(tmp_path: Path) -> None:
    check = 'test -f "$source_path/ui/keycodemapdb/README"'
    first = submodules.stand_in(tmp_path, check)
    generator = tmp_path / "ui/keycodemapdb/tools/keymap-gen"
    right, times = generator.read_text(), generator.stat().st_mtime
    generator.write_text("of another version")  # a checkout leaves what lies in a submodule's folder
    assert submodules.stand_in(tmp_path, check) == first
    assert generator.read_text() == right and generator.stat().st_mtime == times


def test_the_map_that_stands_in_is_one_that_qemu_includes(tmp_path: Path) -> None:
    submodules.stand_in(tmp_path, 'test -f "$source_path/ui/keycodemapdb/README"')
    generator = tmp_path / "ui/keycodemapdb/tools/keymap-gen"
    names = ["--lang", "glib2", "--varname", "qemu_input_map_x_to_y"]
    for argv in (["code-map", *names, "keymaps.csv", "x", "y"], [*names, "code-map", "keymaps.csv", "x", "y"]):
        said = subprocess.run([generator, *argv], check=True, capture_output=True, text=True).stdout
        source = f"typedef unsigned short guint16;\ntypedef unsigned guint;\n{said}"
        subprocess.run(["gcc", "-xc", "-fsyntax-only", "-Wall", "-Werror", "-"], input=source, text=True, check=True)
