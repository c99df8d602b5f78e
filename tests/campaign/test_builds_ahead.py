# SPDX-License-Identifier: GPL-2.0-only
"""Builds that run while trials do: the same answer, with fewer builds to wait for, and nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bisector.agent.plan import Plan
from bisector.builds import BuildsAhead
from bisector.campaign.commits import CommitCampaign
from bisector.errors import Interrupted
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.judge import Judge
from bisector.model import BuildFailure, Candidate, Image, Observation, Outcome
from bisector.recipe.model import Recipe
from bisector.search.clone import PrivateClone
from bisector.session import Setting
from bisector.system.xdg import Folders
from tests.campaign.acting import Acted, ActedRunner, ActedSession, ActedTarget, World, history

BUILD = 0.05  # seconds
PATIENCE = 60.0
"""Seconds; a trial waits for what is built beside it, so that nothing depends on how fast this machine is."""


@dataclass
class SlowTarget(ActedTarget):
    """Builds take time, can be stopped, and are kept."""

    builds: list[tuple[str, str]] = field(default_factory=list)  # (thread, tree)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        tree = self.clone.tree_of(candidate)
        if not any(tree == made for _, made in self.builds):
            end = time.monotonic() + BUILD
            while time.monotonic() < end:
                if cancel.cancelled():
                    raise Interrupted("stopped")
                time.sleep(0.005)
            self.builds.append((threading.current_thread().name.rpartition("_")[0], tree))
        return super().image(candidate, listener=listener, cancel=cancel)


@dataclass
class SlowRunner(ActedRunner):
    """The first trial of each image in the search lasts until all that is likely was built beside it."""

    session: SlowSession | None = None
    seen: set[str] = field(default_factory=set)

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        if folder.name.startswith("search") and image.identity not in self.seen and self.session:
            self.seen.add(image.identity)
            builds, end = self.session.made.builds, time.monotonic() + PATIENCE
            while not _idle(builds):
                assert time.monotonic() < end, f"not built ahead within {PATIENCE} s"
                time.sleep(0.005)
        return super().run(image, plan, folder, listener=listener, cancel=cancel)


def _idle(builds: BuildsAhead) -> bool:
    planned = builds._planned
    return (planned is None or planned.done()) and not builds._waiting and not builds._running


class SlowSession(ActedSession):
    """A session with both."""

    target: SlowTarget
    made: Judge

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        self.target = SlowTarget(clone, self.setting.folders.state, self.world)
        return self.target

    def runner(self, recipe: Recipe) -> Runner:
        return SlowRunner(self.world, session=self)

    def judge(self, *arguments: Any, **named: Any) -> Judge:
        self.made = super().judge(*arguments, **named)
        return self.made


Run = Callable[[int], tuple[Outcome, SlowTarget]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    planted = history(tmp_path / "linux", 30, bug=range(17, 30))

    def campaign(ahead: int) -> tuple[Outcome, SlowTarget]:
        folders = Folders(tmp_path / f"cache{ahead}", tmp_path / f"state{ahead}")
        acted = Acted(planted, folders, World())
        with SlowSession(Setting(folders, {}, lambda _: None, 1, builds_ahead=ahead), acted.world) as session:
            _, outcome = CommitCampaign(acted.request("c0", "c29"), session).run()
        assert acted.named(outcome) == {"c17"}
        assert list(folders.state.glob("cancel*")) == []
        return outcome, session.target

    return campaign


@pytest.mark.parametrize("ahead", [1, 2])
def test_what_git_tests_next_is_built_while_trials_run(run: Run, ahead: int) -> None:
    alone, plain = run(0)
    outcome, target = run(ahead)
    assert (outcome.kind, outcome.summary, outcome.culprit) == (alone.kind, alone.summary, alone.culprit)
    assert {where for where, _ in plain.builds} == {"build"}
    waited = [tree for where, tree in target.builds if where == "build"]
    needed = {tree for _, tree in plain.builds}
    assert needed <= {tree for _, tree in target.builds}
    ends = (
        {2} if ahead == 1 else {1, 2}
    )  # two builders make the bad end beside the good one, where they come to it first
    assert len(waited) - 1 in ends, "the ends, and the first commit of the search"
