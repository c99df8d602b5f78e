# SPDX-License-Identifier: GPL-2.0-only
"""A step whose program is not on this host is said before the first trial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bisector.agent import command
from bisector.cli import main
from bisector.errors import InfraError
from bisector.exitcodes import ExitCode
from bisector.recipe.load import load
from bisector.recipe.model import Recipe
from bisector.system.distribution import install
from bisector.system.proc import Processes
from bisector.trial import programs

ON_HOST = """
recipe: r
target: {qemu: {build: [qemu-nbd]}}
vm: none
storage: {img: {file: raw, size: 1M}}
steps:
  - one: {run: %s}
bad_when: {bad: {exit: {one: 1}}}
good_when: {good: {exit: {one: 0}}}
"""
IN_VM = """
recipe: r
target: {kernel: {config: [base]}}
storage: {d: {disk: nvme, size: 64M}}
guest: {os: linux, drives: {vda: {of: d}}}
steps:
  - up: {start: guest}
  - one: {run: %s, in: %s}
bad_when: {bad: {exit: {one: 1}}}
good_when: {good: {exit: {one: 0}}}
"""


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "r.yaml").write_text(text)
    return load(folder / "r.yaml")


def lacking(made: Recipe, folder: Path, path: str = "") -> list[str]:
    environ = {"PATH": path or os.environ["PATH"]}
    return [one.what for one in programs.missing(made, environ, Processes(folder / "processes"))]


@pytest.mark.parametrize("run", ["[cat, '{img}']", "[/bin/cat]", "[qemu-nbd]", "['{img}']"])
def test_what_is_here_or_under_test_is_not_missing(tmp_path: Path, run: str) -> None:
    assert lacking(recipe(tmp_path, ON_HOST % run), tmp_path) == []


@pytest.mark.parametrize("name", ["nosuchprogram", "/opt/nosuch/program"])
def test_a_program_that_is_not_here_is_named_with_its_step(tmp_path: Path, name: str) -> None:
    made = recipe(tmp_path, ON_HOST % f"[{name}]")
    assert lacking(made, tmp_path) == [f"step one runs {name}, which this host does not have"]
    with pytest.raises(InfraError) as caught:
        programs.require(made, os.environ, Processes(tmp_path / "processes"))
    assert "put it beside the recipe" in caught.value.hint


@pytest.mark.parametrize(("name", "package"), [("sfdisk", "fdisk"), ("getfattr", "attr"), ("fio", "fio")])
def test_of_what_steps_often_start_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setattr(programs, "TOOL_FOLDERS", ())
    made = recipe(tmp_path, ON_HOST % f"[{name}]")
    lacks = programs.missing(made, {"PATH": "/nonexistent"}, Processes(tmp_path / "processes"))
    assert [one.hint for one in lacks] == [f"{install(package)}, or put it beside the recipe: ./{name}"]


@pytest.mark.parametrize(
    ("first", "missing"),
    [
        ("#!/bin/sh", ""),
        ("#!/usr/bin/env -S python3 -u", ""),
        ("#!/usr/bin/env nosuchpython", "nosuchpython"),
        ("#! /opt/nosuch/perl -w", "/opt/nosuch/perl"),
        ("no script", ""),
    ],
)
def test_so_is_the_interpreter_of_a_script_beside_the_recipe(tmp_path: Path, first: str, missing: str) -> None:
    (tmp_path / "own").write_text(first + "\n")
    (tmp_path / "own").chmod(0o755)
    said = lacking(recipe(tmp_path, ON_HOST % "[./own]"), tmp_path)
    assert said == ([f"step one runs ./own, a script for {missing}, which this host does not have"] if missing else [])


def test_a_vm_does_not_see_the_callers_own_path(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "mine").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert lacking(recipe(tmp_path, ON_HOST % "[mine]"), tmp_path, path) == []
    (said,) = lacking(recipe(tmp_path, IN_VM % ("[mine]", "vm")), tmp_path, path)
    assert said == "step one runs mine, which this host, whose programs the VM sees, does not have"


def test_the_inner_guest_has_what_its_busybox_has(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "busybox").write_text("#!/bin/sh\nprintf 'cat\\ndd\\nsh\\n'\n")
    (tmp_path / "bin" / "busybox").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    for run, said in (
        ("[dd]", []),
        ("[/bin/dd]", []),
        ("[mkfs.ext4]", []),
        ("[fio]", ["step one runs fio, which the inner guest does not have: its root is a busybox"]),
    ):
        assert lacking(recipe(tmp_path, IN_VM % (run, "guest")), tmp_path, path) == said


def test_it_is_said_by_every_command_and_nothing_is_tried_or_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe(tmp_path, ON_HOST.replace("qemu-nbd", "qemu-img") % "[nosuchprogram]")
    file = str(tmp_path / "r.yaml")
    said = "step one runs nosuchprogram, which this host does not have"
    for word, code in (("check", ExitCode.OK), ("doctor", ExitCode.INFRA), ("test", ExitCode.INFRA)):
        assert main([word, file]) == code
        printed = capfd.readouterr()
        assert said in printed.out + printed.err
    assert main(["campaigns"]) == ExitCode.OK
    assert "test-r" not in capfd.readouterr().out


def test_the_agent_looks_in_the_same_folders() -> None:
    assert programs.TOOL_FOLDERS == command.TOOL_FOLDERS
