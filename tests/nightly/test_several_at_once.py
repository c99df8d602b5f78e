# SPDX-License-Identifier: GPL-2.0-only
"""Several recipes, questions and searches of a night at once: the answers of one at a time, sooner."""

import io
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from nextgen import LinuxNext
from night_session import FLAG, Nights, World, day, kinds

from bisector.agent.plan import Plan
from bisector.errors import Interrupted
from bisector.execute.work import Work
from bisector.interfaces import Phase, Progress
from bisector.model import Image, Observation
from bisector.nightly import night
from bisector.nightly.ahead import Preview
from bisector.nightly.deadline import Deadline, Spent
from bisector.nightly.night import Report
from bisector.nightly.records import State
from bisector.search.gitrepo import UserRepository
from bisector.terminal import Terminal

RECIPES = "[./legs.yaml, ./program.yaml, ./disks.yaml]"
LEG, PROGRAM, ESCAPED = "legs-leg-failed", "program-failed", "disks-escaped"
PATIENCE = 30.0  # seconds


@dataclass
class SlowWorld(World):
    """Trials take a moment, each another one, so that they end in any order."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    running: int = 0
    most: int = 0  # trials at once

    def observed(self, image: Image, plan: Plan) -> Observation:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(random.uniform(0.0, 0.004))
        try:
            with self.lock:
                return super().observed(image, plan)
        finally:
            with self.lock:
                self.running -= 1


def watch(folder: Path, tree: LinuxNext, slots: int, rate: float = 1.0, how_sure: str = "trials: 2") -> Nights:
    world = SlowWorld(rate=rate)
    return Nights(folder / str(slots), tree.folder, recipes=RECIPES, slots=slots, world=world, how_sure=how_sure)


def story(tree: LinuxNext, number: int) -> None:
    """What happens before a night: bugs of three recipes come on one day, one of two recipes; two are fixed."""
    tree.day(number)
    if number == 2:
        tree.branch_commit("md", "check less", FLAG)
        tree.branch_commit("block", "lose an error", {"flags/escaped": "lost\n"})
        tree.mainline_commit("init: exit oddly", {"flags/program": "odd\n"})
    if number == 3:
        tree.rebase("md")
    if number == 4:
        tree.mainline_commit("init: exit well", {"flags/program": None})
        tree.branch_commit("block", "keep it", {"flags/escaped": None})
    tree.branch_commit("net", f"more of night {number}")
    tree.release(number)


def seen(nights: Nights, report: Report) -> dict[str, object]:
    """What a night came to, with all that it stands on; without times and folders."""
    night = replace(report.night, began=0.0, ended=0.0, used=0.0, used_machine=0.0, seconds=0.0, machine=0.0)
    store = nights.store()
    trials = [
        (row.id, trial.stage, trial.image, trial.seed, trial.reading)
        for row in store.campaigns()
        for trial in store.trials(row.id)
    ]
    known = {
        f"{each.id}: {name}": bool(value) if name == "draft" else value
        for each in nights.regressions().values()
        for name, value in asdict(each).items()
    }
    return {**asdict(night), **known, "trials": sorted(trials, key=str)}


def test_the_answers_are_those_of_one_at_a_time(tree: LinuxNext, tmp_path: Path, fixed_ids: None) -> None:
    alone, beside = (watch(tmp_path, tree, slots, 0.7, "confidence: {max_error: 0.01}") for slots in (1, 4))
    for number in (2, 4):
        story(tree, number)
        one, other = alone.night(), beside.night()
        for what, answer in seen(alone, one).items():
            assert seen(beside, other)[what] == answer, f"night {number}, {what}"
    assert isinstance(beside.world, SlowWorld)
    assert beside.world.most > 1
    assert {LEG, PROGRAM, ESCAPED} <= set(beside.regressions())


class Meeting:
    """Trials that wait for each other: where they do not run at once, nobody comes."""

    def __init__(self, *names: str) -> None:
        self.there = {name: threading.Event() for name in names}

    def come(self, name: str) -> None:
        if name in self.there:
            self.there[name].set()
            for other, event in self.there.items():
                assert event.wait(PATIENCE), f"{name} ran alone: no {other} beside it"


def test_recipes_and_cells_are_tried_beside_each_other(tree: LinuxNext, tmp_path: Path) -> None:
    nights = watch(tmp_path, tree, 12)
    meeting = Meeting("legs", "program", "nvme", "scsi")

    def begin(campaign: str, plan: Plan) -> None:
        recipe = campaign.split("-")[-2]
        meeting.come(plan.layers[0].type if recipe == "disks" else recipe)

    nights.world.on_begin = begin
    day(tree, 1)
    report = nights.night()
    assert (report.night.state, report.night.troubles) == (State.DONE, ())


def searching(meet: Callable[[str], None]) -> Callable[[str, Plan], None]:
    """Calls ``meet`` with the recipe of each trial of a search."""

    def begin(campaign: str, plan: Plan) -> None:
        if not campaign.startswith("night-"):
            meet(campaign.split("-")[0])

    return begin


def test_recipes_that_begin_at_once_share_the_build_folders_of_a_new_clone(
    tree: LinuxNext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find no name of the clone's, and give it one."""
    both, link = threading.Barrier(2), Path.hardlink_to

    def linked(self: Path, target: Path) -> None:
        both.wait(PATIENCE)
        try:
            link(self, target)
        finally:
            both.wait(PATIENCE)

    monkeypatch.setattr(Path, "hardlink_to", linked)
    day(tree, 1)
    nights = watch(tmp_path, tree, 2)
    with nights.session() as session, ThreadPoolExecutor(2) as threads:
        clone = session.clone(UserRepository(tree.folder))
        folders = [threads.submit(session._build_dirs, clone) for _ in range(2)]
        assert folders[0].result() == folders[1].result()


