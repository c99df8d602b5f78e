# SPDX-License-Identifier: GPL-2.0-only
"""What the sandbox costs: a boot, and a build after one file changed, with and without it in turns."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.interfaces import CancelToken, ignore
from bisector.model import BuildConfig, BuildFailure, Candidate, Ending, Image, TargetKind
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes
from bisector.system.sandbox import UNCONFINED, Access
from bisector.target.kernel_source import KernelSource
from bisector.target.make import OBJECTS, Make, environment
from bisector.trial.run import VmRunner

FILE = "block/fops.c"  # one source of every kernel that has block devices
Run = Callable[[Processes], float]


def boot(image: Path, environ: dict[str, str], folder: Path) -> Run:
    """One boot to the agent and down again, emulated."""

    def run(processes: Processes) -> float:
        place = Path(tempfile.mkdtemp(dir=folder))
        runner = VmRunner(processes, folder, environ, accel="tcg", boot_deadline=600.0)
        began = time.monotonic()
        seen = runner.run(Image("bench", str(image)), Plan(steps=()), place, listener=ignore, cancel=CancelToken())
        taken = time.monotonic() - began
        if seen.ending is not Ending.FINISHED:
            raise SystemExit(f"the boot ended as {seen.ending}: {seen.detail}")
        return taken

    return run


def build(repo: Path, revision: str, jobs: int, cache: Path, processes: Processes) -> Run:
    """One build of a kernel after ``FILE`` changed; the whole build before is not measured."""
    user = UserRepository(repo)
    clone = PrivateClone.of(user, cache / "state", processes)
    config = BuildConfig(("base", "lvm-raid"))
    target = KernelSource(clone, cache / "build-dirs", cache, config, processes, jobs=jobs)
    candidate = Candidate(TargetKind.KERNEL_SOURCE, user.resolve(revision).oid)
    made = target.image(candidate, listener=ignore, cancel=CancelToken())
    if isinstance(made, BuildFailure):
        raise SystemExit(f"{candidate} cannot be built: {made.errors}")
    build_dir = cache / "build-dirs/0"
    if (build_dir / "objects").is_dir():
        (build_dir / "objects").rename(build_dir / "tree" / OBJECTS)
    make, env = Make(jobs=jobs, ccache="ccache"), environment(os.environ, cache / "ccache")
    access = Access((build_dir / "tree", cache / "ccache"))

    def run(using: Processes) -> float:
        with (build_dir / "tree" / FILE).open("a") as source:
            source.write(f"/* {time.time_ns()} */\n")  # another text each time: no compiler's cache knows it
        began = time.monotonic()
        using.run(make.argv(build_dir / "tree", "bzImage"), access=access, env=env)
        return time.monotonic() - began

    return run


def compare(name: str, run: Run, confined: Processes, runs: int, goal: float) -> None:
    """Runs in turns; prints both and the median of the ratios.

    Each measured run follows one of its own kind that is thrown away: a kernel's make looks at its config again when
    what it sees around it is another than the last time.
    """
    open_ = replace(confined, sandbox=UNCONFINED)
    pairs = []
    for number in range(runs):
        order = (confined, open_) if number % 2 else (open_, confined)
        taken = {processes.sandbox.off: (run(processes), run(processes))[1] for processes in order}
        pairs.append((taken[False], taken[True]))
    for words, column in (("in the sandbox", 0), ("without", 1)):
        seconds = [pair[column] for pair in pairs]
        print(f"{name} {words:<16} {min(seconds):8.2f} {statistics.median(seconds):8.2f} {max(seconds):8.2f} s")
    more = statistics.median(ours / bare for ours, bare in pairs) - 1
    print(f"{name} costs {more:+.1%} (median of {runs} pairs; goal: at most {goal:.0%})", flush=True)


def bench(image: Path | None, repo: Path | None, revision: str, work: Path, environ: dict[str, str], runs: int) -> None:
    """Measure what was given: ``image`` boots, ``repo`` builds. ``work`` keeps the build for the next time."""
    with tempfile.TemporaryDirectory(prefix="bench-sandbox-", dir="/var/tmp") as folder:
        processes = Processes(Path(folder, "processes"))
        if image:
            compare("boot", boot(image, environ, Path(folder)), processes, runs, 0.03)
        if repo:
            cache = work / "bisector-bench-sandbox"
            cache.mkdir(parents=True, exist_ok=True)
            one = build(repo, revision, os.cpu_count() or 1, cache, processes)
            compare("one file", one, processes, runs, 0.05)
