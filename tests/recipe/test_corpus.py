# SPDX-License-Identifier: GPL-2.0-only
"""The recipes of campaigns on true histories are sound, and their scripts tell what they are made to see."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bisector.recipe.load import load
from bisector.recipe.matrix import apply, controls

CORPUS = Path(__file__).parents[2] / "recipes" / "corpus"
RECIPES = sorted(CORPUS.glob("*.yaml"))
SCRIPTS = {"qemu-nbd-fork-stderr.py": "--hold", "qemu-block-status-cache.py": "--write"}


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_each_has_a_control_that_must_be_bad_and_a_place_in_the_book(path: Path) -> None:
    recipe = load(path)
    assert recipe.recipe == path.stem and recipe.search.good and recipe.search.bad
    (control,) = controls(recipe)
    assert control.expect == "bad" and apply(recipe, control) != recipe
    assert f"`{recipe.recipe}`" in (CORPUS.parents[1] / "docs" / "corpus.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not all(map(shutil.which, ("qemu-nbd", "qemu-img"))), reason="needs qemu-nbd and qemu-img")
@pytest.mark.parametrize(("script", "control"), SCRIPTS.items())
def test_a_script_sees_what_its_control_does_and_leaves_no_daemon(tmp_path: Path, script: str, control: str) -> None:
    image = tmp_path / "image"
    for options, codes in (((), (0, 1)), ((control,), (1,))):  # without: as the installed QEMU is
        image.write_bytes(b"")
        with image.open("r+b") as file:
            file.truncate(1 << 20)
        argv = [sys.executable, CORPUS / script, *options, image]
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert ran.returncode in codes, ran.stdout + ran.stderr
    end = time.monotonic() + 10.0
    while any(str(image).encode() in _read(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < end, "a daemon stays"
        time.sleep(0.1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
