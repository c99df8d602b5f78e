# SPDX-License-Identifier: GPL-2.0-only
"""QEMU is tried in a VM: its programs come first there, on a kernel that only carries them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.exitcodes import ExitCode

KERNEL = os.environ.get("BISECTOR_TEST_IMAGE", "")
RECIPE = """\
recipe: which-programs
target: {qemu: {build: [qemu-img]}}
vm: {memory: 512M, cpus: 1, accel: tcg}
trials: 1
deadline: 5m
steps:
  - version: {run: [qemu-img, --version]}
bad_when:
  broken: {exit: {version: 7}}
good_when:
  ours: {exit: {version: 0}, output: {version: 'under test 1'}}
"""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "which-programs.yaml"
    path.write_text(RECIPE)
    return path


def programs(folder: Path, code: int) -> Path:
    folder.mkdir()
    program = folder / "qemu-img"
    program.write_text(f"#!/bin/sh\necho 'qemu-img version 9.9, under test {code}'\nexit {code}\n")
    program.chmod(0o755)
    return folder


@pytest.mark.vm
@pytest.mark.skipif(not KERNEL, reason="BISECTOR_TEST_IMAGE is not set")
def test_programs_under_test_come_first_in_the_vm_and_another_kernel_is_another_question(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = programs(tmp_path / "old", 1)
    (old / "qemu-img").write_text((old / "qemu-img").read_text().replace("exit 1", "exit 0"))
    new = programs(tmp_path / "new", 7)
    command = ["test", str(recipe), "--kernel", KERNEL, "--json", "--image"]
    assert main([*command, str(old)]) == ExitCode.OK
    good = json.loads(capsys.readouterr().out)["cells"][0]["judgement"]["trials"][0]
    assert good["observation"]["result"]["kernel"]["release"].startswith("6.")
    assert main([*command, str(new)]) == ExitCode.BAD
    bad = json.loads(capsys.readouterr().out)["cells"][0]["judgement"]["trials"][0]
    assert bad["reading"]["condition"] == "broken"
    assert (good["plan"] == bad["plan"], good["image"] == bad["image"]) == (True, False)


@pytest.mark.vm
@pytest.mark.skipif(not KERNEL, reason="BISECTOR_TEST_IMAGE is not set")
def test_the_programs_of_an_end_do_a_step_in_the_vm(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE.replace("steps:\n", "steps:\n  - older: {run: [qemu-img, --version], by: good-end}\n"))
    tested, good = programs(tmp_path / "tested", 7), programs(tmp_path / "good", 3)
    (good / "qemu-img").write_text((good / "qemu-img").read_text().replace("exit 3", "exit 0"))
    command = ["test", str(recipe), "--kernel", KERNEL, "--json", "--image", str(tested), "--good", str(good)]
    assert main(command) == ExitCode.BAD
    trial = json.loads(capsys.readouterr().out)["cells"][0]["judgement"]["trials"][0]
    seen = {step["name"]: (step["exit"], step["detail"]) for step in trial["observation"]["result"]["steps"]}
    assert {name: code for name, (code, _) in seen.items()} == {"older": 0, "version": 7}
    assert "under test 3" in seen["older"][1] and "under test 7" in seen["version"][1]


def test_a_kernel_that_is_not_there_is_said_before_anything_is_stored(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = programs(tmp_path / "old", 0)
    assert main(["test", str(recipe), "--kernel", "./bzImage", "--image", str(folder)]) == ExitCode.USAGE
    assert "bzImage: there is no such file" in capsys.readouterr().err
    assert main(["campaigns"]) == ExitCode.OK
    assert "which-programs" not in capsys.readouterr().out


def test_a_kernel_under_test_takes_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "dio-misaligned-pread", "--kernel", "6.12", "--image", str(tmp_path)]) == ExitCode.USAGE
    assert "the VM boots the kernel under test" in capsys.readouterr().err