def test_searches_run_beside_each_other(tree: LinuxNext, tmp_path: Path) -> None:
    nights = watch(tmp_path, tree, 12)
    nights.world.on_begin = searching(Meeting("legs", "program", "disks").come)
    story(tree, 2)
    report = nights.night()
    assert (report.night.state, report.night.troubles) == (State.DONE, ())
    assert kinds(report) == {name: ["opened", "named"] for name in (LEG, PROGRAM, ESCAPED)}


def test_a_night_that_is_stopped_goes_on_the_next_day_where_it_was(tree: LinuxNext, tmp_path: Path) -> None:
    """Searches that were begun ahead too: they end between the days they began with, and run nothing twice."""
    nights = watch(tmp_path, tree, 4)
    begun: set[str] = set()
    nights.world.on_begin = searching(begun.add)
    story(tree, 2)
    with nights.session() as session:

        def stop(number: int) -> None:
            if number == 40:
                session.cancel.cancel()

        nights.world.on_trial = stop
        with pytest.raises(Interrupted):
            night.run(nights.watch(), session)
    nights.world.on_trial = lambda number: None
    known = nights.regressions().values()
    assert {each.recipe for each in known if each.search or each.culprit} >= begun
    day(tree, 5)
    report = nights.night()
    assert report.night.state is State.DONE
    assert {each.id for each in nights.regressions().values() if each.culprit} == {LEG, PROGRAM, ESCAPED}
    assert len(nights.searches()) == 3
    trials = [
        (row.id, trial.stage, trial.image, trial.plan, trial.seed)
        for row in nights.store().campaigns()
        for trial in nights.store().trials(row.id)
    ]
    assert len(trials) == len(set(trials))


def test_a_defect_of_ours_in_a_preview_is_not_hidden(tree: LinuxNext, tmp_path: Path, monkeypatch: Any) -> None:
    nights = watch(tmp_path, tree, 4)
    day(tree, 1)
    monkeypatch.setattr(Preview, "save_night", lambda *_: [][0])
    with pytest.raises(IndexError):
        nights.night()


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_each_line_of_80_columns_says_which_recipe_and_cell_it_is_about(
    tree: LinuxNext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    screen, nights = Screen(), watch(tmp_path, tree, 4)
    terminal = Terminal(io.StringIO(), screen, {"NO_COLOR": "1", "TERM": "xterm"})
    terminal.names_recipes = True
    story(tree, 2)
    with nights.session() as session:
        session.setting = replace(session.setting, listener=terminal.listen)
        night.run(nights.watch(), session)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    about = [line for line in lines if re.match(r"  → |    [^ ].*: (clean|reproduced) ", line)]
    assert len(about) > 40
    assert all(re.match(r"  (→|  ) ?(legs|program|disks)( \(.*\))?: ", line) for line in about), about
    begin = "  → disks (storage.boot.disk=scsi): next-20261102: bad (reproduced"
    assert any(line.startswith(begin) for line in lines)
    assert not any(line.startswith("disks: next-20261102: disks") for line in lines), "named once"


# ---- budgets


def test_the_budget_of_machine_time_ends_a_night(tree: LinuxNext, tmp_path: Path) -> None:
    nights = watch(tmp_path, tree, 1)
    nights.clock = lambda: 60.0 * nights.world.trials
    nights.more = "machine_budget: 5m"
    story(tree, 2)
    report = nights.night()
    assert report.night.stopped == "the night's budget of machine time is spent"
    assert report.night.machine == 300.0
    assert report.night.used_machine == 0.0, "the next call begins anew"
    assert "machine time" in (nights.out / "next-20261102/summary.txt").read_text()
    nights.more = ""
    again = nights.night().night
    assert (again.state, again.machine > 300.0) == (State.DONE, True), "it is what all calls took"


def test_a_budget_ends_a_night_also_while_nothing_is_heard_of_what_runs(
    tree: LinuxNext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that travels to a worker, or is checked out, takes minutes and says nothing."""
    monkeypatch.setattr("bisector.nightly.deadline.LOOK", 0.02)
    nights, now = watch(tmp_path, tree, 1), [0.0]
    day(tree, 1)
    with nights.session() as session:

        def silent(number: int) -> None:
            now[0] = 9 * 3600.0
            end = time.monotonic() + PATIENCE
            while not session.cancel.cancelled():
                assert time.monotonic() < end, "nobody looked"
                time.sleep(0.01)

        nights.world.on_trial = silent
        report = night.run(nights.watch(), session, lambda: now[0])
    assert report.night.stopped == "the night's budget of time is spent"


def test_slots_beside_each_other_spend_machine_time_faster_than_time(tmp_path: Path) -> None:
    now = [0.0]
    with Nights(tmp_path, tmp_path).session() as session:
        deadline = Deadline(session, Spent(1000.0, 90.0), lambda: now[0], Spent(0.0, 10.0), Spent(500.0, 700.0))
        slots = [Work("trial 1"), Work("trial 2"), Work("build 1", "far")]
        for work in slots:
            session.setting.listener(Progress(Phase.TAKEN, work=work))
        now[0] = 20.0
        session.setting.listener(Progress(Phase.FREE, work=slots[0]))
        assert (deadline.used, deadline.taken) == (Spent(20.0, 70.0), Spent(520.0, 760.0))
        assert not deadline.spent
        now[0] = 30.0
        session.setting.listener(Progress(Phase.BOOT, work=slots[1]))
        assert "machine time" in deadline.spent
        assert session.cancel.cancelled()
