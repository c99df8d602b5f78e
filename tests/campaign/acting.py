# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns over planted git histories whose kernels are acted: what a trial shows is drawn from its seed, as files of
the commit's tree say. Git, clone, edits, store and all decisions are the real ones.

Files of a tree: ``bug`` (it is there), ``broken`` (does not build), ``panics`` (does not boot), ``mask`` (a second bug
crashes the trials that would have reproduced), ``oopses`` (a second bug crashes part of all trials). A file ``X.if.Y``
stands for X where there is a file Y, ``X.unless.Y`` where there is none: ``panics.unless.helper``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.causes import BuildStage
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.model import (
    BuildFailure,
    Candidate,
    ConsoleEvent,
    Ending,
    EventKind,
    Image,
    Observation,
    Outcome,
    Timing,
)
from bisector.recipe.load import loads
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.search.clone import PrivateClone
from bisector.session import Session, Setting
from bisector.store import CampaignRow
from bisector.system.xdg import Folders
from tests.search.planted import Planned, Planted

RECIPE = """\
recipe: acted
target: {kernel: {config: [base, lvm-raid]}}
search: {good: a, bad: b}
confidence: {max_error: 0.01}
storage:
  leg0: {disk: nvme, size: 128M}
  leg1: {disk: nvme, size: 128M}
  boot: {lvm: raid1, of: [leg0, leg1], size: 32M}
steps:
  - load: {io: boot, read: 4k, LASTING}
bad_when:
  leg-failed: {console: {vm: 'Disk failure on'}}
good_when:
  healthy: {health: {boot: healthy}}
"""
FUNCTIONS = "raid1_read_request"
OOPSES = 0.5
ABORTED = Observation(Ending.HARNESS, detail="QEMU was killed by signal 6: qemu-system-x86_64: Assertion failed")


@dataclass
class World:
    """How the planted bugs behave.

    Args:
        rate: chance that a trial of a bad kernel reproduces, however long it lasts.
        shows: mean seconds until the bug shows; then it is the trial's length that decides, and ``rate`` does not.
        other: chance that a trial ends in another crash, whatever the kernel.
        background: chance that a trial of a good kernel reproduces.
        late: it does so in proofs only, so that neither ends nor search can know.
        fails_after: trials after which the harness breaks for good.
    """

    rate: float = 1.0
    shows: float = 0.0
    other: float = 0.0
    background: float = 0.0
    late: bool = False
    fails_after: int = 10**9
    built: list[str] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)


def history(folder: Path, count: int, **files: range) -> Planted:
    """A strand of ``count`` commits c0, c1 ...; ``bug=range(9, 17)`` puts the file bug into those commits."""
    plan = []
    for number in range(count):
        made = tuple(
            (name, name if number in there else None) for name, there in files.items() if _changes(number, there)
        )
        plan.append(Planned(f"c{number}", (f"c{number - 1}",) if number else (), made))
    return Planted(folder, plan)


def _changes(number: int, there: range) -> bool:
    return (number in there) is not (number - 1 in there)


def traits(files: Iterable[str]) -> set[str]:
    """What a kernel is, by the files of its tree."""
    there = set(files)
    depends = [name.split(".") for name in there if name.count(".") == 2]
    return there | {what for what, word, other in depends if (other in there) is (word == "if")}


@dataclass
class ActedTarget:
    """Builds nothing: the image is the tree's name and what of it matters."""

    clone: PrivateClone
    folder: Path
    world: World

    def key(self, candidate: Candidate) -> str:
        return self.clone.tree_of(candidate)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        tree = self.clone.tree_of(candidate)
        files = traits(self.clone.history().query("ls_tree", "--name-only", tree).split())
        self.world.built.append(candidate.revision)
        if "broken" in files:
            return BuildFailure(BuildStage.COMPILE, ("drivers/md/dm-raid.c:1: error: x undeclared",))
        kernel = self.folder / f"{tree}.kernel"
        kernel.write_text(" ".join(sorted(files)))
        return Image(identity=tree, kernel=str(kernel))


