# SPDX-License-Identifier: GPL-2.0-only
"""Jobs on the workers of a Dask cluster (https://distributed.dask.org): Dask moves data and calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from bisector.errors import BisectorError, InfraError, Interrupted
from bisector.execute import place
from bisector.execute.executor import Executor, Slot
from bisector.execute.remote import RemoteJob, UnsuitableWorker, Worker, WorkerFailed, WorkerLost, WorkerMismatch
from bisector.execute.work import Work, working
from bisector.execute.workers import FAULTS, SILENCE, TICK, Cluster

P = ParamSpec("P")
T = TypeVar("T")
KINDS: dict[type[Exception], str] = {WorkerLost: "lost", WorkerMismatch: "sent what it is not", WorkerFailed: "failed"}
"""How a worker's faults are counted and named."""


@dataclass(eq=False)
class RemoteCall:
    """See Call. ``job`` names it in messages; ``cancelled``: whether it is to stop."""

    cluster: Cluster
    worker: Worker
    job: str
    slot: str
    cancelled: Callable[[], bool] = lambda: False

    def run(self, function: Callable[..., T], *args: object) -> T:
        """See Call."""
        return self._result(function, args, {self.slot: 1} if self.slot else None)

    def ask(self, function: Callable[..., T], *args: object) -> T:
        """See Call."""
        return self._result(function, args, None)

    def send(self, data: bytes) -> Any:
        """See Call."""
        try:
            return self.cluster.client.scatter(data, workers=[self.worker.address], hash=False)
        except Exception as error:
            self.cluster.require()
            raise WorkerLost(f"{self.worker.name} takes no data: {error or type(error).__name__}") from error

    def _result(self, function: Callable[..., T], args: tuple[object, ...], resources: dict[str, int] | None) -> T:
        client, ended, stopped = self.cluster.client, threading.Event(), False
        try:
            future = client.submit(
                place.in_thread, self.cluster.topic, self.job, function, *args,
                workers=[self.worker.address], resources=resources, pure=False, retries=0,
            )  # fmt: skip
        except Exception as error:
            raise self.cluster.lost(error) from error
        future.add_done_callback(lambda _: ended.set())
        try:
            while not ended.wait(TICK):
                self.cluster.require()
                if self.worker.gone:
                    raise WorkerLost(f"{self.worker.name} died or no longer answers")
                if not stopped and self.cancelled():
                    stopped = True
                    client.run(place.stop, self.job, workers=[self.worker.address], wait=False, on_error="ignore")
            return self._taken(future)  # type: ignore[no-any-return]
        finally:
            future.release()

    def _taken(self, future: Any) -> Any:
        """The result. What Dask itself raises says that the worker or the scheduler is gone."""
        name = self.worker.name
        if future.status not in ("finished", "error"):
            self.cluster.require()
            if future.status == "cancelled":  # by the client itself, when it loses its scheduler
                raise self.cluster.lost()
            raise WorkerLost(f"{name}: its job was {future.status}")
        try:
            raised = future.exception(timeout=SILENCE)
            if raised is None:
                return future.result(timeout=SILENCE)
        except Exception as error:
            self.cluster.require()
            raise WorkerLost(f"the result of {name} was lost: {type(error).__name__}") from error
        if type(raised).__module__.startswith("distributed"):
            raise WorkerLost(f"{name} died: {type(raised).__name__}") from raised
        if isinstance(raised, BisectorError | OSError) and not isinstance(raised, Interrupted):
            for held in ("images", "trees"):  # it may have lost what it held
                self.worker.notes.pop(held, None)
            raise WorkerFailed(f"{name}: {raised}") from raised
        raise raised


class ClusterExecutor:
    """Runs jobs on a cluster, and those that cannot travel on this host.

    Args:
        translate: gives the form in which a job travels; None for one that only this host can run.
        local: runs the others.
    """

    def __init__(
        self,
        cluster: Cluster,
        translate: Callable[[Callable[..., Any], tuple[Any, ...]], RemoteJob | None],
        local: Executor,
        *,
        ahead: int = 0,
    ) -> None:
        self.cluster, self._translate, self._local = cluster, translate, local
        sizes = {"build": max(1, cluster.count("build")), "trial": max(1, cluster.count("trial")), "ahead": ahead}
        self._pools = {slot: ThreadPoolExecutor(size, thread_name_prefix=slot) for slot, size in sizes.items() if size}
        self._count = 0
        self._lock = threading.Lock()

    def submit(self, slot: Slot, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue ``job(*args)`` in a slot. Raises RuntimeError after shutdown."""
        remote = self._translate(job, args) if not kwargs else None
        if remote is None:
            return self._local.submit(slot, job, *args, **kwargs)
        return self._pools[slot].submit(
            self._run, slot, remote, lambda: self._local.submit(slot, job, *args, **kwargs).result()
        )

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Take no more jobs; with ``cancel_futures`` drop those that did not start. Running ones end by their token."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=cancel_futures)
        self._local.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for pool in self._pools.values():
                pool.shutdown(wait=True)
        self.cluster.close()

    def _run(self, slot: Slot, job: RemoteJob, here: Callable[[], T]) -> T:
        """In a thread of ours, from the wait for a slot to the result. ``here``: the job on this host."""
        kind, tries = "build" if slot == "ahead" else slot, 0
        while True:
            taken = self.cluster.take(kind, job)
            if taken is None:
                return here()
            worker, number = taken
            try:
                with working(Work(f"{slot} {number}", worker.name)):
                    return self._run_on(worker, kind, job)  # type: ignore[no-any-return]
            except UnsuitableWorker:
                continue
            except WorkerLost as error:
                tries += 1
                if tries >= FAULTS:
                    raise InfraError(f"{tries} workers failed at it, last: {error}") from error
            finally:
                self.cluster.give_back(worker, kind, number)

    def _run_on(self, worker: Worker, slot: str, job: RemoteJob) -> Any:
        with self._lock:
            self._count += 1
            identity = f"{self.cluster.topic}-{self._count}"
        self.cluster.listen(identity, job)
        try:
            return job.run(RemoteCall(self.cluster, worker, identity, slot, job.cancelled))
        except (WorkerLost, WorkerMismatch, WorkerFailed) as error:
            self.cluster.failed(worker, KINDS[type(error)], str(error))
            return job.lost(str(error))
        finally:
            self.cluster.unlisten(identity)
