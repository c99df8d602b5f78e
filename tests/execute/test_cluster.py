# SPDX-License-Identifier: GPL-2.0-only
"""Jobs on real workers of a real scheduler; what the jobs do is acted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bisector.errors import InfraError, Interrupted
from bisector.system.proc import Processes
from tests.execute.acted import ActedJob, job

distributed = pytest.importorskip("distributed")

from bisector.execute.cluster import ClusterExecutor  # noqa: E402
from bisector.execute.local import LocalExecutor  # noqa: E402
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


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    from contextlib import ExitStack

    with ExitStack() as ending:

        def open_with(**fitness: Fitness) -> Opened:
            environ = {**os.environ, "PYTHONPATH": str(ROOT)}
            starting = StartSetting(tmp_path / "state", Processes(tmp_path / "processes"), environ)
            client = ending.enter_context(reached("local:2", starting))
            made = Opened(client, {name.replace("_", "-"): each for name, each in fitness.items()})
            ending.callback(made.executor.shutdown, cancel_futures=True)
            return made

        yield open_with
    assert not list((tmp_path / "processes").glob("*"))


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


def test_a_trial_whose_worker_dies_is_the_harness_failure(opened: Open) -> None:
    cluster = opened()
    trial = ActedJob("die", only="worker-1", lost_is="harness")
    assert cluster.submit(trial).result(30) == "harness"
    cluster.wait(lambda: "worker-1 is gone" in cluster.said)
    again = ActedJob()
    assert cluster.submit(again).result(30)[0] == "done"
    assert again.ran_on == ["worker-2"]


def test_a_build_whose_worker_dies_runs_on_another(opened: Open) -> None:
    cluster = opened()
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


def test_the_end_of_the_scheduler_is_the_harness_failure_of_all(opened: Open) -> None:
    cluster = opened()
    running = ActedJob(seconds=60)
    future = cluster.submit(running)
    cluster.wait(lambda: bool(running.messages))
    cluster.cluster.client.shutdown()
    with pytest.raises(InfraError, match="scheduler"):
        future.result(40)
    with pytest.raises(InfraError, match="scheduler"):
        cluster.submit(ActedJob()).result(40)


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help")])
def test_without_a_cluster_nothing_of_dask_is_imported(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom bisector.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "import bisector.session\n"
        "found = {name.partition('.')[0] for name in sys.modules} & {'dask', 'distributed', 'asyncssh'}\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
