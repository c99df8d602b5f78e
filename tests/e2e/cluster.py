# SPDX-License-Identifier: GPL-2.0-only
"""A campaign on three hosts over SSH, with faults: network namespaces with an sshd, addresses and folders of their own.

    python -m tests.e2e.cluster [--seed S] [--cut SECONDS] [--near N]

The planted history of the end-to-end test, with real builds and VMs and no shared folder. A worker is killed in the
middle of a build, another in a trial, a third host is cut off the network for a minute; then the scheduler is killed,
and the campaign goes on alone with --resume. The planted commit must be named, no finished trial be lost or counted
twice, and nothing be left running on any host. Needs root. Takes half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bisector.errors import InfraError
from bisector.exitcodes import ExitCode
from bisector.model import Signal, Trial
from bisector.store import Store
from tests.cluster.counted import wrong
from tests.cluster.hosts import Host, Lab, lab, missing
from tests.e2e import fastimport, prepare
from tests.e2e.harness import BISECTOR, CELL, OPEN_PROBE, ROOT, Said, Scene, json_object, play, still_there, tee
from tests.e2e.history import Manifest
from tests.e2e.kill import stored_trials
from tests.e2e.layout import UNTESTABLE

HOSTS = ("alpha", "beta", "gamma")
LIMIT = 40 * 60.0  # seconds for a command
PATIENCE = 15 * 60.0  # seconds for a moment to come up
TICK = 0.3
LOUD = ("LD_PRELOAD", "MAKEFLAGS", "MAKELEVEL")  # of the caller, and nothing to a host


@dataclass
class Faults:
    """Breaks one thing after the other while the campaign runs, each at its moment."""

    lab: Lab
    cut: float
    ended: threading.Event = field(default_factory=threading.Event)
    done: list[str] = field(default_factory=list)
    left_when_cut: dict[int, str] = field(default_factory=dict)

    def all(self) -> None:
        """In a thread, until the campaign ends."""
        builder = self._wait("a build on a worker", _builds, self.lab.hosts)
        if builder is None:
            return
        self._worker_killed(builder, "build")
        tester = self._wait("a trial", _tries, [host for host in self.lab.hosts if host is not builder])
        if tester is None:
            return
        self._worker_killed(tester, "trial")
        third = self._wait("a trial on the third", _tries, [h for h in self.lab.hosts if h not in (builder, tester)])
        if third is None:
            return
        prepare.stderr(f"FAULT {third.name} is cut off the network for {self.cut:g} s")
        third.cut()
        self.ended.wait(self.cut)
        self.left_when_cut = {pid: line for pid, line in third.processes().items() if _tries_line(line)}
        third.mend()
        self.done.append("cut")
        if self._wait("the third host's worker is back", _serves, [third]) is None:
            return
        self.done.append("back")
        if self._wait("a trial after that", _tries, [third]) is None:
            return
        prepare.stderr("FAULT the scheduler is killed")
        os.kill(self.lab.campaign.pid("dask_scheduler"), signal.SIGKILL)
        self.done.append("scheduler")

    def _worker_killed(self, host: Host, moment: str) -> None:
        prepare.stderr(f"FAULT the worker of {host.name} is killed in a {moment}")
        os.kill(host.pid("dask_worker"), signal.SIGKILL)
        self.done.append(moment)

    def _wait(self, what: str, true: Callable[[Host], bool], hosts: list[Host] | tuple[Host, ...]) -> Host | None:
        """The first of the hosts of which it is true; None when the campaign ends, or after a long time."""
        end = time.monotonic() + PATIENCE
        while not self.ended.wait(TICK) and time.monotonic() < end:
            for host in hosts:
                if true(host):
                    self.ended.wait(2)  # into the middle of it
                    return host
        prepare.stderr(f"did not come up: {what}")
        return None


def _builds(host: Host) -> bool:
    return any("/cc1 " in line or line.startswith(("make ", "gcc ", "ccache ")) for line in host.processes().values())


def _tries(host: Host) -> bool:
    return any(_tries_line(line) for line in host.processes().values())


def _tries_line(line: str) -> bool:
    return line.startswith("qemu-system") or "/qemu-system" in line.split(" ")[0]


def _serves(host: Host) -> bool:
    return any("dask_worker" in line for line in host.processes().values())


@dataclass(frozen=True)
class ThreeHosts:
    """The campaign, and what it left."""

    scene: Scene
    lab: Lab
    repo: Path
    good: str
    bad: str

    def run(self, name: str, *more: str, faults: Faults | None = None) -> Said:
        """``bisector run`` on the campaign's host; its progress goes to ``logs/NAME.log`` and our stderr."""
        ends = ("--repo", str(self.repo), "--good", self.good, "--bad", self.bad, "--events", str(self.events))
        cells = ("--cell", CELL, "--cell", "vm.cpus=1")
        argv = [BISECTOR, "run", str(OPEN_PROBE), *ends, *cells, "--json", *more]
        prepare.stderr(f"$ {shlex.join(argv)}")
        environ = {name: value for name, value in self.lab.environ.items() if name not in LOUD}
        with (self.scene.logs / f"{name}.log").open("w") as log:
            child = subprocess.Popen(
                self.lab.command(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environ, text=True,
            )  # fmt: skip
            timer = threading.Timer(LIMIT, child.kill)
            reader = threading.Thread(target=tee, args=(child.stderr, log))
            threads = [timer, reader, *([threading.Thread(target=faults.all)] if faults else [])]
            for thread in threads:
                thread.start()
            assert child.stdout is not None
            stdout = child.stdout.read()
            code = child.wait()
            timer.cancel()
            if faults:
                faults.ended.set()
            for thread in threads:
                thread.join()
            log.write(stdout)
        return Said(code, stdout, json_object(stdout))

    @property
    def events(self) -> Path:
        return self.scene.logs / "events"

    def trials(self) -> tuple[Trial, ...]:
        return stored_trials(self.lab.campaign.home / "state/bisector")

    def ahead(self) -> tuple[Trial, ...]:
        """Trials that ended before their turn, and wait for it or were not needed."""
        store = Store(self.lab.campaign.home / "state/bisector")
        try:
            return store.trials_ahead(store.campaigns()[-1].id)
        finally:
            store.close()

    def nothing_left(self, when: str) -> None:
        left: dict[str, object] = {**self.lab.left()}
        for host in (self.lab.campaign, *self.lab.hosts):
            if records := list((host.home / "state/bisector/processes").glob("*.json")):
                left[f"records of {host.name}"] = records
        self.scene.checks.that(f"{when}: nothing runs on any host", not left, str(left)[:500])


def story(scene: Scene, given: argparse.Namespace) -> None:
    """See the module's first lines."""
    if why := missing():
        raise InfraError(f"several hosts cannot be played: {why}")
    with scene.phase("source and history"):
        repo, manifest = prepare.planted(scene.place, given)
    folder, checks = scene.place.root / "cluster", scene.checks
    shutil.rmtree(folder, ignore_errors=True)
    _seed(folder, scene.place.root / "cache/bisector/ccache")
    with lab(folder, HOSTS, {"PYTHONPATH": str(ROOT)}) as made:
        three, faults = ThreeHosts(scene, made, repo, *_ends(repo, manifest, given.near)), Faults(made, given.cut)
        with scene.phase("campaign on three hosts, until the scheduler is killed"):
            first = three.run("cluster", "--cluster", f"ssh:{_file(folder)}", faults=faults)
        wanted = ["build", "trial", "cut", "back", "scheduler"]
        checks.that("each fault came", faults.done == wanted, str(faults.done))
        checks.that("the host that was cut off ended its VMs itself", not faults.left_when_cut)
        checks.that("without scheduler: exit code 3", first.code == ExitCode.INFRA, str(first.code))
        three.nothing_left("without scheduler")
        before, ahead = three.trials(), three.ahead()
        with scene.phase("the rest of it alone, with --resume"):
            last = three.run("alone", "--resume")
        three.nothing_left("at the end")
        checks.that("the resumed campaign: exit code 0", last.code == 0, str(last.code))
        checks.that("it names the planted commit", last.culprit == manifest.culprit, last.culprit)
        kept = {trial.folder for trial in (*three.trials(), *three.ahead())}
        checks.that("trials that ended before their turn are kept", {trial.folder for trial in ahead} <= kept)
        _counted(three, before)
    left = still_there()
    checks.that("no process of ours is left", not left, ", ".join(left))


def _ends(repo: Path, manifest: Manifest, near: int) -> tuple[str, str]:
    """The ends of the search: those of the history, or the ``near``-th testable commit on each side of the culprit."""
    if not near:
        return "good", "bad"
    roles = {commit.oid: commit.role for commit in manifest.commits}

    def nth(*words: str) -> str:
        listed = fastimport.git(repo, "rev-list", *words).split()
        return [oid for oid in listed if roles.get(oid) not in UNTESTABLE][:near][-1]

    before = nth("--first-parent", f"{manifest.culprit}^")
    return before, nth("--ancestry-path", "--reverse", f"{manifest.culprit}..bad")


def _counted(three: ThreeHosts, before: tuple[Trial, ...]) -> None:
    """No finished trial was lost or counted twice, by the store and by the events."""
    trials, checks = three.trials(), three.scene.checks
    faults = wrong(before, trials, three.events)
    checks.that("no finished trial was lost, none counts twice", bool(before) and not faults, "; ".join(faults[:5]))
    events = [json.loads(line) for line in three.events.read_text().splitlines()]
    every = (*trials, *three.ahead())
    by_worker = Counter(trial.observation.worker or "the campaign's host" for trial in every)
    checks.that("each host ran trials", set(HOSTS) <= set(by_worker), str(by_worker))
    failed = [t.observation.worker for t in trials if t.reading.signal is Signal.INFRA]
    print(f"{len(trials)} trials, {len(before)} of them before the resume; with those ahead by host: {dict(by_worker)}")
    print(f"failed in the harness, with their hosts: {failed}")
    builds = Counter(event.get("worker", "") for event in events if event["event"] == "build")
    print(f"events of builds by host ('': the campaign's): {dict(builds)}")


def _file(folder: Path) -> Path:
    """A file of the hosts: one VM at a time, as they share the processors of this machine."""
    path = folder / "hosts"
    path.write_text("".join(f"{name} trial=1 build=1 bisector={BISECTOR}\n" for name in HOSTS))
    return path


def _seed(folder: Path, ccache: Path) -> None:
    """Each host its own copy of the compiler's cache of the end-to-end test, or this would take hours."""
    ccache.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ccache, folder / "campaign/cache/bisector/ccache")
    for name in HOSTS:
        shutil.copytree(ccache, folder / name / "cache/bisector/workers" / name / "bisector/ccache")


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.cluster", (__doc__ or "").split("\n")[0])
    parser.add_argument("--cut", type=float, default=60.0, help="seconds without network")
    parser.add_argument("--near", type=int, default=0, help="ends that many commits from the culprit: fewer builds")
    given = parser.parse_args(argv)
    return play("e2e-cluster", lambda scene: story(scene, given))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
