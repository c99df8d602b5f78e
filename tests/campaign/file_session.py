# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns over a real git repository and the real store. Kernel and VM stand as a file of the history: each commit's
``behaviour`` says what its kernel would do, because a thousand real boots do not fit into a test."""

import random
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

from bisector.agent.plan import LayerFacts, Plan, Result, StepFacts
from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.causes import BuildStage
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.model import BuildFailure, Candidate, ConsoleEvent, Ending, EventKind, Image, Observation, Outcome, Timing
from bisector.recipe.load import find, loads
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.report import facts, json_format, text
from bisector.search.clone import PrivateClone
from bisector.session import Session, Setting

SHIPPED = find("virtio-open-lvm-raid1").read_text()
FIXED = SHIPPED.replace("confidence: {max_error: 0.01}\n", "trials: 2\n")


@dataclass
class History:
    """A repository in which each commit says how its kernel behaves."""

    folder: Path
    oids: dict[str, str] = field(default_factory=dict)

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        argv = ["git", "-C", str(self.folder), *identity, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name: str, behaviour: str, docs: str = "") -> None:
        (self.folder / "behaviour").write_text(behaviour + "\n")
        (self.folder / "docs").write_text(docs or name)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", name)
        self.oids[name] = self.git("rev-parse", "HEAD")


def observed(behaviour: str) -> Observation:
    if behaviour == "panics":
        return Observation(Ending.NO_AGENT)
    if behaviour == "oops":
        crash = ConsoleEvent(3.0, "vm", EventKind.CRASH, "oops", "BUG: kernel NULL pointer dereference")
        return Observation(Ending.CRASH, Result(), (crash,))
    health = {"bad": "degraded", "syncing": "syncing", "syncing too": "syncing"}.get(behaviour, "healthy")
    layers = (LayerFacts("boot", "/dev/x", 511, 512, health),)
    result = Result(complete=True, layers=layers, steps=(StepFacts("probe", 0, 1, done=True, exit=0),))
    return Observation(Ending.FINISHED, result, timing=Timing(6, 2, 4, 12), accel="tcg")


@dataclass
class FileTarget:
    """Builds nothing: the image is the content of ``behaviour``."""

    clone: PrivateClone
    folder: Path
    built: list[str]

    def key(self, candidate: Candidate) -> str:
        return self.clone.tree_of(candidate)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        tree = self.clone.tree_of(candidate)
        behaviour = self.clone.git.ask("cat-file", "blob", f"{tree}:behaviour")
        self.built.append(candidate.revision)
        files = self.clone.git.ask("ls-tree", "--name-only", tree).split()
        hole = self.clone.git.ask("cat-file", "blob", f"{tree}:hole") if "hole" in files else ""
        if "broken" in (behaviour, hole):
            return BuildFailure(BuildStage.COMPILE, ("drivers/md/dm-raid.c:1: error: x undeclared",))
        kernel = self.folder / f"{behaviour}.kernel"
        kernel.write_text(behaviour)
        return Image(identity=behaviour, kernel=str(kernel))


@dataclass
class FileRunner:
    """Answers what the image says; ``fail_after`` trials the harness breaks for good."""

    seen: list[str]
    fail_after: int = 10**6
    rate: float = 1.0

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if len(self.seen) >= self.fail_after:
            return Observation(Ending.HARNESS, detail="QEMU was killed by signal 9")
        self.seen.append(image.identity)
        if not plan.steps:
            return observed("good")
        if image.identity == "bad" and random.Random(plan.seed).random() >= self.rate:
            return observed("good")
        return observed(image.identity)


class FileSession(Session):
    """A session whose kernels are files."""

    fail_after = 10**6
    rate = 1.0

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        self.built: list[str] = []
        return FileTarget(clone, self.setting.folders.state, self.built)

    def runner(self, recipe: Recipe) -> Runner:
        self.seen: list[str] = []
        return FileRunner(self.seen, self.fail_after, self.rate)


def line(history: History, *behaviours: str) -> None:
    for number, behaviour in enumerate(behaviours):
        history.commit(f"c{number}", behaviour)


def request(history: History, good: str, bad: str, **changes: object) -> CommitRequest:
    recipe = loads(FIXED, "fixed.yaml")
    wanted = CommitRequest(
        recipe, resolved_yaml(recipe), history.folder, history.oids[good], history.oids[bad], cells(recipe)[:1]
    )
    return replace(wanted, **changes)


def outcome_of(history: History, setting: Setting, good: str, bad: str, **changes: object) -> Outcome:
    with FileSession(setting) as session:
        row, outcome = CommitCampaign(request(history, good, bad, **changes), session).run()
        gathered = facts.gather(session.store, row)
        assert row.outcome == outcome
        assert ("fix" if outcome.find_fix else outcome.kind.value) in text.render(gathered)
        assert json_format.render(gathered).startswith("{")
    return outcome
