# SPDX-License-Identifier: GPL-2.0-only
"""Several trials at once: they decide as one at a time would, and what was not needed is kept apart (law 9)."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bisector.agent.plan import Plan
from bisector.errors import InfraError
from bisector.execute.local import LocalExecutor
from bisector.interfaces import CancelToken, Listener, ignore
from bisector.judge import Judge
from bisector.model import Ending, Image, Judgement, Observation, Signal, Verdict
from bisector.store import CampaignRow, Store
from bisector.tools import JudgeTools
from bisector.verdict.fixed import FixedTrials
from tests.judge.test_judge import BAD, BROKEN, CASE, GOOD, WrittenTarget, of

Act = Callable[[int, int, CancelToken], Observation]
"""(place of the trial in its series, times that it was run, token) → what it shows."""


@dataclass
class PlacedRunner:
    """Runs trials by their place in the series, which their folder names."""

    act: Act
    begun: Counter[int] = field(default_factory=Counter)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, image: Image, plan: Plan, folder: Path, *, listener: Listener, cancel: CancelToken) -> Observation:
        place = int(folder.name.split("-")[-2])
        with self.lock:
            self.begun[place] += 1
            times = self.begun[place]
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.act(place, times, cancel)
        finally:
            with self.lock:
                self.now -= 1


Make = Callable[..., Judge]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    pools: list[LocalExecutor] = []

    def build(act: Act, slots: int) -> Judge:
        store = Store(tmp_path / "state")
        if not store.campaigns():
            store.add_campaign(CampaignRow("c1", "r", "t", "", "", "good", "bad", False, "", 1.0, "running"))
        pools.append(LocalExecutor(builds=1, trials=slots))
        target, token = WrittenTarget(folder=tmp_path), CancelToken(str(tmp_path / "cancel"))
        return Judge(JudgeTools(target, PlacedRunner(act), store, "c1", pools[-1], ignore, token))

    yield build
    for pool in pools:
        pool.shutdown()


def judged(judge: Judge, trials: int) -> Judgement:
    return judge.ask(of("x"), replace(CASE, rule=FixedTrials(trials, 3)), "search")


def ahead(judge: Judge) -> int:
    return len(judge.tools.store.trials_ahead("c1"))


def drained(judge: Judge) -> None:
    """Wait for what still runs."""
    judge.tools.executor.shutdown()


def test_as_many_trials_run_at_once_as_there_are_slots(make: Make) -> None:
    together = threading.Barrier(4, timeout=10)

    def act(place: int, times: int, cancel: CancelToken) -> Observation:
        together.wait()
        return GOOD

    judge = make(act, 4)
    assert judged(judge, 8).verdict is Verdict.GOOD
    assert judge.tools.runner.most == 4


def test_with_one_slot_nothing_runs_ahead(make: Make) -> None:
    judge = make(lambda place, *_: BAD if place == 2 else GOOD, 1)
    assert judged(judge, 8).counts == (1, 3)
    assert (sum(judge.tools.runner.begun.values()), ahead(judge)) == (3, 0)


@pytest.mark.parametrize("slots", [1, 2, 5, 16])
def test_the_order_in_which_trials_end_decides_nothing(make: Make, slots: int) -> None:
    """The first to end reproduces; by number it is the fourth, and two clean ones before it are enough for nothing."""

    def act(place: int, times: int, cancel: CancelToken) -> Observation:
        time.sleep(0.02 * max(0, 5 - place))
        return BAD if place == 3 else GOOD

    judge = make(act, slots)
    found = judged(judge, 9)
    assert (found.verdict, found.counts) == (Verdict.BAD, (1, 4))
    stored = judge.tools.store.trials("c1")
    assert [trial.reading.signal for trial in stored] == [*[Signal.CLEAN] * 3, Signal.REPRODUCED]
    assert [int(trial.folder.split("-")[-2]) for trial in stored] == [0, 1, 2, 3]


def test_what_ran_ahead_and_was_not_needed_is_kept_and_never_counted(make: Make) -> None:
    def act(place: int, times: int, cancel: CancelToken) -> Observation:
        time.sleep(0.0 if place else 0.3)  # the others are long finished when the first one decides
        return GOOD if place else BAD

    judge = make(act, 3)
    found = judged(judge, 9)
    assert (found.counts, len(judge.tools.store.trials("c1"))) == ((1, 1), 1)
    drained(judge)
    assert ahead(judge) >= 2
    again = make(act, 1)
    assert judged(again, 9).counts == (1, 1)


def test_a_finished_trial_outlives_the_process_and_is_not_run_again(make: Make) -> None:
    def dies(place: int, times: int, cancel: CancelToken) -> Observation:
        if place:
            return GOOD
        time.sleep(0.3)
        raise InfraError("the process is killed while the first trial runs, and the others have ended")

    judge = make(dies, 4)
    with pytest.raises(InfraError):
        judged(judge, 4)
    drained(judge)
    assert ahead(judge) == 3
    again = make(lambda *_: GOOD, 1)
    assert judged(again, 4).counts == (0, 4)
    assert dict(again.tools.runner.begun) == {0: 1}
    assert ahead(again) == 0


def test_what_nobody_needs_any_more_is_stopped_within_a_second(make: Make) -> None:
    stopped: list[float] = []

    def act(place: int, times: int, cancel: CancelToken) -> Observation:
        if place == 0:
            time.sleep(0.1)
            return BAD
        for _ in range(1000):
            if cancel.cancelled():
                stopped.append(time.monotonic())
                return Observation(Ending.CANCELLED)
            time.sleep(0.01)
        return GOOD

    judge = make(act, 3)
    assert judged(judge, 9).verdict is Verdict.BAD
    decided = time.monotonic()
    drained(judge)
    assert stopped
    assert all(at - decided < 1.0 for at in stopped)
    assert ahead(judge) == 0
    assert not judge.tools.cancel.cancelled()  # the campaign goes on
    assert list(Path(judge.tools.cancel.path).parent.glob("cancel*")) == []


def test_a_failure_of_the_harness_is_drawn_again_at_its_place_with_its_seed(make: Make) -> None:
    judge = make(lambda place, times, _: BROKEN if (place, times) == (1, 1) else GOOD, 4)
    found = judged(judge, 4)
    assert (found.counts, found.harness_failures) == ((0, 4), 1)
    stored = judge.tools.store.trials("c1")
    places = [int(trial.folder.split("-")[-2]) for trial in stored]
    assert places == [0, 1, 1, 2, 3]
    assert stored[1].seed == stored[2].seed


def test_an_error_of_a_trial_that_ran_ahead_is_raised_when_its_turn_comes(make: Make) -> None:
    def act(place: int, times: int, cancel: CancelToken) -> Observation:
        if place == 2:
            raise InfraError("no QEMU")
        return GOOD

    judge = make(act, 4)
    with pytest.raises(InfraError, match="no QEMU"):
        judged(judge, 4)
    assert len(judge.tools.store.trials("c1")) == 2


def test_a_defect_of_ours_in_a_slot_is_raised_too(make: Make) -> None:
    judge = make(lambda place, *_: GOOD if place < 2 else None, 4)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError):
        judged(judge, 4)


def test_the_request_to_stop_the_campaign_stops_its_trials(tmp_path: Path) -> None:
    whole = CancelToken(str(tmp_path / "cancel"))
    one, other = whole.child("1"), whole.child("2")
    one.cancel()
    assert (one.cancelled(), other.cancelled(), whole.cancelled()) == (True, False, False)
    whole.cancel()
    assert other.cancelled()
    one.forget()
    assert not (tmp_path / "cancel-1").exists()
    assert not CancelToken().child("1").cancelled()
