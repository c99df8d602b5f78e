# SPDX-License-Identifier: GPL-2.0-only
"""A trial of the open probe against a bare boot of the same image, and where its time goes."""

from __future__ import annotations

import os
import re
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bisector.interfaces import CancelToken, ignore
from bisector.model import Ending, Image
from bisector.recipe.load import load
from bisector.recipe.matrix import apply, cells
from bisector.recipe.plan import plan_for
from bisector.system.proc import Processes
from bisector.trial.run import VmRunner

RECIPE = "virtio-open-lvm-raid1"
PHASES = (
    ("QEMU starts, firmware", "vng's Python, QEMU, firmware, unpacking: until the kernel's clock begins"),
    ("kernel", "to its first process"),
    ("init", "virtme's: mounts; udev and its settling where they run"),
    ("agent's first line", "Python, its modules, the plan"),
    ("storage", "disks found, volume group, array, sync"),
    ("inner guest", "QEMU opens its drives and ends"),
    ("observation", "facts and logs, until the end marker has left the VM"),
    ("shutdown", "until QEMU is gone"),
)
_STAMP = re.compile(r"\[ *(\d+\.\d+)\] (.*)")


@dataclass(frozen=True)
class Run:
    """One trial. ``seconds``: of the wall; ``cpu``: of all its processes; ``phases``: seconds of each of PHASES."""

    seconds: float
    cpu: float
    phases: tuple[float, ...]


class Trials:
    """Runs trials of the open probe on one image, emulated."""

    def __init__(self, image: Path, modules: Path | None, folder: Path) -> None:
        recipe = load(RECIPE)
        cell = cells(recipe)[0]
        self._plan = plan_for(apply(recipe, cell), cell)
        self._folder, self._count = folder, 0
        self._image = Image(identity="bench", kernel=str(image), modules=str(modules or ""))
        self._runner = VmRunner(Processes(folder / "processes"), folder, dict(os.environ), accel="tcg")

    def run(self) -> Run:
        """One trial. Raises SystemExit where it did not end as it should."""
        self._count += 1
        place = self._folder / f"trial-{self._count}"
        began, before = time.monotonic(), _cpu()
        seen = self._runner.run(self._image, self._plan, place, listener=ignore, cancel=CancelToken())
        taken, used = time.monotonic() - began, _cpu() - before
        if seen.ending is not Ending.FINISHED:
            raise SystemExit(f"the trial ended as {seen.ending}: {seen.detail}")
        console = (place / "console.log").read_text(errors="replace")
        return Run(taken, used, phases(console, seen.timing.boot, seen.timing.total))


def phases(console: str, boot: float, total: float) -> tuple[float, ...]:
    """Seconds of each of PHASES.

    Args:
        console: of the trial, with the kernel's stamps, which are seconds since its clock began.
        boot, total: seconds from the start of vng to the agent's first line, and to QEMU's end.
    """
    stamps = [(float(found[1]), found[2]) for line in console.splitlines() if (found := _STAMP.match(line))]
    first = _at(stamps, r"Run /\S+ as init process")
    ready = _at(stamps, r"virtme-ng-init: starting script")
    marks = [_at(stamps, rf"bisector \w+ {words}$") for words in ("begin", "storage", "step probe end", "end")]
    begin, storage, probed, last = marks
    inside = (first, ready - first, begin - ready, storage - begin, probed - storage, last - probed)
    # the kernel's clock and this host's agree at the agent's first line
    return (boot - begin, *inside, total - (boot - begin) - last)


def _at(stamps: list[tuple[float, str]], pattern: str) -> float:
    return next((at for at, text in stamps if re.match(pattern, text)), stamps[-1][0])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show_phases(image: Path, modules: Path | None, runs: int) -> None:
    """The table of docs/performance.md: the median of each phase."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        trials = Trials(image, modules, Path(folder))
        trials.run()
        made = [trials.run() for _ in range(runs)]
    print(f"{'phase':<22}{'median':>8}{'least':>8}{'most':>8}  what")
    for number, (name, what) in enumerate(PHASES):
        each = [run.phases[number] for run in made]
        print(f"{name:<22}{statistics.median(each):8.2f}{min(each):8.2f}{max(each):8.2f}  {what}")
    for name, each in (("whole", [run.seconds for run in made]), ("CPU", [run.cpu for run in made])):
        print(f"{name:<22}{statistics.median(each):8.2f}{min(each):8.2f}{max(each):8.2f}")
