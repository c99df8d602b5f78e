# SPDX-License-Identifier: GPL-2.0-only
"""Ends, matrix cells and the arms of a proof run beside each other where there are slots, and while others are built.

A trial here waits for those that have to run beside it: where they do not, nobody comes and the test fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bisector.agent.plan import Plan
from bisector.campaign.commits import CommitCampaign
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.model import BuildFailure, Candidate, EditKind, Image, Observation, OutcomeKind
from bisector.recipe.model import Recipe
from bisector.search.clone import PrivateClone
from bisector.session import Setting
from bisector.store import Store
from bisector.system.xdg import Folders
from tests.campaign.acting import RECIPE, Acted, ActedRunner, ActedSession, ActedTarget, World, history

PATIENCE = 30.0  # seconds
MATRIX = "matrix:\n  storage.boot.size: [32M, 48M, 64M]\n"
FIRST_ROUND = 6  # trials of an end
FIXED = RECIPE.replace("confidence: {max_error: 0.01}", "trials: 2")


@dataclass
class Meeting:
    """Waits until so many different ones of a stage run at once. ``most``: trials of it at once, by stage."""

    wanted: dict[str, int]
    there: threading.Condition = field(default_factory=threading.Condition)
    come: dict[str, set[object]] = field(default_factory=dict)

    def wait(self, stage: str, who: object) -> None:
        count = self.wanted.get(stage, 0)
        with self.there:
            come = self.come.setdefault(stage, set())
            come.add(who)
            self.there.notify_all()
            met = self.there.wait_for(lambda: len(come) >= count, PATIENCE)
            assert met, f"{len(come)} of {count} of {stage} ran at once"


@dataclass
class MeetingRunner(ActedRunner):
    meeting: Meeting = field(default_factory=lambda: Meeting({}))

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        self.meeting.wait(folder.name.partition("-")[0], (image.identity, plan.identity()))
        return super().run(image, plan, folder, listener=listener, cancel=cancel)


@dataclass
class LateRunner(MeetingRunner):
    """Trials of the ends beyond the first round of their cell meet those of the other cells."""

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        stage, _, index, _ = folder.name.split("-")
        if int(index) >= FIRST_ROUND:
            self.meeting.wait(stage, plan.identity())
        return ActedRunner.run(self, image, plan, folder, listener=listener, cancel=cancel)


@dataclass
class WaitingTarget(ActedTarget):
    """The culprit's edit over the bad end, which comes last, is built when a trial of the proof has begun."""

    meeting: Meeting = field(default_factory=lambda: Meeting({}))

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        if any(edit.kind is EditKind.REVERT for edit in candidate.edits):
            with self.meeting.there:
                assert self.meeting.there.wait_for(lambda: self.meeting.come.get("proof"), PATIENCE), "nothing is tried"
        return super().image(candidate, listener=listener, cancel=cancel)


@dataclass
class Beside:
    """Runs campaigns whose trials meet."""

    folder: Path

    def run(
        self, text: str, slots: int, *, kind: type[MeetingRunner] = MeetingRunner, rate: float = 1.0, **wanted: int
    ) -> tuple[OutcomeKind, str, set[str]]:
        meeting, folders = Meeting(wanted), Folders(self.folder / f"c{slots}", self.folder / f"s{slots}")
        planted = history(self.folder / f"linux{slots}", 12, bug=range(7, 12))
        acted = Acted(planted, folders, World(rate=rate))

        class Bench(ActedSession):
            def kernel_source(self, recipe: Recipe, cells: object, clone: PrivateClone) -> Target:
                target = WaitingTarget if slots > 1 else ActedTarget
                more = {"meeting": meeting} if slots > 1 else {}
                return target(clone, self.setting.folders.state, self.world, **more)

            def runner(self, recipe: Recipe) -> Runner:
                return kind(self.world, meeting=meeting)

        with Bench(Setting(folders, {}, lambda _: None, 1, trials_at_once=slots), acted.world) as bench:
            _, outcome = CommitCampaign(acted.request("c0", "c11", text=text), bench).run()
        return outcome.kind, outcome.summary.partition(":")[2], acted.named(outcome)


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    return Beside(tmp_path)


Run = Callable[..., tuple[OutcomeKind, str, set[str]]]


@pytest.mark.parametrize("text", [RECIPE + MATRIX, FIXED + MATRIX], ids=["learns", "fixed"])
def test_both_ends_of_every_cell_are_tried_at_once(beside: Beside, text: str) -> None:
    assert beside.run(text, 24, ends=6) == beside.run(text, 1)


def test_later_rounds_of_cells_are_drawn_beside_each_other(beside: Beside) -> None:
    """Nothing reproduces, so that each cell needs many rounds."""
    kind, _, _ = beside.run(RECIPE + MATRIX, 24, kind=LateRunner, rate=0.0, ends=3)
    assert kind is OutcomeKind.ENDS_ALIKE


def test_cells_decide_alike_however_many_trials_run_at_once(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figure for figure; the seeds of trials go by the campaign's id, which goes by the time."""
    monkeypatch.setattr(time, "strftime", lambda *_: "20261121-153506")
    seen = []
    for slots in (1, 4, 16):
        beside.run(RECIPE + MATRIX, slots, rate=0.6)
        store = Store(beside.folder / f"s{slots}")
        (row,) = store.campaigns()
        seen.append([(stage, j.verdict, j.reason, j.cell, j.image, j.counts) for stage, j in store.judgements(row.id)])
        store.close()
    assert seen[0] == seen[1] == seen[2]
    assert len({cell for _, _, _, cell, _, _ in seen[0]}) == 3


@pytest.mark.parametrize("text", [RECIPE, FIXED], ids=["learns", "fixed"])
def test_the_arms_of_a_proof_are_tried_at_once_and_while_others_are_built(beside: Beside, text: str) -> None:
    assert beside.run(text, 24, ends=2, proof=3) == beside.run(text, 1)
