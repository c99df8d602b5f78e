# SPDX-License-Identifier: GPL-2.0-only
"""Steps that are done by the QEMU of an end of the search, beside the one under test: real programs in the sandbox."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bisector.agent.plan import Plan, Step
from bisector.cli import main
from bisector.errors import RecipeError
from bisector.exitcodes import ExitCode
from bisector.interfaces import CancelToken
from bisector.model import Ending, Image, Observation
from bisector.recipe.load import loads
from bisector.recipe.matrix import cells
from bisector.recipe.plan import plan_for
from bisector.system.proc import Processes
from bisector.trial.sandbox import SandboxRunner

RECIPE = """\
recipe: images
target: {qemu: {build: [qemu-img]}}
vm: none
storage: {img: {file: qcow2, size: 1M}}
steps:
  - was: {run: [sh, -c, 'qemu-img convert -O raw {img} was.raw'], by: good-end}
  - is: {run: [qemu-img, convert, -O, raw, '{img}', is.raw]}
  - same: {run: [cmp, was.raw, is.raw]}
bad_when: {other-data: {exit: {same: 1}}}
good_when: {same-data: {exit: {was: 0, is: 0, same: 0}}}
trials: 1
"""
DAMAGES = 'for last; do :; done; [ "$1" != convert ] || exec 3>>"$last"; [ "$1" != convert ] || echo more >&3'


def programs(folder: Path, behind: str = "") -> Path:
    """A folder with a qemu-img that does what the installed one does, and then ``behind``."""
    folder.mkdir()
    script = f'#!/bin/sh\n{shutil.which("qemu-img")} "$@" || exit\n{behind}\n'
    (folder / "qemu-img").write_text(script)
    (folder / "qemu-img").chmod(0o755)
    return folder


def ran(tmp_path: Path, *steps: Step, other: Path | None) -> Observation:
    (tmp_path / "work").mkdir()
    environ = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "work")}
    held = {"other": Image("other", "", programs=str(other))} if other else {}
    runner = SandboxRunner(Processes(tmp_path / "records"), environ, kernels=held.get)
    plan = Plan(steps, vm=False, kernels=(("good-end", "other"),), deadline=30.0)
    cancel = CancelToken(str(tmp_path / "cancel"))
    return runner.run(Image("i", ""), plan, tmp_path / "stored", listener=lambda _: None, cancel=cancel)


def which(name: str, by: str = "") -> Step:
    return Step(name, "run", argv=("sh", "-c", "readlink -f $(command -v qemu-img)"), by=by)


def test_a_step_finds_the_programs_of_whose_it_is_and_the_next_one_those_under_test(tmp_path: Path) -> None:
    other = programs(tmp_path / "other")
    seen = ran(tmp_path, which("old", "good-end"), which("new"), other=other)
    assert seen.result is not None and seen.result.fault is None
    installed = os.path.realpath(shutil.which("qemu-img") or "")
    assert [step.detail.strip() for step in seen.result.steps] == [str(other / "qemu-img"), installed]


def test_programs_that_are_gone_are_the_harness_failing(tmp_path: Path) -> None:
    seen = ran(tmp_path, which("old", "good-end"), which("new"), other=None)
    assert seen.ending is Ending.HARNESS and "the good end's QEMU is gone from the cache" in seen.detail


@pytest.mark.parametrize(("behind", "expected"), [(DAMAGES, ExitCode.BAD), ("", ExitCode.OK)])
def test_a_qemu_that_writes_other_data_than_that_of_the_good_end_is_bad(
    behind: str, expected: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = tmp_path / "images.yaml"
    recipe.write_text(RECIPE)
    good, tested = programs(tmp_path / "good"), programs(tmp_path / "tested", behind)
    assert main(["test", str(recipe), "--image", str(tested), "--good", str(good)]) == expected
    assert f"Each trial uses {good.name} too, as the good end's QEMU" in capsys.readouterr().err


def test_a_test_has_to_be_given_the_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = tmp_path / "images.yaml"
    recipe.write_text(RECIPE)
    assert main(["test", str(recipe)]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "each trial uses the good end's QEMU too, and none is named" in said and "a folder of programs" in said


def test_the_plan_says_whose_does_what(tmp_path: Path) -> None:
    recipe = loads(RECIPE, tmp_path / "images.yaml")
    (cell,) = cells(recipe)
    assert recipe.kernels_beside == ("good-end",)
    assert [step.by for step in plan_for(recipe, cell).steps] == ["good-end", "", ""]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("'{img}', is.raw]", "'{img}', is.raw], by: bad-end", "no step is left for the QEMU under test"),
        ("by: good-end", "by: candidate", "by"),
        ("[cmp, was.raw, is.raw]", "[cmp, was.raw, is.raw], in: guest, by: good-end", "there is no 'guest:'"),
        ("{qemu: {build: [qemu-img]}}", "{kernel: {config: [base]}}", "the recipe tests a kernel"),
    ],
)
def test_what_no_other_qemu_can_do_is_refused(before: str, after: str, expected: str, tmp_path: Path) -> None:
    text = RECIPE.replace(before, after)
    if "no step is left" in expected:
        text = text.replace("is.raw]}\nbad", "is.raw], by: good-end}\nbad")
    with pytest.raises(RecipeError) as refused:
        loads(text, tmp_path / "images.yaml")
    assert expected in str(refused.value)
