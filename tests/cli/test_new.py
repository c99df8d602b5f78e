# SPDX-License-Identifier: GPL-2.0-only
"""``bisector new`` as a person meets it: flags, files, and questions on a terminal alone."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.exitcodes import ExitCode
from bisector.recipe.failure import STORAGE
from bisector.recipe.load import load

ANSWERS = (
    *(
        "En tered",
        "entered",
        "it fails",
        "kernel",
        "lvm-raid2",
        "lvm-raid1",
        "script",
        "../x",
        "",
        "abc",
        "3",
        "x",
        "0",
    ),
    *(".*", "I/O error", "v6.17", "v6.17", "v6.18"),
)


def test_flags_write_a_recipe_and_begin_its_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["new", "mine", "--storage", "lvm-raid1", "--bad-exit", "4", "--folder", str(tmp_path)])
    assert code == ExitCode.OK
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}/mine.yaml\n{tmp_path}/mine.sh\n"
    assert "bisector check" in said.err
    assert load(tmp_path / "mine.yaml").bad_when["it-failed"].exit["repro"].values == (4,)
    assert main(["check", str(tmp_path / "mine.yaml")]) == ExitCode.OK


def test_the_storage_that_can_be_named_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "mine", "--storage", "list", "--folder", str(tmp_path)]) == ExitCode.OK
    assert capsys.readouterr().out.split() == list(STORAGE)
    assert not list(tmp_path.iterdir())


def test_an_own_script_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "repro.py"
    own.write_text("#!/usr/bin/env python3\n")
    own.chmod(0o755)
    words = ["new", "mine", "--script", "repro.py", "--folder", str(tmp_path), "--json"]
    assert main(words) == ExitCode.OK
    assert own.read_text() == "#!/usr/bin/env python3\n"
    written = json.loads(capsys.readouterr().out)
    assert written == {"schema": "bisector.new/1", "new": {"recipe": str(tmp_path / "mine.yaml")}}


def test_a_script_that_cannot_be_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "repro.sh").write_text("true\n")
    words = ["new", "mine", "--script", "repro.sh", "--folder", str(tmp_path)]
    assert main(words) == ExitCode.INVALID
    assert "not executable" in capsys.readouterr().err
    (tmp_path / "repro.sh").chmod(0o755)
    assert main(words) == ExitCode.OK  # nothing of the first time is in the way
    assert (tmp_path / "repro.sh").read_text() == "true\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new"], "which name"),
        (["new", "mine", "--storage", "raid7"], "not one of none, disk"),
        (["new", "mine", "--test", "qemu", "--storage", "ext4"], "--storage none, raw, qcow2"),
        (["new", "mine", "--workload", "guest"], "--storage disk"),
        (["new", "Mine"], "no name of a recipe"),
        (["new", "mine", "--good", "v6.17", "--bad", "v6.17"], "cannot be good and bad"),
        (["new", "mine", "--good=-x"], "not one revision"),
        (["new", "mine", "--bad", " "], "--bad"),
        (["new", "mine", "--script", "."], "no file beside the recipe"),
        (["new", "mine", "--script", "../repro.sh"], "no file beside the recipe"),
        (["new", "mine", "--script", "/etc/hostname"], "no file beside the recipe"),
    ],
)
def test_what_does_not_fit_is_refused_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main([*words, "--folder", str(tmp_path)]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["true", "null", "6.10", "2026-11-21", "1e3", "mine"])
def test_a_name_that_yaml_takes_for_something_else_is_quoted(tmp_path: Path, name: str) -> None:
    assert main(["new", name, "--folder", str(tmp_path)]) == ExitCode.OK
    assert load(tmp_path / f"{name}.yaml").recipe == name


def test_a_recipe_that_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    assert main(["new", "mine", "--folder", str(tmp_path)]) == ExitCode.USAGE
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", "from bisector.cli import main; raise SystemExit(main())", "new"]
    child = subprocess.Popen([*argv, "--folder", str(tmp_path)], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, answers, end = "", list(ANSWERS), time.monotonic() + 60
    while child.poll() is None and time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            with contextlib.suppress(OSError):  # EIO: the other side is closed
                seen += os.read(ours, 4096).decode()
        elif answers and seen.endswith(": "):
            os.write(ours, answers.pop(0).encode() + b"\n")
            seen += "\n"
    child.kill()
    assert child.wait() == 0, seen
    recipe = load(tmp_path / "entered.yaml")
    assert (recipe.title, recipe.search.good, recipe.search.bad) == ("it fails", "v6.17", "v6.18")
    assert recipe.storage["data"].lvm == "raid1" and recipe.steps["repro"].run == ("./entered.sh", "{data}")
    assert recipe.bad_when["it-failed"].exit["repro"].values == (3,)
    assert "not one of none, disk" in seen
    for wrong in ("no name of a recipe", "no file beside", "no exit code", "matches every line", "good and bad"):
        assert wrong in seen  # each error stands at its question, which is put again
