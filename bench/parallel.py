# SPDX-License-Identifier: GPL-2.0-only
"""How much several trials at once help: trials are timed sleeps of a real trial's length, everything else is real."""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.store_cost import CANDIDATE, CASE, SEEN, row
from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign
from bisector.execute.local import LocalExecutor
from bisector.interfaces import CancelToken, Listener, Runner, ignore
from bisector.judge import Judge
from bisector.model import Image, Observation
from bisector.recipe.model import Recipe
from bisector.session import Setting
from bisector.store import Store
from bisector.system.xdg import Folders
from bisector.tools import JudgeTools
from bisector.verdict.fixed import FixedTrials
from tests.campaign.acting import Acted, ActedRunner, ActedSession, World, history

SLOTS = (1, 2, 4, 8, 16, 64)
GOALS = {16: 0.9, 64: 0.8}
EACH = 8
"""Trials for each slot."""
CLEAN = replace(SEEN, result=Result(complete=True, layers=(LayerFacts("boot", "/dev/x", health="healthy"),),
                                    steps=(StepFacts("load", 2.0, 3.0, done=True),)))  # fmt: skip
SPREAD = 0.15
"""Part of its length by which a trial is shorter or longer."""
COMMITS = 1000


def trial_sleeps(seconds: float) -> None:
    time.sleep(seconds * random.uniform(1 - SPREAD, 1 + SPREAD))


@dataclass
class _Sleeps:
    """A target without builds, and a runner whose trials sleep."""

    seconds: float

    def key(self, candidate: object) -> str:
        return "one"

    def image(self, candidate: object, *, listener: Listener, cancel: CancelToken) -> Image:
        return Image("i" * 64, "/dev/null")

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        trial_sleeps(self.seconds)
        return CLEAN


@dataclass
class _SlowRunner(ActedRunner):
    seconds: float = 0.0

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        trial_sleeps(self.seconds)
        return super().run(image, plan, folder, listener=listener, cancel=cancel)


class _Session(ActedSession):
    seconds = 0.0

    def runner(self, recipe: Recipe) -> Runner:
        return _SlowRunner(self.world, seconds=self.seconds)


def series(slots: int, seconds: float) -> tuple[float, float]:
    """(how many times as fast as one slot would be, CPU milliseconds of the driver a trial) of one long series."""
    trials = EACH * slots
    with tempfile.TemporaryDirectory(prefix="bench-parallel-") as folder:
        store = Store(Path(folder))
        store.add_campaign(row("c"))
        with LocalExecutor(builds=1, trials=slots) as pool:
            sleeps = _Sleeps(seconds)
            judge = Judge(JudgeTools(sleeps, sleeps, store, "c", pool, ignore, CancelToken(), slots))
            began, used = time.monotonic(), time.process_time()
            judged = judge.ask(CANDIDATE, replace(CASE, rule=FixedTrials(trials)), "search")
            assert judged.counts == (0, trials), judged.reason
            took, cpu = time.monotonic() - began, time.process_time() - used
        store.close()
    return trials * seconds / took, 1000 * cpu / trials


def campaign(slots: int, seconds: float, rate: float) -> tuple[int, float, float, bool]:
    """(trials that count, wall seconds, CPU milliseconds a trial, whether the planted commit was named)."""
    with tempfile.TemporaryDirectory(prefix="bench-parallel-") as name:
        folder = Path(name)
        planted = history(folder / "linux", COMMITS, bug=range(617, COMMITS))
        acted = Acted(planted, Folders(folder / "cache", folder / "state"), World(rate=rate))
        setting = Setting(acted.folders, {}, ignore, 1, trials_at_once=slots)
        with _Session(setting, acted.world) as session:
            session.seconds = seconds
            began, used = time.monotonic(), time.process_time()
            found, outcome = CommitCampaign(acted.request("c0", f"c{COMMITS - 1}"), session).run()
            took, cpu = time.monotonic() - began, time.process_time() - used
            trials = len(session.store.trials(found.id))
    return trials, took, 1000 * cpu / trials, acted.named(outcome) == {"c617"}


def main(seconds: float, slots: tuple[int, ...], campaigns: tuple[int, ...]) -> None:
    """Print the figures. ``seconds``: a trial's length; ``campaigns``: slots with which a whole campaign is run."""
    print(f"trials of {seconds:g} s, {SPREAD:.0%} more or less; {EACH} for each slot in one series")
    for count in slots:
        speed, cpu = series(count, seconds)
        goal = f" (goal {GOALS[count]:.1f})" if count in GOALS else ""
        print(f"{count:>3} slots: {speed:6.2f} times one, {speed / count:.2f} a slot{goal}; CPU {cpu:.1f} ms a trial")
    for count in campaigns:
        trials, took, cpu, right = campaign(count, seconds, 0.1)
        words = "the planted commit" if right else "another outcome"
        print(
            f"campaign over {COMMITS} commits, rate 0.1, {count} slots: {trials} trials in {took / 60:.1f} min, "
            f"{trials * seconds / took:.1f} at once on average; CPU {cpu:.1f} ms a trial; {words}"
        )
