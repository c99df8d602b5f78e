# SPDX-License-Identifier: GPL-2.0-only
"""Builds that run while trials do: the same answer, with fewer builds to wait for, and nothing left running."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bisector.campaign.commits import CommitCampaign
from bisector.errors import Interrupted
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.model import BuildFailure, Candidate, Image, Outcome
from bisector.recipe.model import Recipe
from bisector.search.clone import PrivateClone
from bisector.session import Setting
from bisector.system.xdg import Folders
from tests.campaign.acting import Acted, ActedBench, ActedRunner, ActedTarget, World, history

BUILD, TRIAL = 0.2, 0.3  # seconds


@dataclass
class SlowTarget(ActedTarget):
    """Builds take time, can be stopped, and are kept."""

    builds: list[tuple[str, str]] = field(default_factory=list)  # (thread, tree)
    stopped: list[float] = field(default_factory=list)  # seconds from the request to the end

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        tree = self.clone.tree_of(candidate)
        if not any(tree == made for _, made in self.builds):
            end = time.monotonic() + BUILD
            while time.monotonic() < end:
                if cancel.cancelled():
                    self.stopped.append(time.monotonic())
                    raise Interrupted("stopped")
                time.sleep(0.005)
            self.builds.append((threading.current_thread().name.rpartition("_")[0], tree))
        return super().image(candidate, listener=listener, cancel=cancel)


class SlowRunner(ActedRunner):
    """Trials take time."""

    def run(self, *arguments: object, **named: object) -> object:  # type: ignore[override]
        time.sleep(TRIAL)
        return super().run(*arguments, **named)  # type: ignore[arg-type]


class SlowBench(ActedBench):
    """A session with both."""

    target: SlowTarget

    def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
        self.target = SlowTarget(clone, self.setting.folders.state, self.world)
        return self.target

    def runner(self, recipe: Recipe) -> Runner:
        return SlowRunner(self.world)


Run = Callable[[int], tuple[Outcome, SlowTarget, float]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    planted = history(tmp_path / "linux", 30, bug=range(17, 30))

    def campaign(ahead: int) -> tuple[Outcome, SlowTarget, float]:
        folders = Folders(tmp_path / f"cache{ahead}", tmp_path / f"state{ahead}")
        acted = Acted(planted, folders, World())
        began = time.monotonic()
        with SlowBench(Setting(folders, {}, lambda _: None, 1, builds_ahead=ahead), acted.world) as bench:
            _, outcome = CommitCampaign(acted.request("c0", "c29"), bench).run()
        assert acted.named(outcome) == {"c17"}
        assert list(folders.state.glob("cancel*")) == []
        return outcome, bench.target, time.monotonic() - began

    return campaign


@pytest.mark.parametrize("ahead", [1, 2])
def test_what_git_asks_for_next_is_built_while_trials_run(run: Run, ahead: int) -> None:
    alone, plain, _ = run(0)
    outcome, target, _ = run(ahead)
    assert (outcome.kind, outcome.summary, outcome.culprit) == (alone.kind, alone.summary, alone.culprit)
    assert {where for where, _ in plain.builds} == {"build"}
    waited = [tree for where, tree in target.builds if where == "build"]
    needed = {tree for _, tree in plain.builds}
    assert needed <= {tree for _, tree in target.builds}
    assert len(waited) <= len(needed) - 4  # both ends, the first commit of the search, and what was guessed wrongly
