# SPDX-License-Identifier: GPL-2.0-only
"""Jobs on real workers of a real scheduler; what the jobs do is acted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bisector.errors import InfraError, Interrupted
from bisector.system.proc import Processes
from tests.execute.acted import ActedJob, job, mark_stop

distributed = pytest.importorskip("distributed")

from bisector.execute import place  # noqa: E402
from bisector.execute.cluster import ClusterExecutor  # noqa: E402
from bisector.execute.local import LocalExecutor  # noqa: E402
from bisector.execute.options import SETTINGS  # noqa: E402
from bisector.execute.remote import Fitness  # noqa: E402
from bisector.execute.start import StartSetting, reached  # noqa: E402
from bisector.execute.workers import Cluster  # noqa: E402

ROOT = Path(__file__).parents[2]
ALL = Fitness(frozenset({"build", "trial"}))
Open = Callable[..., "Opened"]


class Opened:
    """An executor of a cluster, and what it said."""

    def __init__(self, client: Any, fitness: dict[str, Fitness]) -> None:
        self.said: list[str] = []
        self.cluster = Cluster(client, lambda _, worker: fitness.get(worker.name, ALL), self.said.append)
        self.cluster.wait_for_worker()
        self.wait(lambda: len(self.cluster.workers) == 2 and all(w.checked for w in self.cluster.workers.values()))
        local = LocalExecutor(builds=1, trials=1)
        self.executor = ClusterExecutor(self.cluster, lambda _, args: args[0], local)

    def submit(self, acted: ActedJob, slot: str = "trial") -> Any:
        return self.executor.submit(slot, job, acted)  # type: ignore[arg-type]

    @staticmethod
    def wait(true: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end
            time.sleep(0.05)


@contextmanager
def started(folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[Any]:
    """A client of two workers of their own."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with reached("local:2", StartSetting(folder / "state", Processes(folder / "processes"), environ, say)) as client:
        yield client
    assert not list((folder / "processes").glob("*"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Workers for all tests that leave them alive."""
    with started(tmp_path_factory.mktemp("shared")) as client:
        yield client


@pytest.fixture
def opened(shared: Any) -> Iterator[Open]:
    """An executor of the shared workers."""
    with ExitStack() as ending:

        def open_with(**fitness: Fitness) -> Opened:
            made = Opened(shared, {name.replace("_", "-"): each for name, each in fitness.items()})
            ending.callback(made.executor.shutdown, cancel_futures=True)
            return made

        yield open_with


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Opened]:
    """An executor of workers that may die."""
    with started(tmp_path) as client:
        made = Opened(client, {})
        yield made
        made.executor.shutdown(cancel_futures=True)


def test_jobs_run_on_workers_and_their_messages_arrive(opened: Open) -> None:
    cluster = opened()
    jobs = [ActedJob(seconds=1.0) for _ in range(2)]
    results = [future.result(30) for future in [cluster.submit(each) for each in jobs]]
    assert [how for how, _ in results] == ["done", "done"]
    assert len({pid for _, pid in results} | {os.getpid()}) == 3
    cluster.wait(lambda: all(each.messages == ["begin done"] for each in jobs))
    with pytest.raises(ValueError, match="no such thing"):
        cluster.submit(ActedJob("raise")).result(30)


def test_a_job_that_is_stopped_ends_within_two_seconds_also_one_that_waits_for_a_slot(opened: Open) -> None:
    cluster = opened()
    running = [ActedJob(seconds=60) for _ in range(2)]
    futures = [cluster.submit(each) for each in running]
    cluster.wait(lambda: all(each.messages for each in running))
    begin = time.monotonic()
    for each in running:
        each.stop = True
    assert [future.result(10)[0] for future in futures] == ["stopped", "stopped"]
    assert time.monotonic() - begin < 2
    waiting = ActedJob(only="no such worker", stop=True)
    with pytest.raises(Interrupted):
        cluster.submit(waiting).result(10)


def test_a_trial_whose_worker_dies_is_the_harness_failure_and_its_slots_are_counted_no_more(alone: Opened) -> None:
    cluster = alone
    assert cluster.executor.count("trial") == 2 and cluster.executor.count("ahead") == 1
    trial = ActedJob("die", only="worker-1", lost_is="harness")
    assert cluster.submit(trial).result(30) == "harness"
    cluster.wait(lambda: "worker-1 is gone" in cluster.said)
    assert cluster.executor.count("trial") == 1
    again = ActedJob()
    assert cluster.submit(again).result(30)[0] == "done"
    assert again.ran_on == ["worker-2"]


def test_a_worker_that_dies_is_started_again_three_times_and_the_output_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bisector.execute.start.PAUSE", 0.2)
    said: list[str] = []
    with started(tmp_path, said.append) as client:
        cluster = Opened(client, {})
        for number in range(1, 5):
            before = {each.name: each.address for each in cluster.cluster.workers.values()}
            assert cluster.submit(ActedJob("die", only="worker-1", lost_is="harness")).result(30) == "harness"
            cluster.wait(lambda: len(said) == number)  # noqa: B023
            if number < 4:
                there = cluster.cluster.workers
                cluster.wait(
                    lambda: any(
                        each.name == "worker-1" and each.checked and each.address != before["worker-1"]  # noqa: B023
                        for each in list(there.values())  # noqa: B023
                    )
                )
        assert said == [
            *(f"worker-1: the worker ended by signal 9; it is started again ({n} of 3 times)" for n in (1, 2, 3)),
            "worker-1: the worker ended by signal 9; it is not started again",
        ]
        assert cluster.submit(ActedJob()).result(30)[0] == "done"
        cluster.executor.shutdown(cancel_futures=True)


def test_workers_end_with_their_scheduler_and_are_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with started(tmp_path, said.append) as client:
        client.shutdown()
        time.sleep(4)
    assert said == []


def test_a_build_whose_worker_dies_runs_on_another(alone: Opened) -> None:
    cluster = alone
    build = ActedJob("die")
    assert cluster.submit(build, "build").result(30)[0] == "done"
    assert len(set(build.ran_on)) == 2


def test_a_worker_that_lies_three_times_gets_no_more_work_and_is_named(opened: Open) -> None:
    cluster = opened()
    for _ in range(3):
        assert cluster.submit(ActedJob("lie", only="worker-1", lost_is="harness")).result(30) == "harness"
    assert [line for line in cluster.said if line.startswith("worker-1 gets no more work")]
    jobs = [ActedJob() for _ in range(3)]
    assert [each.result(30)[0] for each in [cluster.submit(one) for one in jobs]] == ["done"] * 3
    assert {name for each in jobs for name in each.ran_on} == {"worker-2"}


def test_a_trial_that_a_worker_cannot_run_is_the_harness_failure_and_three_of_them_bar_it(opened: Open) -> None:
    """Its disk is full, say. The campaign goes on."""
    cluster = opened()
    for _ in range(3):
        assert cluster.submit(ActedJob("full", only="worker-1", lost_is="harness")).result(30) == "harness"
    (line,) = [line for line in cluster.said if line.startswith("worker-1 gets no more work")]
    assert "No space left on device" in line


def test_a_worker_that_does_not_fit_gets_no_such_job_and_the_reason_is_shown(opened: Open) -> None:
    only_builds = Fitness(frozenset({"build"}), ("runs no trials: lvm: not in PATH",))
    cluster = opened(worker_1=only_builds)
    assert "worker-1: runs no trials: lvm: not in PATH" in cluster.said
    jobs = [ActedJob() for _ in range(3)]
    for each in [cluster.submit(one) for one in jobs]:
        each.result(30)
    assert {name for each in jobs for name in each.ran_on} == {"worker-2"}
    assert cluster.cluster.count("build") == 2 and cluster.cluster.count("trial") == 1


def test_a_job_for_which_no_worker_suits_runs_here(opened: Open) -> None:
    nothing = Fitness(frozenset({"trial"}), ("builds nothing: gcc: not in PATH",))
    cluster = opened(worker_1=nothing, worker_2=nothing)
    assert cluster.submit(ActedJob(only="none"), "trial").result(30) == "here: done"


def test_a_trial_that_ends_after_it_was_given_up_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker was silent for long, as one that is cut off the network is, and goes on then."""
    monkeypatch.setitem(SETTINGS, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "3s")
    with started(tmp_path) as client:
        cluster = Opened(client, {})
        address = next(each.address for each in cluster.cluster.workers.values() if each.name == "worker-1")
        pid = client.run(os.getpid, workers=[address])[address]
        trial = ActedJob(seconds=1, only="worker-1", lost_is="harness")
        given_up = cluster.submit(trial)
        cluster.wait(lambda: bool(trial.messages))
        os.kill(pid, signal.SIGSTOP)
        try:
            assert given_up.result(40) == "harness"
            again = ActedJob(seconds=1)
            drawn = cluster.submit(again)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert drawn.result(30)[0] == "done"
        cluster.wait(lambda: not Path(f"/proc/{pid}").exists())  # nobody wants what it has, and it ends
        assert (given_up.result(), trial.ran_on, again.ran_on) == ("harness", ["worker-1"], ["worker-2"])
        cluster.executor.shutdown(cancel_futures=True)


def test_the_end_of_the_scheduler_is_the_harness_failure_of_all(alone: Opened) -> None:
    cluster = alone
    running = ActedJob(seconds=60)
    future = cluster.submit(running)
    cluster.wait(lambda: bool(running.messages))
    cluster.cluster.client.shutdown()
    with pytest.raises(InfraError, match="scheduler"):
        future.result(40)
    with pytest.raises(InfraError, match="scheduler"):
        cluster.submit(ActedJob()).result(40)


def test_what_the_harness_fails_on_a_worker_that_lives_bars_it_after_three_in_a_row(opened: Open) -> None:
    cluster = opened()
    for number in (1, 2, 3):
        assert cluster.submit(ActedJob("trouble", only="worker-1", about=f"kernel {number}")).result(30)
        if number == 2:  # what went well between shows that it was chance
            cluster.submit(ActedJob(only="worker-1", about="kernel 2")).result(30)
    assert not cluster.cluster.barred
    for number in (4, 5):
        cluster.submit(ActedJob("trouble", only="worker-1", about=f"kernel {number}")).result(30)
    assert cluster.cluster.barred == {"worker-1"}
    said = "worker-1 gets no more work: failed in the harness 3 times, last: the harness failed"
    assert said in cluster.said


def test_one_candidate_that_fails_the_harness_everywhere_bars_no_worker(opened: Open) -> None:
    """A kernel that takes its host along may be the bug showing (law 7)."""
    cluster = opened()
    for _ in range(4):
        cluster.submit(ActedJob("trouble", only="worker-1", about="kernel")).result(30)
    assert not cluster.cluster.barred
    cluster.submit(ActedJob(only="worker-2", about="kernel")).result(30)  # elsewhere it does not
    cluster.submit(ActedJob("trouble", only="worker-1", about="kernel")).result(30)
    assert cluster.cluster.barred == {"worker-1"}


def test_a_job_that_hangs_is_the_harness_failure_and_its_slot_is_not_used_again(opened: Open) -> None:
    cluster = opened()
    hanging = ActedJob("hang", seconds=3, only="worker-1", lost_is="harness", silence=1.0)
    assert cluster.submit(hanging).result(30) == "harness"
    assert "worker-1 runs at most 0 of kind trial at once from now on: a job hangs there" in cluster.said
    jobs = [ActedJob() for _ in range(3)]
    for each in [cluster.submit(one) for one in jobs]:
        each.result(30)
    assert {name for each in jobs for name in each.ran_on} == {"worker-2"}
    assert cluster.executor.count("trial") == 1
    assert cluster.submit(ActedJob(only="worker-1")).result(30) == "here: done"


@contextmanager
def slot_of_another_campaign(cluster: Opened, folder: Path) -> Iterator[None]:
    """Meanwhile a trial of another campaign runs on the first worker."""
    client, mark = cluster.cluster.client, folder / "mark"
    (address,) = [each.address for each in cluster.cluster.workers.values() if each.name == "worker-1"]
    future = client.submit(
        place.in_thread, "topic", "job", mark_stop, str(mark),
        workers=[address], resources={"trial": 1}, pure=False,
    )  # fmt: skip
    cluster.wait(mark.exists)
    try:
        yield
    finally:
        future.cancel()
        cluster.wait(lambda: mark.read_text() == "stopped", 5)


def test_a_trial_that_does_not_begin_for_another_campaigns_is_no_failure_of_its_candidate(
    opened: Open, tmp_path: Path
) -> None:
    cluster = opened()
    with slot_of_another_campaign(cluster, tmp_path):
        trial = ActedJob(lost_is="harness", silence=1.0)
        trial.only = "worker-1"
        future = cluster.submit(trial)
        cluster.wait(lambda: trial.ran_on == ["worker-1"])
        trial.only = ""
        assert future.result(20)[0] == "done"
    assert trial.ran_on == ["worker-1", "worker-2"]
    assert not cluster.cluster.faults
    assert "worker-1 runs at most 0 of kind trial at once from now on: none became free in time" in cluster.said


def test_a_job_that_has_not_begun_for_another_campaigns_is_stopped_at_once(opened: Open, tmp_path: Path) -> None:
    cluster = opened()
    with slot_of_another_campaign(cluster, tmp_path):
        trial = ActedJob(only="worker-1")
        future = cluster.submit(trial)
        cluster.wait(lambda: bool(trial.ran_on))
        trial.stop = True
        with pytest.raises(Interrupted):
            future.result(5)
        assert not trial.messages


def test_a_job_that_may_not_begin_yet_holds_no_slot_and_notices_a_stop(opened: Open) -> None:
    cluster = opened()
    waiting = ActedJob(wait=True)
    future = cluster.submit(waiting)
    assert [each.result(30)[0] for each in [cluster.submit(ActedJob()) for _ in range(4)]] == ["done"] * 4
    waiting.stop = True
    with pytest.raises(Interrupted):
        future.result(5)


def test_a_job_that_may_not_begin_yet_leaves_free_slots_to_what_nobody_needs_yet(opened: Open) -> None:
    """A build that waits until another search has made the same one."""
    cluster = opened()
    waiting = ActedJob(wait=True)
    future = cluster.submit(waiting, "build")
    assert cluster.submit(ActedJob(), "ahead").result(30)[0] == "done"
    waiting.wait = False
    assert future.result(30)[0] == "done"


@dataclass(eq=False)
class QueuedJob(ActedJob):
    """Shows when it waits for a slot, and in which order such jobs got one: the cluster asks both of a job."""

    slot: str = ""
    taken: list[str] = field(default_factory=list)
    waits: threading.Event = field(default_factory=threading.Event)

    def cancelled(self) -> bool:
        self.waits.set()
        return super().cancelled()

    def ready(self) -> bool:
        self.taken.append(self.slot)
        return super().ready()


def test_a_build_that_somebody_waits_for_goes_before_one_that_is_ahead(opened: Open) -> None:
    cluster = opened()
    running = [ActedJob(seconds=60) for _ in range(2)]
    futures = [cluster.submit(each, "build") for each in running]
    cluster.wait(lambda: all(each.messages for each in running))
    taken: list[str] = []
    later = [QueuedJob(slot=slot, taken=taken) for slot in ("ahead", "ahead", "build", "build")]
    futures += [cluster.submit(each, each.slot) for each in later]
    assert all(each.waits.wait(30) for each in later)
    for each in running:
        each.stop = True
    for future in futures:
        future.result(30)
    assert taken == ["build", "build", "ahead", "ahead"]


def test_a_job_whose_result_nobody_awaits_any_more_ends_on_its_worker(opened: Open, tmp_path: Path) -> None:
    """The worker sees it by the state of Dask's task, which is Dask's own affair: so it is tried."""
    client = opened().cluster.client
    (address,) = list(client.scheduler_info()["workers"])[:1]
    mark = tmp_path / "mark"
    future = client.submit(place.in_thread, "topic", "job", mark_stop, str(mark), workers=[address], pure=False)
    Opened.wait(lambda: mark.exists() and mark.read_text() == "began")
    future.cancel()
    del future
    Opened.wait(lambda: mark.read_text() == "stopped", 5)
