# SPDX-License-Identifier: GPL-2.0-only
"""Jobs on the workers of a Dask cluster (https://distributed.dask.org): Dask moves data and calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from bisector.errors import BisectorError, InfraError, Interrupted
from bisector.execute import place
from bisector.execute.executor import Executor, Slot
from bisector.execute.remote import (
    RemoteJob,
    UnsuitableWorker,
    Worker,
    WorkerBusy,
    WorkerFailed,
    WorkerLost,
    WorkerMismatch,
    WorkerTimeout,
)
from bisector.execute.work import Work, working
from bisector.execute.workers import FAILED, FAULTS, HANGS, IN_HARNESS, LIES, LOST, SILENCE, TICK, Cluster

P = ParamSpec("P")
T = TypeVar("T")
KINDS: dict[type[Exception], str] = {WorkerLost: LOST, WorkerTimeout: HANGS, WorkerMismatch: LIES, WorkerFailed: FAILED}
"""How a worker's faults are counted and named."""
ANSWER = 900.0
"""Seconds within which a worker answers a question; taking in a kernel's first tree takes a slow disk a minute."""
TIDY = 10.0  # seconds for what is removed of a job that was stopped
MOST = 1024  # jobs at once; as many of them run as the workers have slots


@dataclass(eq=False)
class RemoteCall:
    """See Call. ``job`` names it in messages; ``cancelled``: whether it is to stop; ``hear`` takes its messages."""

    cluster: Cluster
    worker: Worker
    job: str
    slot: str
    cancelled: Callable[[], bool] = lambda: False
    hear: Callable[[Any], None] = lambda _: None
    _last: float = 0.0  # when it was heard, by the monotonic clock
    _begun: str = ""  # key of the task that began last

    def run(self, function: Callable[..., T], *args: object, silence: float) -> T:
        """See Call."""
        return self._result(function, args, {self.slot: 1}, silence)

    def ask(self, function: Callable[..., T], *args: object) -> T:
        """See Call."""
        return self._result(function, args, None, ANSWER)

    def heard(self, message: Any) -> None:
        """Take a message of the job."""
        self._last = time.monotonic()
        if isinstance(message, dict) and place.BEGUN in message:
            self._begun = message[place.BEGUN]
        else:
            self.hear(message)

    def send(self, data: bytes) -> Any:
        """See Call."""
        self._stop_if_cancelled()
        try:
            return self.cluster.client.scatter(data, workers=[self.worker.address], hash=False)
        except Exception as error:
            self.cluster.require()
            raise WorkerLost(f"{self.worker.name} takes no data: {error or type(error).__name__}") from error

    def tidy(self, function: Callable[..., object], *args: object) -> None:
        """See Call."""
        with suppress(WorkerLost, WorkerFailed, WorkerBusy, InfraError):
            replace(self, cancelled=lambda: False)._result(function, args, None, TIDY)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See Call."""
        while not self.worker.lock.acquire(timeout=TICK):
            self._stop_if_cancelled()
        try:
            yield
        finally:
            self.worker.lock.release()

    def _stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise Interrupted(f"stopped before it began on {self.worker.name}")

    def _result(
        self, function: Callable[..., T], args: tuple[object, ...], resources: dict[str, int] | None, silence: float
    ) -> T:
        self._stop_if_cancelled()
        self._last = time.monotonic()
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
                    self._stop()
                    if self._begun != future.key:  # it waits for what another campaign runs there
                        self._stop_if_cancelled()
                if time.monotonic() - self._last > silence:
                    self._stop()
                    if self._begun != future.key:
                        raise WorkerBusy(f"{self.worker.name}: it did not begin for {silence:.0f} s")
                    raise WorkerTimeout(f"{self.worker.name} hangs: nothing was heard of its job for {silence:.0f} s")
            return self._taken(future)  # type: ignore[no-any-return]
        finally:
            future.release()

    def _stop(self) -> None:
        address = self.worker.address
        self.cluster.client.run(place.stop, self.job, workers=[address], wait=False, on_error="ignore")

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
        ahead: builds at once, at most, that nobody needs yet; None: as builders are idle.
    """

    def __init__(
        self,
        cluster: Cluster,
        translate: Callable[[Callable[..., Any], tuple[Any, ...]], RemoteJob | None],
        local: Executor,
        *,
        ahead: int | None = None,
    ) -> None:
        self.cluster, self._translate, self._local, self._ahead = cluster, translate, local, ahead
        slots: tuple[Slot, ...] = ("build", "trial", "ahead")
        self._pools = {slot: ThreadPoolExecutor(MOST, thread_name_prefix=slot) for slot in slots}
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

    def count(self, slot: Slot) -> int:
        """Jobs of that kind that run at once, as workers are there now. One builder is left to what is needed."""
        if slot != "ahead":
            return max(1, self.cluster.count(slot))
        idle = max(1, self.cluster.count("build") - 1)
        return idle if self._ahead is None else min(self._ahead, idle)

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
            taken = self.cluster.take(kind, job, ahead=slot == "ahead")
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
        call = RemoteCall(self.cluster, worker, identity, slot, job.cancelled, job.heard)
        self.cluster.listen(identity, call.heard)
        try:
            result = job.run(call)
            if what := job.trouble(result):
                self.cluster.failed(worker, slot, IN_HARNESS, what, job.about)
            elif not job.cancelled():
                self.cluster.worked(worker, slot, job.about)
            return result
        except WorkerBusy:
            self.cluster.lose_slot(worker, slot, "none became free in time")
            raise
        except (WorkerLost, WorkerMismatch, WorkerFailed) as error:
            if isinstance(error, WorkerTimeout):
                self.cluster.lose_slot(worker, slot, "a job hangs there")
            self.cluster.failed(worker, slot, KINDS[type(error)], str(error), job.about)
            return job.lost(str(error))
        finally:
            self.cluster.unlisten(identity)
