# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a person or a script meets it: exit codes, streams, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.exitcodes import ExitCode
from bisector.system import proc

BAD_RECIPE = "recipe: x\ntarget: {kernel: {config: [base]}}\nsteps: []\n"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def repository(folder: Path) -> Path:
    folder.mkdir()
    git = ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for name in ("one", "two"):
        (folder / name).write_text(name)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", name], check=True)
    return folder


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "virtio-open-lvm-raid1", "--releases", "off"], ExitCode.USAGE, "which repository"),
        (["run", "nothing-like-it"], ExitCode.INVALID, "there is no such file"),
        (["run", "virtio-open-lvm-raid1", "--on", "exit 1"], ExitCode.USAGE, "not the fingerprint of a crash"),
        (
            ["run", "virtio-open-lvm-raid1", "--on", "oops: raid1_read_request", "--releases", "off"],
            ExitCode.USAGE,
            "which repository",
        ),
        (["run", "virtio-open-lvm-raid1", "--repo", "REPO", "--good", "nosuch"], ExitCode.USAGE, "nosuch"),
        (["run", "virtio-open-lvm-raid1", "--repo", "/nonexistent"], ExitCode.USAGE, "/nonexistent"),
        (["run", "virtio-open-lvm-raid1", "--repo", "REPO", "--good", "HEAD", "--bad", "HEAD"], ExitCode.USAGE, "same"),
        (
            ["run", "virtio-open-lvm-raid1", "--repo", "REPO", "--good", "HEAD", "--bad", "HEAD~1"],
            ExitCode.USAGE,
            "is an ancestor",
        ),
        (["run", "virtio-open-lvm-raid1", "--repo", "REPO", "--cell", "no.such=1"], ExitCode.USAGE, "no.such"),
        (["test", "virtio-open-lvm-raid1"], ExitCode.USAGE, "what is to be tested"),
        (["test", "virtio-open-lvm-raid1", "--image", "/nonexistent"], ExitCode.USAGE, "/nonexistent"),
        (["report", "nosuch"], ExitCode.USAGE, "no campaign"),
        (["log", "nosuch"], ExitCode.USAGE, "no campaign"),
        (["--color", "green", "recipes"], ExitCode.USAGE, "green"),
        (["frobnicate"], ExitCode.USAGE, "frobnicate"),
        (["check", "BAD"], ExitCode.INVALID, "BAD"),
    ],
)
def test_mistakes_have_their_exit_code_and_say_what_is_wrong(
    words: list[str], code: ExitCode, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    repo = repository(tmp_path / "linux")
    bad = tmp_path / "BAD.yaml"
    bad.write_text(BAD_RECIPE)
    filled = [{"REPO": str(repo), "BAD": str(bad)}.get(word, word) for word in words]
    assert main(filled) == code
    captured = capfd.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err + captured.out
    assert captured.out == ""


@pytest.mark.parametrize("command", ["recipes", "campaigns", "doctor", "check", "show"])
def test_json_is_one_object_with_a_schema_version(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = ["virtio-open-lvm-raid1"] if command in ("check", "show") else []
    main([command, *recipe, "--json"])
    document = json.loads(capfd.readouterr().out)
    assert document["schema"] == f"bisector.{command}/1"
    assert document[command] is not None


def test_schema_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == ExitCode.OK
    assert json.loads(capfd.readouterr().out)["type"] == "object"


def test_shipped_recipes_are_listed_and_valid(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == ExitCode.OK
    names = [entry["recipe"] for entry in json.loads(capfd.readouterr().out)["recipes"]]
    assert "virtio-dio-lvm-raid1" in names
    assert main(["check", *names]) == ExitCode.OK


@pytest.mark.parametrize(
    ("name", "counts"),
    [("duplicate-4k-blocks", "1 cell, 2 controls"), ("virtio-dio-lvm-raid1-releases", "1 cell, 1 control")],
)
def test_check_counts_cells_and_controls(name: str, counts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", name]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[0] == f"{name}: ok, {counts}"


def test_an_unexpected_error_is_infrastructure_and_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr("bisector.store.Store.listed", broken)
    assert main(["campaigns"]) == ExitCode.INFRA
    captured = capfd.readouterr()
    assert "out of cheese" in captured.err
    assert "Traceback" not in captured.err
    assert main(["--debug", "campaigns"]) == ExitCode.INFRA
    assert "Traceback" in capfd.readouterr().err


def test_no_color_is_honoured_and_always_forces(capfd: pytest.CaptureFixture[str]) -> None:
    main(["report", "nosuch"])
    assert "\x1b[" not in capfd.readouterr().err
    main(["--color", "always", "report", "nosuch"])
    assert "\x1b[" in capfd.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    code = "import sys; from bisector.cli import main; sys.exit(main(['schema']))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    errors = child.stderr.read()
    child.wait(30)
    assert "Traceback" not in errors


def test_where_nothing_can_be_confined_a_command_refuses_and_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proc, "find_program", lambda: "")
    repo = str(repository(tmp_path / "repo"))
    words = ["run", "virtio-open-lvm-raid1", "--repo", repo, "--good", "nosuch", "--bad", "HEAD"]
    assert main(words) == ExitCode.INFRA
    assert "apt-get install bubblewrap" in capsys.readouterr().err
    assert main(["doctor"]) != ExitCode.OK
    assert "MISSING bubblewrap" in capsys.readouterr().out
    assert main([*words, "--no-sandbox"]) == ExitCode.USAGE  # and goes on, to what else is wrong
    said = capsys.readouterr().err
    assert "The sandbox is off" in said and "nosuch" in said
