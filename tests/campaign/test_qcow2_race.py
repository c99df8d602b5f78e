# SPDX-License-Identifier: GPL-2.0-only
"""The recipe of the qcow2 race on the installed QEMU: its oracle sees a freed cluster, and nothing where none is freed.

Whether the installed QEMU has the race is not tested here; that is what ``make e2e-qemu`` builds QEMUs for.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bisector.agent.plan import Plan
from bisector.cli import main
from bisector.exitcodes import ExitCode
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.plan import plan_for


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_controls_answer_as_they_must(capsys: pytest.CaptureFixture[str]) -> None:
    main(["test", "qcow2-discard-race", "--controls", "--trials", "1", "--json"])  # whatever the installed QEMU says
    answer = json.loads(capsys.readouterr().out)
    assert answer["candidate"]["label"] == "the installed QEMU"
    controls = {row["cell"]["name"]: row for row in answer["cells"] if row["cell"]["expect"]}
    assert {name: row["judgement"]["verdict"] for name, row in controls.items()} == {
        "no-frees": "good",
        "refcounts-cleared": "bad",
    }
    (trial,) = controls["refcounts-cleared"]["judgement"]["trials"]
    assert trial["reading"]["condition"] == "freed-cluster-in-use"
    assert "check: ERROR " in trial["reading"]["reason"]


def test_what_is_issued_follows_from_the_seed(tmp_path: Path) -> None:
    recipe = load("qcow2-discard-race")
    plan: Plan = plan_for(recipe, cells(recipe)[0])
    assert [file.name for file in plan.files] == ["qcow2-race.py"]
    module: dict[str, object] = {"__name__": "race"}
    exec(Path(plan.files[0].path).read_text(), module)
    commands = module["commands"]
    assert callable(commands)
    assert commands(7, 500, True) == commands(7, 500, True) != commands(8, 500, True)
    assert {line.split()[0] for line in commands(7, 5000, True)} == {"aio_write", "discard", "aio_flush"}
    assert not any("-z" in line or "discard" in line for line in commands(7, 5000, False))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--package", "6.18.9"], "--package names a kernel"),
        (["--image", "/nonexistent"], "holds no qemu-img"),
        (["--rev", "HEAD"], "what is to be tested"),
    ],
)
def test_what_cannot_be_tried_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "qcow2-discard-race", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
