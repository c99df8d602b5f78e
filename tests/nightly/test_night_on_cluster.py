# SPDX-License-Identifier: GPL-2.0-only
"""A whole night on two workers of this host: the real command, workers, git, bundles and builds. The kernels are small,
and vng is played: what a kernel does is what its sources say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nextgen import LinuxNext

from bisector.exitcodes import ExitCode
from bisector.model import Signal, Trial
from bisector.store import Store
from tests.stopping import as_from_a_terminal
from tests.target.fake_kernel import FakeTree
from tests.trial.trialing import TrialSetup

pytest.importorskip("distributed")

ROOT = Path(__file__).parents[2]
BISECTOR = str(Path(sys.executable).with_name("bisector"))
SOURCES = {"drivers/core.c": "core\n", "drivers/disk.c": "disk\n"}
BUGS = {"leg": ("md", "drivers/disk.c"), "loss": ("block", "drivers/core.c")}
"""By the recipe that sees it: the branch that brings it, and the file that it is in."""

RECIPE = """\
recipe: NAME
target: {kernel: {config: [./small.config]}}
vm: {accel: tcg}
trials: 1
steps:
  - NAME: {run: ['true']}
bad_when:
  failed: {exit: {NAME: 3}}
good_when:
  passed: {exit: {NAME: 0}}
"""
WATCH = """\
nightly: watched
repo: REPO
recipes: [./leg.yaml, ./loss.yaml]
check_fixed: false
out: out
"""
PLAYED = """
kernel = open(sys.argv[sys.argv.index("--run") + 1], "rb").read()
(step,) = plan.steps
mark("begin"); result(); mark("storage")
time.sleep(0.3)
code = 3 if ("bug of %s\\n" % step.name).encode() in kernel else 0
finish(steps=(StepFacts(step.name, 0.0, 0.3, done=True, exit=code),))
time.sleep(600)
"""


@dataclass
class Scene:
    """A watch on a linux-next of small kernels, all of it below one folder."""

    folder: Path
    culprits: dict[str, str]
    environ: dict[str, str]

    def watch(self, *lines: str) -> Path:
        """The file of the watch, with these lines of its own."""
        file = self.folder / "watch" / "nightly.yaml"
        file.write_text(WATCH.replace("REPO", str(self.folder / "linux-next.git")) + "".join(f"{x}\n" for x in lines))
        return file

    @contextmanager
    def nightly(self, *lines: str) -> Iterator[subprocess.Popen[str]]:
        """One call of the command."""
        argv = [BISECTOR, "nightly", str(self.watch(*lines)), "--cluster", "local:2", "--json"]
        with (self.folder / "said").open("a") as said:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=self.environ, text=True,
                preexec_fn=as_from_a_terminal,
            )  # fmt: skip
            try:
                yield child
            finally:
                child.kill()
                child.communicate()

    def night(self, *lines: str) -> tuple[int, dict[str, Any]]:
        """A call to its end: exit code, and what it says of the night."""
        with self.nightly(*lines) as child:
            return self.ended(child)

    def ended(self, child: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
        """How a call ends."""
        out, _ = child.communicate(timeout=600)
        assert out, self.said
        return child.returncode, json.loads(out)["nightly"]

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def trials(self) -> dict[str, tuple[Trial, ...]]:
        """Those that are stored, by campaign."""
        store = Store(self.folder / "state/bisector")
        try:
            return {row.id: store.trials(row.id) for row in store.campaigns()}
        finally:
            store.close()

    def processes(self) -> dict[int, str]:
        """Pid → command of what runs of this scene."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"XDG_STATE_HOME={self.folder}" in (place / "environ").read_text(errors="replace"):
                    found[int(place.name)] = (place / "cmdline").read_text(errors="replace").replace("\0", " ")
        return found

    def pid_of(self, worker: str) -> int:
        """A worker's. One that it starts has its words until it is another program."""
        words = ("distributed.cli.dask_worker", f"--name {worker} ")
        return min(pid for pid, line in self.processes().items() if all(word in line for word in words))

    def tries(self, worker: str) -> bool:
        """Whether it runs a trial."""
        return any((self.folder / f"state/bisector/workers/{worker}/state/bisector/work").glob("*"))

    def wait(self, true: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.said
            time.sleep(0.02)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    setup = TrialSetup(tmp_path / "trial", None)  # type: ignore[arg-type]  # for its vng alone
    setup.play(PLAYED)
    small = FakeTree(tmp_path / "small", SOURCES).write()
    files = {
        str(path.relative_to(small.folder)): path.read_text() for path in small.folder.rglob("*") if path.is_file()
    }
    tree = LinuxNext.make(tmp_path / "linux-next.git")
    tree.mainline_commit("init: import", dict(files))
    for name in tree.branches:
        tree.forks[name] = tree.mainline
    culprits = {
        name: tree.branch_commit(branch, f"bring a {name}", {file: f"{SOURCES[file]}bug of {name}\n"})
        for name, (branch, file) in BUGS.items()
    }
    tree.branch_commit("md", "more work")
    tree.release(1)
    watch = tmp_path / "watch"
    watch.mkdir()
    (watch / "small.config").write_text("CONFIG_BLOCK=y\n")
    for name in BUGS:
        (watch / f"{name}.yaml").write_text(RECIPE.replace("NAME", name))
    environ = {
        **os.environ,
        "PATH": f"{setup.bin}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(setup.work),
    }
    return Scene(tmp_path, culprits, environ)


def test_a_night_that_its_budgets_cut_short_and_that_loses_a_worker_finds_both_bugs(scene: Scene) -> None:
    code, night = scene.night("machine_budget: 4s")
    assert night["stopped"] == "the night's budget of machine time is spent", scene.said
    assert night["machine"] >= 4 and night["used_machine"] == 0
    code, night = scene.night("budget: 3s")
    assert night["stopped"] == "the night's budget of time is spent", scene.said
    before = scene.trials()
    with scene.nightly() as child:
        scene.wait(lambda: scene.tries("worker-1"))
        os.kill(scene.pid_of("worker-1"), signal.SIGKILL)
        code, night = scene.ended(child)
    assert (code, night["stopped"], night["troubles"]) == (ExitCode.BAD, "", []), scene.said
    found = {each["id"]: each["culprit"] and each["culprit"]["oid"] for each in night["regressions"]}
    assert found == {f"{name}-failed": oid for name, oid in scene.culprits.items()}
    assert "worker-1: the worker ended by signal 9; it is started again (1 of 3 times)" in scene.said
    assert "Traceback" not in scene.said
    after = scene.trials()
    assert all(after[name][: len(trials)] == trials for name, trials in before.items()), "what had ended is kept"
    counted = Counter(
        (name, trial.stage, trial.cell, trial.image, trial.plan, trial.seed)
        for name, trials in after.items()
        for trial in trials
        if trial.reading.signal is not Signal.INFRA
    )
    assert set(counted.values()) == {1}, "no trial counts twice"
    workers = {trial.observation.worker for trials in after.values() for trial in trials}
    assert workers == {"worker-1", "worker-2"}
    assert scene.processes() == {} and not list((scene.folder / "state/bisector/processes").glob("*"))
    code, night = scene.night()
    assert (code, night["ran"]) == (ExitCode.OK, False), "no new day, nothing is run"
