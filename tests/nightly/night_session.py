# SPDX-License-Identifier: GPL-2.0-only
"""Nights whose kernels are files: what a tree holds below ``flags/`` is what its kernel does.

git, the store, the search and the proof are the real ones; a thousand builds and boots would not fit into a test.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nextgen import LinuxNext

from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.causes import BuildStage
from bisector.codec import digest
from bisector.interfaces import CancelToken, Listener, Runner, Target, ignore
from bisector.model import BuildFailure, Candidate, Ending, Image, Observation, OutcomeKind, Timing
from bisector.nightly import config, night
from bisector.nightly.config import Watch
from bisector.nightly.night import Report
from bisector.nightly.records import Regression
from bisector.nightly.state import regressions_of
from bisector.recipe.model import Recipe
from bisector.search.clone import PrivateClone
from bisector.session import Session, Setting
from bisector.stage import CampaignState
from bisector.store import CampaignRow, Store
from bisector.system.files import write_whole
from bisector.system.xdg import Folders

FLAG = {"flags/leg": "check less\n"}
LEGS = """\
recipe: legs
title: a read fails a raid1 leg
target: {kernel: {config: [base, lvm-raid]}}
HOW_SURE
storage:
  leg0: {disk: nvme, size: 128M}
  leg1: {disk: nvme, size: 128M}
  boot: {lvm: raid1, of: [leg0, leg1], size: 32M}
steps:
  - probe: {io: boot, read: 4k, direct: true}
bad_when:
  leg-failed: {health: {boot: degraded}}
  escaped: {errno: {probe: EIO}}
good_when:
  healthy: {health: {boot: healthy}, errno: {probe: none}}
"""
PROGRAM = """\
recipe: program
target: {kernel: {config: [base]}}
trials: 2
steps:
  - probe: {run: ['true']}
bad_when:
  failed: {exit: {probe: 3}}
good_when:
  passed: {exit: {probe: 0}}
"""
DISKS = """\
recipe: disks
target: {kernel: {config: [base]}}
trials: 3
storage:
  boot: {disk: nvme, size: 32M}
steps:
  - probe: {io: boot, read: 4k, direct: true}
bad_when:
  escaped: {errno: {probe: EIO}}
good_when:
  healthy: {errno: {probe: none}}
matrix:
  storage.boot.disk: [nvme, scsi]
