# SPDX-License-Identifier: GPL-2.0-only
"""Kill -9 at random moments of a real campaign, each followed by --resume (law 4). Takes about half an hour.

    python -m tests.e2e.kill [--kills 10] [--seed S]

Compared with an unbroken campaign on the same history: same culprit, same verdicts, same image identities, no finished
trial or build made again. After each kill nothing that we started may live on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bisector.model import Trial
from bisector.store import Store
from tests.e2e import prepare
from tests.e2e.harness import BISECTOR, CELL, OPEN_PROBE, Checks, Said, Scene, json_object, play, still_there

LINKING = ("LD vmlinux", "LD .tmp_vmlinux", "LINK vmlinux", "KSYMS", "NM .tmp_vmlinux", "BTF", "SORTTAB", "OBJCOPY")

MOMENTS = ("compiling", "linking", "boot", "storage", "workload", "between steps", "checkout")
"""What a campaign is doing when it is killed; each comes up at least once in ten kills."""

MEET_WITHIN = 300.0
"""Seconds for a moment to come up; then the kill comes whatever the campaign is doing."""


@dataclass
class Broken:
    """A campaign that is killed again and again, in folders of its own."""

    repo: Path
    home: Path
    checks: Checks
    moments: list[str] = field(default_factory=list)
    met: set[str] = field(default_factory=set)

    @property
    def environ(self) -> dict[str, str]:
        return dict(os.environ) | {
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }

    def command(self, resume: bool) -> list[str]:
        ends = ["--repo", str(self.repo), "--good", "good", "--bad", "bad"]
        argv = [
            BISECTOR,
            "run",
            str(OPEN_PROBE),
            *ends,
            "--cell",
            CELL,
            "--json",
            "--events",
            str(self.events),
        ]
        return argv + ["--resume"] * resume

    def start(self, resume: bool) -> subprocess.Popen[str]:
        log = (self.home / "progress.log").open("a")
        return subprocess.Popen(
            self.command(resume),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=self.environ,
            text=True,
        )

    @property
    def events(self) -> Path:
        return self.home / "events"

    def kill_at(self, moment: str, delay: float, resume: bool) -> bool:
        """Start, wait for the moment, kill -9 a little later; False when the campaign ended before."""
        self.events.unlink(missing_ok=True)
        child = self.start(resume)
        end = time.monotonic() + MEET_WITHIN
        while child.poll() is None and time.monotonic() < end and self.doing() != moment:
            time.sleep(0.02)
        if self.doing() == moment:
            self.met.add(moment)
        try:
            child.wait(delay)
            return False
        except subprocess.TimeoutExpired:
            pass
        self.moments.append(f"{moment}, {delay:.1f} s in: {self.doing()}")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        left = still_there()
        self.checks.that(f"kill {len(self.moments)} ({self.moments[-1]}): nothing lives on", not left, ", ".join(left))
        return True

    def doing(self) -> str:
        """The moment that the campaign is in, by its last event."""
        try:
            lines = self.events.read_text().splitlines()
            last = json.loads(lines[-1])
        except (OSError, IndexError, ValueError):
            return "start"
        kind, detail = last["event"], str(last.get("detail", ""))
        if kind == "build":
            return "linking" if detail.startswith(LINKING) else "compiling"
        return "between steps" if kind in ("verdict", "search") else str(kind)

    def finish(self) -> Said:
        """Let the campaign come to its end."""
        child = self.start(resume=self.begun())
        stdout = child.communicate()[0]
        return Said(child.returncode, stdout, json_object(stdout))

    def trials(self) -> tuple[Trial, ...]:
        return stored_trials(self.home / "state/bisector")

    def begun(self) -> bool:
        """Whether there is a campaign to resume; a kill may come before it is stored."""
        store = Store(self.home / "state/bisector")
        try:
            return bool(store.campaigns())
        finally:
            store.close()

    def builds(self) -> dict[str, int]:
        """Finished builds of the cache with the time at which they were written."""
        folder = self.home / "cache/bisector/builds"
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def stored_trials(state: Path) -> tuple[Trial, ...]:
    """The trials of the newest campaign that ``bisector run`` made there."""
    store = Store(state)
    try:
        rows = [row for row in store.campaigns() if row.state != "test"]
        return store.trials(rows[-1].id) if rows else ()
    finally:
        store.close()


def question(trials: tuple[Trial, ...]) -> list[tuple[str, str, str]]:
    """What the trials of a campaign were, without what differs by chance (seed, time)."""
    return sorted((trial.stage, trial.image, trial.reading.signal.value) for trial in trials)


def story(scene: Scene, given: argparse.Namespace) -> None:
    """An unbroken campaign, and one that is killed again and again."""
    place, checks = scene.place, scene.checks
    repo, manifest = prepare.planted(place, given)
    whole = Broken(repo, _home(place.root / "kill-unbroken", place), checks)
    with scene.phase("unbroken campaign"):
        reference = whole.finish()
    checks.that("unbroken campaign: the planted culprit", reference.culprit == manifest.culprit, reference.culprit)
    broken = Broken(repo, _home(place.root / "kill-broken", place), checks)
    with scene.phase("broken campaign"):
        _break(broken, given.kills, random.Random(given.seed))
        said = broken.finish()
    checks.that("after all kills: the planted culprit", said.culprit == manifest.culprit, said.culprit)
    checks.that("no finished trial was made again", question(broken.trials()) == question(whole.trials()))
    images = [{trial.image for trial in each.trials()} for each in (whole, broken)]
    checks.that("image identities are those of an unbroken campaign", images[0] == images[1])
    checks.that("each moment was met", set(MOMENTS) <= broken.met, ", ".join(set(MOMENTS) - broken.met))
    print("\n".join(broken.moments))


def main(argv: list[str]) -> int:
    """Command line; see the module's first lines."""
    parser = prepare.parser("tests.e2e.kill", (__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    given = parser.parse_args(argv)
    return play("e2e-kill", lambda scene: story(scene, given))


def _break(broken: Broken, kills: int, rng: random.Random) -> None:
    trials: tuple[Trial, ...] = ()
    builds: dict[str, int] = {}
    moments = [MOMENTS[number % len(MOMENTS)] for number in range(kills)]
    rng.shuffle(moments)
    for number in range(kills):
        # a build and a step between two take less than a second of an incremental campaign, a boot takes many
        delay = rng.uniform(0, 0.3 if moments[number] in ("linking", "between steps", "checkout") else 4)
        if not broken.kill_at(moments[number], delay, resume=broken.begun()):
            broken.checks.that(f"{kills} kills fit into the campaign", False, f"it ended after {number}")
            return
        now = broken.trials()
        broken.checks.that(f"kill {number + 1}: finished trials are kept", now[: len(trials)] == trials)
        made = broken.builds()
        broken.checks.that(f"kill {number + 1}: finished builds are kept", builds.items() <= made.items())
        trials, builds = now, made


def _home(folder: Path, place: prepare.Place) -> Path:
    """Fresh folders, with the compiler's cache of the end-to-end test, or this would take hours."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cache/bisector").mkdir(parents=True)
    ccache = place.root / "cache/bisector/ccache"
    ccache.mkdir(parents=True, exist_ok=True)
    (folder / "cache/bisector/ccache").symlink_to(ccache)
    return folder


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
