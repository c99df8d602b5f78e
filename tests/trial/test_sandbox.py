# SPDX-License-Identifier: GPL-2.0-only
"""Trials without a VM: the real agent on this host, in a sandbox."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from bisector.agent.plan import Layer, Plan, Step
from bisector.interfaces import CancelToken
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.trial.sandbox import SandboxRunner


class Sandbox:
    def __init__(self, tmp_path: Path) -> None:
        self.work = tmp_path / "work"
        self.work.mkdir()
        self.folder = tmp_path / "stored"
        self.processes = Processes(tmp_path / "records")
        self.cancel = CancelToken(str(tmp_path / "cancel"))
        self.environ = {"PATH": os.environ["PATH"], "TMPDIR": str(self.work), "SECRET": "x"}

    def run(
        self, *steps: Step, deadline: float = 30.0, programs: str = "", layers: tuple[Layer, ...] = ()
    ) -> Observation:
        runner = SandboxRunner(self.processes, self.environ)
        plan = Plan(steps=steps, layers=layers, vm=False, deadline=deadline)
        return runner.run(
            Image("i", "", programs=programs), plan, self.folder, listener=lambda _: None, cancel=self.cancel
        )

    def clean(self) -> bool:
        return not any(self.work.iterdir()) and not any(self.processes.records.iterdir())


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def sh(name: str, script: str) -> Step:
    return Step(name, "run", argv=("sh", "-c", script))


def test_exit_codes_come_back(sandbox: Sandbox) -> None:
    observation = sandbox.run(sh("fine", "exit 0"), sh("wrong", "exit 7"))
    assert observation.ending is Ending.FINISHED
    assert observation.accel == "none"
    assert observation.result is not None
    assert [step.exit for step in observation.result.steps] == [0, 7]
    assert observation.timing.total < 5
    assert sandbox.clean()
    assert (sandbox.folder / "guest/result.json").exists() and (sandbox.folder / "command").exists()


def test_the_environment_is_clean_and_the_home_private(sandbox: Sandbox) -> None:
    check = f'test -z "$SECRET" && case "$HOME$TMPDIR" in {sandbox.work}/*{sandbox.work}/*) exit 0;; esac; exit 1'
    observation = sandbox.run(sh("env", check))
    assert observation.result is not None and observation.result.steps[0].exit == 0


def test_a_step_that_hangs_ends_at_the_deadline(sandbox: Sandbox) -> None:
    observation = sandbox.run(sh("first", "true"), sh("hang", "sleep 600"), deadline=1.5)
    assert observation.ending is Ending.DEADLINE
    assert observation.timing.total < 9
    assert observation.result is not None and observation.result.step("first") is not None
    assert sandbox.clean()


def test_what_a_step_leaves_running_ends_with_the_trial(sandbox: Sandbox) -> None:
    lasting = f"{10000 + os.getpid()}"
    observation = sandbox.run(sh("leave", f"setsid sleep {lasting} >/dev/null 2>&1 & sleep 0.3; pgrep -f {lasting}"))
    assert observation.result is not None and observation.result.steps[0].exit == 0
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [command for command in commands if lasting.encode() in command]


def test_a_step_cannot_lead_us_elsewhere(sandbox: Sandbox, tmp_path: Path) -> None:
    """The shared folder keeps its place, so that nothing of another folder is taken for what the trial left."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "kernel.log").write_text("private")
    move = sh("move", f"cd ..; cd ..; mv s away; ln -s {other} s")
    sandbox.run(move)
    assert "private" not in "".join(path.read_text() for path in sandbox.folder.rglob("*.log"))


def test_an_agent_that_is_killed_is_the_harness_failing(sandbox: Sandbox) -> None:
    observation = sandbox.run(sh("kill", "kill -9 $PPID; sleep 5"))
    assert observation.ending is Ending.HARNESS
    assert "without a result" in observation.detail


def test_a_wish_to_stop_is_heard(sandbox: Sandbox) -> None:
    threading.Timer(1.0, sandbox.cancel.cancel).start()
    begin = time.monotonic()
    assert sandbox.run(sh("hang", "sleep 600")).ending is Ending.CANCELLED
    assert time.monotonic() - begin < 2.5
    assert sandbox.clean()


def test_programs_of_the_image_come_first_for_layers_and_for_steps(sandbox: Sandbox, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "qemu-img").write_text("#!/bin/sh\nlast=$(eval echo \\${$(($# - 1))})\necho of the image > $last\n")
    (programs / "qemu-img").chmod(0o755)
    img = Layer("img", "file", "qcow2", size=1 << 20)
    look = Step("look", "run", argv=("grep", "of the image", "{img}"))
    which = sh("which", f'test "$(command -v qemu-img)" = {programs}/qemu-img && command -v grep')
    observation = sandbox.run(look, which, programs=str(programs), layers=(img,))
    assert observation.result is not None and observation.result.fault is None
    assert [step.exit for step in observation.result.steps] == [0, 0]


def test_a_program_that_the_image_links_to_is_run_and_not_another_of_its_name(sandbox: Sandbox, tmp_path: Path) -> None:
    """An emulator is not copied into its image; where the link leads nowhere PATH has the installed one."""
    for place in ("image", "built/bin", "built/share"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "built/share/data").write_text("the linked one\n")
    (tmp_path / "built/bin/uname").write_text('#!/bin/sh\ncat "$(dirname "$(readlink -f "$0")")/../share/data"\n')
    (tmp_path / "built/bin/uname").chmod(0o755)
    (tmp_path / "image/uname").symlink_to(tmp_path / "built/bin/uname")
    observation = sandbox.run(sh("which", "uname"), programs=str(tmp_path / "image"))
    assert observation.result is not None
    assert observation.result.steps[0].detail == "the linked one\n"