"""


@dataclass(frozen=True)
class FlagTarget:
    """The image of a tree is the list of its flags."""

    clone: PrivateClone
    folder: Path

    def key(self, candidate: Candidate) -> str:
        return self.clone.tree_of(candidate)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        tree = self.clone.tree_of(candidate)
        flags = self.clone.git.ask("ls-tree", "--name-only", tree, "flags/").split()
        if "flags/unbuildable" in flags:
            return BuildFailure(BuildStage.COMPILE, ("block/bdev.c:1: error: x undeclared",))
        kernel = self.folder / f"{tree}.kernel"
        if not kernel.exists():  # another recipe's target may have made it
            write_whole(kernel, " ".join(Path(flag).name for flag in flags))
        return Image(identity=tree, kernel=str(kernel))


@dataclass
class World:
    """How kernels behave. ``rate``: of a bug that is there; ``silent``: trials for which no bug shows, then it does."""

    rate: float = 1.0
    silent: int = 0
    fail_after: int = 10**9
    trials: int = 0
    on_trial: Callable[[int], None] = lambda number: None
    on_begin: Callable[[str, Plan], None] = lambda campaign, plan: None

    def observed(self, image: Image, plan: Plan) -> Observation:
        """What a trial sees."""
        self.trials += 1
        self.on_trial(self.trials)
        if self.trials > self.fail_after:
            return Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
        flags = set(Path(image.kernel).read_text().split())
        if self.silent or random.Random(plan.seed).random() >= self.rate:
            self.silent = max(0, self.silent - 1)
            flags = set()
        layers = (LayerFacts("boot", "/dev/x", 511, 512, "degraded" if "leg" in flags else "healthy"),)
        runs = plan.steps[0].verb == "run"
        errno = "EIO" if "escaped" in flags and not runs else ""
        code = 3 if "program" in flags and runs else int(bool(errno))
        steps = (StepFacts("probe", 0, 1, done=True, exit=code, errno=errno),)
        result = Result(complete=True, layers=layers, steps=steps)
        return Observation(Ending.FINISHED, result, timing=Timing(6, 2, 4, 12), accel="tcg")


@dataclass(frozen=True)
class FlagRunner:
    world: World

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        self.world.on_begin(folder.parents[1].name, plan)
        return self.world.observed(image, plan)


@dataclass
class Nights:
    """A watch on a generated linux-next, called night by night as a timer would."""

    folder: Path
    repo: Path
    how_sure: str = "trials: 2"
    recipes: str = "[./legs.yaml, ./program.yaml]"
    budget: str = "8h"
    more: str = ""  # of the file of the watch
    world: World = field(default_factory=World)
    clock: Callable[[], float] | None = None
    slots: int = 1

    @property
    def out(self) -> Path:
        return self.folder / "watch" / "nights"

    @property
    def setting(self) -> Setting:
        folders = Folders(self.folder / "cache", self.folder / "state")
        return Setting(folders, {}, ignore, 1, trials_at_once=self.slots)

    def watch(self) -> Watch:
        """The watch as its file says it."""
        place = self.folder / "watch"
        place.mkdir(parents=True, exist_ok=True)
        (place / "legs.yaml").write_text(LEGS.replace("HOW_SURE", self.how_sure))
        (place / "program.yaml").write_text(PROGRAM)
        (place / "disks.yaml").write_text(DISKS)
        file = place / "nightly.yaml"
        lines = [f"repo: {self.repo}", f"recipes: {self.recipes}", f"budget: {self.budget}", "out: nights", self.more]
        file.write_text("\n".join(["nightly: watched", *lines]))
        return config.load(file)

    def session(self) -> Session:
        """A session whose kernels are files."""
        world = self.world

        class FlagSession(Session):
            def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
                folder = self.setting.folders.cache / "kernels"
                folder.mkdir(parents=True, exist_ok=True)
                return FlagTarget(clone, folder)

            source = kernel_source

            def add_campaign(self, row: CampaignRow, recipe: Recipe) -> CampaignRow:
                """Under an id that goes by the question, so that the seeds of its trials do not go by the time."""
                if row.state != CampaignState.TEST:
                    row = replace(row, id=f"{row.recipe}-{digest(row.good, row.bad, row.source)[:12]}")
                return super().add_campaign(row, recipe)

            def runner(self, recipe: Recipe) -> Runner:
                return FlagRunner(world)

        return FlagSession(self.setting)

    def night(self) -> Report:
        """One call of the command."""
        extra = {"clock": self.clock} if self.clock else {}
        with self.session() as session:
            return night.run(self.watch(), session, **extra)

    def store(self) -> Store:
        return Store(self.setting.folders.state)

    def regressions(self) -> dict[str, Regression]:
        """All of them, by id."""
        return {each.id: each for each in regressions_of(self.store(), "watched")}

    def searches(self) -> list[CampaignRow]:
        """Campaigns that were run, without the tests of single candidates."""
        return [row for row in self.store().campaigns() if row.state != "test"]

    def searched(self) -> list[CampaignRow]:
        """Campaigns that really bisected."""
        return [row for row in self.searches() if row.outcome and row.outcome.bisect_log]

    def culprits(self) -> list[str]:
        """What the campaigns named, in order."""
        found = [row.outcome for row in self.searches() if row.outcome]
        return [one.culprit.oid if one.kind is OutcomeKind.CULPRIT and one.culprit else one.kind for one in found]

    def drafts(self) -> list[str]:
        """Names of the regressions for which there is a draft of a report."""
        return sorted(path.parent.name for path in self.out.glob("drafts/*/0-*.eml"))


def kinds(report: Report) -> dict[str, list[str]]:
    """What a night reported, by regression."""
    found: dict[str, list[str]] = {}
    for each in report.night.news:
        found.setdefault(each.regression, []).append(each.kind.value)
    return found


def day(tree: LinuxNext, number: int, happens: Callable[[], object] = lambda: None) -> None:
    """Night ``number``'s tag, with what ``happens`` before it."""
    tree.day(number)
    happens()
    tree.branch_commit("md", f"more of night {number}")
    tree.release(number)


def with_bug(tree: LinuxNext, number: int) -> None:
    """A day with the bug that the recipe ``legs`` sees."""
    day(tree, number, lambda: tree.branch_commit("md", "check less", FLAG))