@dataclass
class ActedRunner:
    """Draws what a trial shows from its seed."""

    world: World

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if len(self.world.plans) >= self.world.fails_after:
            return Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
        if not plan.steps:
            return _seen("healthy", 0.0)
        self.world.plans.append(plan)
        files = Path(image.kernel).read_text().split()
        if "panics" in files:
            return Observation(Ending.NO_AGENT)
        drawn = sum(
            plan.seed == before.seed for before in self.world.plans
        )  # one drawn again ends otherwise, as in a VM
        chance = random.Random(f"{plan.seed} {drawn}" if "aborts" in files else plan.seed)
        lasting = sum(step.seconds for step in plan.steps)
        if chance.random() < self.world.other or ("oopses" in files and chance.random() < OOPSES):
            return crash()
        quiet = self.world.late and not folder.name.startswith("proof")
        rate = self.world.rate if "bug" in files else self.world.background * (not quiet)
        at = chance.expovariate(1 / self.world.shows) if self.world.shows else chance.random() * (lasting or 1.0)
        reproduces = chance.random() < rate and at <= (lasting or 1.0)
        if reproduces and "mask" in files:
            return crash()
        if reproduces and "aborts" in files:
            return ABORTED
        decisive = any(watch.decisive for watch in plan.watches)
        return _seen("degraded" if reproduces else "healthy", at if reproduces else lasting, decisive)


def _seen(health: str, at: float, decisive: bool = True) -> Observation:
    layers = (LayerFacts("boot", "/dev/x", 511, 512, health),)
    timing = Timing(6.0, 2.0, at, 8.0 + at)
    if health == "degraded":
        line = ConsoleEvent(8.0 + at, "vm", EventKind.WATCH, "leg-failed/0", "md/raid1:mdX: Disk failure on dm-1")
        result = Result(complete=not decisive, layers=layers, steps=(StepFacts("load", 2.0, 2.0, done=not decisive),))
        return Observation(Ending.DECISIVE if decisive else Ending.FINISHED, result, (line,), "", timing)
    steps = (StepFacts("load", 2.0, 2.0 + at, done=True),)
    return Observation(Ending.FINISHED, Result(complete=True, layers=layers, steps=steps), timing=timing)


def crash() -> Observation:
    """Another crash than the recipe's."""
    event = ConsoleEvent(
        8.5, "vm", EventKind.CRASH, "oops", "BUG: kernel NULL pointer dereference", f"oops: {FUNCTIONS}"
    )
    return Observation(Ending.CRASH, Result(), (event,), "", Timing(6.0, 2.0, 0.5, 8.5))


class ActedSession(Session):
    """A session whose kernels are acted."""

    def __init__(self, setting: Setting, world: World) -> None:
        super().__init__(setting)
        self.world = world

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        return ActedTarget(clone, self.setting.folders.state, self.world)

    def runner(self, recipe: Recipe) -> Runner:
        return ActedRunner(self.world)


@dataclass
class Acted:
    """Runs campaigns on one history."""

    planted: Planted
    folders: Folders
    world: World
    messages: list[str] = field(default_factory=list)

    def request(self, good: str, bad: str, **changes: object) -> CommitRequest:
        """``lasting``: seconds of the recipe's ``for:``; ``text``: another recipe; the rest: of CommitRequest."""
        lasting = changes.pop("lasting", 0)
        text = str(changes.pop("text", RECIPE))
        recipe = loads(text.replace("LASTING", f"for: {lasting}s" if lasting else "count: 1"), "acted.yaml")
        oids = self.planted.oid[good], self.planted.oid[bad]
        whole = CommitRequest(recipe, resolved_yaml(recipe), self.planted.folder, *oids, cells(recipe))
        return CommitRequest(**{**vars(whole), **changes})

    def run(self, good: str, bad: str, **changes: object) -> tuple[CampaignRow, Outcome]:
        """One whole campaign."""
        setting = Setting(self.folders, {}, lambda progress: self.messages.append(progress.detail), 1)
        with ActedSession(setting, self.world) as session:
            return CommitCampaign(self.request(good, bad, **changes), session).run()

    def named(self, outcome: Outcome) -> set[str]:
        """The commits that an outcome names, by their planted names."""
        commits = (outcome.culprit,) if outcome.culprit else outcome.suspects
        return {self.planted.name[commit.oid] for commit in commits}


Act = Callable[..., Acted]
