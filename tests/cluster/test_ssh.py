# SPDX-License-Identifier: GPL-2.0-only
"""Whole campaigns on hosts over SSH, each a network and a PID namespace. QEMU's tree is one in small, and its program
sleeps and answers: all else is real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bisector.exitcodes import ExitCode
from bisector.model import Trial
from bisector.store import Store
from tests.cluster import hosts
from tests.cluster.counted import wrong
from tests.search.planted import git
from tests.stopping import as_from_a_terminal

pytest.importorskip("distributed")
sys.path.append(str(Path(__file__).parents[1] / "target"))

from fake_qemu import FILES, MESON, PKG_CONFIG

pytestmark = pytest.mark.skipif(bool(why := hosts.missing()), reason=why)
BISECTOR = str(Path(sys.executable).with_name("bisector"))
NAMES = ("alpha", "beta", "gamma")
PROGRAM = """
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("answer %d\\n", ANSWER); usleep(SECONDS * 1000000); return ANSWER; }
"""
RECIPE = """\
recipe: acted
target: {qemu: {build: [qemu-img]}}
vm: none
trials: 2
deadline: 2m
steps:
  - version: {run: [qemu-img, --version]}
bad_when:
  broken: {exit: {version: 7}}
good_when:
  ours: {exit: {version: 0}}
"""


@dataclass
class Scene:
    """Three hosts, and a history of QEMU whose bug came with commit c5."""

    lab: hosts.Lab
    folder: Path
    repo: Path
    oids: dict[str, str]

    @contextmanager
    def bisector(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """A command on the campaign's host."""
        with (self.folder / "said").open("a") as said:
            child = subprocess.Popen(
                self.lab.command(BISECTOR, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                env=self.lab.environ, text=True, preexec_fn=as_from_a_terminal,
            )  # fmt: skip
            try:
                yield child
            finally:
                child.kill()
                child.communicate()

    def run(self, *more: str) -> Any:
        ends = ("--repo", str(self.repo), "--good", "c0", "--bad", "c7")
        events = ("--events", str(self.folder / "events"))
        return self.bisector("run", str(self.folder / "acted.yaml"), *ends, *events, "--json", "--ahead", "0", *more)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def trials(self) -> tuple[Trial, ...]:
        store = Store(self.lab.campaign.home / "state/bisector")
        try:
            return store.trials(store.campaigns()[-1].id) if store.campaigns() else ()
        finally:
            store.close()

    def tries(self, host: hosts.Host) -> bool:
        return any("qemu-img --version" in line for line in host.processes().values())

    def one_that_tries(self) -> hosts.Host:
        self.wait(lambda: any(map(self.tries, self.lab.hosts)))
        return next(filter(self.tries, self.lab.hosts), self.lab.hosts[0])

    def wait(self, true: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.said
            time.sleep(0.05)

    def kill_scheduler(self) -> None:
        os.kill(self.lab.campaign.pid("dask_scheduler"), signal.SIGKILL)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("meson", MESON), ("pkg-config", PKG_CONFIG)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "acted.yaml").write_text(RECIPE)
    with hosts.lab(tmp_path / "lab", NAMES, {"PYTHONPATH": str(hosts.ROOT)}) as lab:
        lab.environ["PATH"] = f"{tools}:{lab.environ['PATH']}"
        lab.environ["PYTHONPATH"] = str(hosts.ROOT)
        yield Scene(lab, tmp_path, tmp_path / "repo", _history(tmp_path / "repo"))


def _history(folder: Path, seconds: float = 0.5) -> dict[str, str]:
    """A repository with commits c0 to c7 and their ids; the bug came with c5."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "configure").chmod(0o755)
    program = PROGRAM.replace("SECONDS", str(seconds))
    for number in range(8):
        text = program.replace("ANSWER", "7" if number >= 5 else "0")
        (folder / "qemu-img.c").write_text(f"/* {number} */{text}")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", f"c{number}")
        git(folder, "tag", f"c{number}")
    return {f"c{number}": git(folder, "rev-parse", f"c{number}") for number in range(8)}


def test_a_campaign_on_three_hosts_survives_a_dead_worker_and_a_cut_network_and_goes_on_without_its_scheduler(
    scene: Scene,
) -> None:
    cluster = ("--cluster", f"ssh:{','.join(NAMES)}")
    with scene.run(*cluster) as campaign:
        host = scene.one_that_tries()
        os.kill(host.pid("dask_worker"), signal.SIGKILL)
        scene.wait(lambda: f"{host.name}: the worker ended by signal 9" in scene.said)
        other = scene.one_that_tries()
        other.cut()
        time.sleep(3)
        other.mend()
        scene.wait(lambda: len(scene.trials()) >= 6)
        scene.kill_scheduler()
        assert campaign.wait(60) == ExitCode.INFRA
    assert "scheduler" in scene.said and "--resume" in scene.said
    assert "Traceback" not in scene.said
    assert not scene.lab.left()
    with scene.run("--resume", "--cluster", "ssh:beta") as campaign:
        scene.one_that_tries()
        before = scene.trials()
        scene.kill_scheduler()
        assert campaign.wait(60) == ExitCode.INFRA
    with scene.run("--resume") as campaign:
        out, _ = campaign.communicate(timeout=120)
    assert campaign.returncode == ExitCode.OK, scene.said
    assert json.loads(out)["outcome"]["culprit"]["oid"] == scene.oids["c5"]
    assert wrong(before, scene.trials(), scene.folder / "events") == []
    assert len({trial.observation.worker for trial in scene.trials()} & set(NAMES)) >= 2
    assert not scene.lab.left()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_whatever_ends_the_command_leaves_nothing_on_a_host(scene: Scene, number: signal.Signals) -> None:
    """And a host that is not reached is named, and the others are used."""
    scene.repo = scene.folder / "slow"
    _history(scene.repo, seconds=60)
    with scene.run("--cluster", "ssh:alpha,nowhere") as campaign:
        scene.one_that_tries()
        campaign.send_signal(number)
        code = campaign.wait(30)
    assert code == (ExitCode.INTERRUPTED if number is signal.SIGINT else -number)
    assert not scene.lab.left()
    assert "nowhere: no such host" in scene.said


def test_with_no_host_the_command_ends_and_says_why_of_each(scene: Scene) -> None:
    key = scene.lab.folder / "key.pub"
    key.write_text("")
    (scene.folder / "hosts").write_text("alpha\nbeta:23\nnowhere\n")
    with scene.run("--cluster", f"ssh:{scene.folder}/hosts") as campaign:
        assert campaign.wait(60) == ExitCode.INFRA
    assert "alpha: the host refuses the key" in scene.said
    assert "beta: no sshd listens there" in scene.said
    assert "nowhere: no such host" in scene.said
