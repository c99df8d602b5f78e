# SPDX-License-Identifier: GPL-2.0-only
"""Whole campaigns on planted histories: against a plain script for ``git bisect run``, and with more at once."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BISECTOR = Path(sys.executable).with_name("bisector")
RECIPE = "virtio-open-lvm-raid1"
EMULATED = ("--cell", "vm.accel=tcg")  # as the plain script says; a store of its own would try KVM first, for a minute
CELL = ("--cell", "guest.drives.vda.aio=native", *EMULATED)
ONE_PROCESSOR = ("--cell", "vm.cpus=1")
ENDS = ("--good", "good", "--bad", "bad")


@dataclass(frozen=True)
class Run:
    """A command's wall seconds, the seconds that the host's processors were busy meanwhile, exit code, last lines."""

    seconds: float
    busy: float
    code: int
    lines: tuple[str, ...]

    @classmethod
    def of(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Run:
        os.sync()  # what was copied for it is not written while it runs
        began, before = time.monotonic(), busy()
        done = subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8"
        )
        lines = (done.stdout or done.stderr).splitlines()
        return cls(time.monotonic() - began, busy() - before, done.returncode, tuple(lines[-12:]))

    def show(self, name: str) -> None:
        used = self.busy / self.seconds / (os.cpu_count() or 1)
        print(f"{name:<34} {self.seconds:8.0f} s  processors {self.busy:.0f} s ({used:.0%})  exit {self.code}")
        print("\n".join("    " + line for line in self.lines), flush=True)


def busy() -> float:
    """Seconds since its boot that the host's processors worked, all of them together: a sandbox's processes are
    nobody's children, so they are counted with the rest (proc(5), /proc/stat; waiting for a disk is no work).
    """
    with Path("/proc/stat").open(encoding="utf-8") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def folders(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command whose caches and store lie in ``home``."""
    return dict(environ) | {
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "CCACHE_DIR": str(home / "cache/bisector/ccache"),
    }


def against_plain(
    repos: Sequence[Path], options: Sequence[str], ccache: Path | None, work: Path, environ: Mapping[str, str]
) -> None:
    """``bisector run`` and ``plain-bisect.sh`` on each history, each with fresh folders and the same compiler's cache.

    ``options`` are more arguments of ``bisector run``. Prints seconds, exit codes, last lines and the ratios.
    """
    ratios = []
    for repo in repos:
        ours = [str(BISECTOR), "run", RECIPE, "--repo", str(repo), *ENDS, *CELL, *options]
        seconds = {}
        for name in ("bisector", "plain"):
            with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", dir=work) as folder:
                home = Path(folder)
                (home / "cache/bisector").mkdir(parents=True)
                if ccache:
                    shutil.copytree(ccache, home / "cache/bisector/ccache")
                plain = ["bash", str(HERE / "plain-bisect.sh"), str(repo), folder, str(HERE.parent / "kconfigs")]
                run = Run.of(ours if name == "bisector" else plain, folders(home, environ))
            run.show(f"{repo.name} {name}")
            seconds[name] = run.seconds
        ratios.append(seconds["bisector"] / seconds["plain"])
        print(f"{repo.name} ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (goal: at most 1.0)")


def with_slots(repo: Path, options: Sequence[str], ccache: Path | None, work: Path, environ: Mapping[str, str]) -> None:
    """One trial at a time and no build ahead, against two, VMs of one processor, the good end built.

    Four campaigns, in the order one, two, two, one: what only the first or the last one pays falls on both. With two
    there are as many builds ahead as the command chooses by itself, unless ``options`` say otherwise: more arguments of
    that ``bisector run``. Each begins with a copy of the same folders, at the same path: git's worktrees know
    themselves by their paths. All copies are made, written and read before the first begins, and none is removed before
    the last ends. Prints seconds, exit codes, last lines and the ratio of the sums.
    """
    one, two = ("--trials-at-once", "1", "--ahead", "0"), ("--trials-at-once", "2", *options)
    order = (one, two, two, one)
    with tempfile.TemporaryDirectory(prefix="bench-slots-", dir=work) as folder:
        home = Path(folder, "home")
        (home / "cache/bisector").mkdir(parents=True)
        if ccache:
            shutil.copytree(ccache, home / "cache/bisector/ccache")
        common = [RECIPE, "--repo", str(repo), *CELL, *ONE_PROCESSOR]
        argv = [str(BISECTOR), "test", *common, "--rev", "good", "--trials", "1"]
        Run.of(argv, folders(home, environ)).show("good end")
        copies = [Path(folder, f"copy-{number}") for number in range(len(order))]
        for copy in copies:
            shutil.copytree(home, copy, symlinks=True)
        shutil.rmtree(home)
        os.sync()
        seconds: dict[tuple[str, ...], list[float]] = {one: [], two: []}
        for more, copy in zip(order, copies, strict=True):
            _read(copy)
            copy.rename(home)
            run = Run.of([str(BISECTOR), "run", *common, *ENDS, *more], folders(home, environ))
            run.show(" ".join(more))
            seconds[more].append(run.seconds)
            home.rename(copy)
    print(f"ratio {sum(seconds[two]) / sum(seconds[one]):.2f} (goal: at most 0.75)")


def _read(folder: Path) -> None:
    """Reads each file once, so that no run finds more of its files in memory than another."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass
