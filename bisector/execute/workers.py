# SPDX-License-Identifier: GPL-2.0-only
"""The workers of a Dask cluster as one campaign sees them: which there are, what they are good for, which slot is free.

Which worker runs a job is chosen here: a job whose worker dies is the harness's failure and must be seen as one
(law 7), while Dask would quietly run it again elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client

from bisector.errors import InfraError, Interrupted
from bisector.execute.remote import RESOURCES, Fitness, RemoteJob, Worker

TICK = 0.25  # seconds between two looks at a job's token
ROUND = 1.0  # seconds between two looks at the scheduler's list of workers
SILENCE = 30.0  # seconds after which a scheduler that does not answer is gone
STARTING = 60.0  # seconds to wait for the first worker
RUNNING = "running"  # a client that connects again has dropped all that it waited for
FAULTS = 3  # of one kind in a row, after which a worker gets no more work
LOST, HANGS, LIES, FAILED = "lost", "hangs", "sent what it is not", "failed"
IN_HARNESS = "failed in the harness"
"""Kinds of a worker's faults, as they are named."""
OF_A_CANDIDATE = (LOST, HANGS, IN_HARNESS)
"""Those that a candidate may be the cause of."""


class Cluster:
    """The scheduler's workers as this campaign sees them.

    Args:
        client: connected to the scheduler.
        check: asks a worker what it is good for, by a function that runs there; may note facts of it.
        say: takes a line for the person who watches.
    """

    def __init__(self, client: Client, check: Callable[[Cluster, Worker], Fitness], say: Callable[[str], None]) -> None:
        self.client, self._check, self._say = client, check, say
        self.changed = threading.Condition()
        self.workers: dict[str, Worker] = {}  # by address
        self.faults: dict[tuple[str, str, str], list[str]] = {}  # by worker's name, slot and kind: what each was about
        self.barred: set[str] = set()  # names
        self._well: dict[str, set[str]] = {}  # what jobs were about that went well → names of workers
        self._waiting: dict[str, set[RemoteJob]] = {
            slot: set() for slot in RESOURCES
        }  # for a slot, and somebody for them
        self.dead = ""
        self._heard: dict[str, Callable[[Any], None]] = {}
        self._closed = threading.Event()
        self.topic = f"bisector-{client.id}"
        client.subscribe_topic(self.topic, self._message)
        self._watcher = threading.Thread(target=self._watch, name="cluster", daemon=True)

    def say(self, line: str) -> None:
        """Show a line to the person who watches."""
        self._say(line)

    def wait_for_worker(self) -> None:
        """Wait until the workers that are there are checked. Raises InfraError where none is of use."""
        end = time.monotonic() + STARTING
        self._watcher.start()
        with self.changed:
            while True:  # all that are there count: slots are handed out by their number
                usable = any(worker.fitness.slots for worker in self.workers.values())
                checked = bool(self.workers) and all(worker.checked for worker in self.workers.values())
                over = checked or time.monotonic() > end
                if usable and over:
                    return
                self.require()
                if over:
                    why = "no worker of the cluster can run this" if self.workers else "the cluster has no worker"
                    reasons = [f"{w.name}: {reason}" for w in self.workers.values() for reason in w.fitness.reasons]
                    raise InfraError(why, hint="\n".join(reasons) or "start one: docs/cluster.md")
                self.changed.wait(TICK)

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        with self.changed:
            self.changed.notify_all()

    def require(self) -> None:
        """Raises InfraError when the scheduler is gone."""
        if self.dead or self.client.status != RUNNING:
            raise self.lost()

    def lost(self, error: BaseException | None = None) -> InfraError:
        """The scheduler is gone; ``error``: by which this was seen."""
        what = self.dead or f"the scheduler of the cluster is gone{f': {error}' if error else ''}"
        return InfraError(what, hint="what is finished is kept; without --cluster it goes on on this host")

    def count(self, slot: str) -> int:
        """Slots of that kind on workers that take such jobs."""
        with self.changed:
            usable = [each for each in self.workers.values() if slot in each.fitness.slots]
            return sum(worker.slots.get(slot, 0) for worker in usable)

    # ---- slots

    def take(self, slot: str, job: RemoteJob, *, ahead: bool = False) -> tuple[Worker, int] | None:
        """A free slot on the worker that suits best, and its number; None where no worker suits, now or later.

        Waits. ``ahead``: nobody waits for the job, so it lets the others go before it. Raises Interrupted when the job
        is cancelled meanwhile, InfraError when the scheduler is gone.
        """
        with self._in_line(slot, job, ahead):
            return self._take(slot, job, ahead)

    @contextmanager
    def _in_line(self, slot: str, job: RemoteJob, ahead: bool) -> Iterator[None]:
        with self.changed:
            self._waiting[slot] |= set() if ahead else {job}
        try:
            yield
        finally:
            with self.changed:
                self._waiting[slot].discard(job)

    def _take(self, slot: str, job: RemoteJob, ahead: bool) -> tuple[Worker, int] | None:
        end = time.monotonic() + STARTING
        while True:
            if job.cancelled() or self._closed.is_set():
                raise Interrupted("stopped before a slot was free")
            with self.changed:
                self.require()
                fit = [(job.fits(worker), worker) for worker in self.workers.values() if self._usable(worker, slot)]
                suits = [(how, worker) for how, worker in fit if how]
                free = [(-self._faulty(worker, slot), how, -worker.work, worker) for how, worker in suits
                        if worker.free(slot)]  # fmt: skip
                if free and not (ahead and self._waiting[slot]) and self._ready(slot, job):
                    worker = max(free, key=lambda each: each[:3])[3]
                    number = next(n for n in range(1, 1 << 20) if n not in worker.busy[slot])
                    worker.busy[slot].add(number)
                    return worker, number
                if not free and not ahead:
                    self._waiting[slot].add(job)
                if not suits and (fit or self._none_is_for(slot) or time.monotonic() > end):
                    return None
                self.changed.wait(TICK)

    def _ready(self, slot: str, job: RemoteJob) -> bool:
        """Whether it may begin. While a slot is free that it does not take, it keeps out nobody that is ahead."""
        ready = job.ready()
        if not ready:
            self._waiting[slot].discard(job)
        return ready

    def give_back(self, worker: Worker, slot: str, number: int) -> None:
        """The slot is free."""
        with self.changed:
            worker.busy[slot].discard(number)
            self.changed.notify_all()

    def _none_is_for(self, slot: str) -> bool:
        """Whether workers are here, all of them checked, and none takes such jobs."""
        here = [worker for worker in self.workers.values() if not worker.gone and worker.name not in self.barred]
        return bool(here) and all(worker.checked and not self._usable(worker, slot) for worker in here)

    def _usable(self, worker: Worker, slot: str) -> bool:
        takes = slot in worker.fitness.slots and worker.slots.get(slot, 0) > 0
        return takes and worker.name not in self.barred and not worker.gone

    def _faulty(self, worker: Worker, slot: str) -> int:
        return sum(len(each) for (name, of, _), each in self.faults.items() if (name, of) == (worker.name, slot))

    # ---- faults

    def failed(self, worker: Worker, slot: str, kind: str, what: str, about: str) -> None:
        """Count a failure of the worker; three of a kind bar it.

        Not where all of them are about one candidate, with which no other worker has fared better: then it may be the
        candidate that fails the harness, and the judge tries another one (law 7). The last worker stays, too: whether
        anything works is for the judge to find out.
        """
        with self.changed:
            seen = self.faults.setdefault((worker.name, slot, kind), [])
            seen.append(about)
            its_own = kind not in OF_A_CANDIDATE or len(set(seen)) > 1 or self._well.get(about, set()) - {worker.name}
            others = {each.name for each in self.workers.values() if each.fitness.slots and not each.gone}
            bar = len(seen) >= FAULTS and bool(its_own) and bool(others - self.barred - {worker.name})
            bar = bar and worker.name not in self.barred
            if bar:
                self.barred.add(worker.name)
                self.changed.notify_all()
        if bar:
            self._say(f"{worker.name} gets no more work: {kind} {len(seen)} times, last: {what}")

    def worked(self, worker: Worker, slot: str, about: str) -> None:
        """A job of the slot went well there: what was counted before was chance."""
        with self.changed:
            self._well.setdefault(about, set()).add(worker.name)
            for kind in [key for key in self.faults if key[:2] == (worker.name, slot)]:
                del self.faults[kind]

    def lose_slot(self, worker: Worker, slot: str, why: str) -> None:
        """A slot of the worker is of no use to us, which has one less from now on."""
        with self.changed:
            worker.slots[slot] = max(0, worker.slots.get(slot, 0) - 1)
            left = worker.slots[slot]
        self._say(f"{worker.name} runs at most {left} of kind {slot} at once from now on: {why}")

    # ---- messages of jobs

    def listen(self, identity: str, hear: Callable[[Any], None]) -> None:
        """Hand on what the job of that id sends."""
        self._heard[identity] = hear

    def unlisten(self, identity: str) -> None:
        """See ``listen``."""
        self._heard.pop(identity, None)

    def _message(self, event: tuple[float, Any]) -> None:
        identity, message = event[1]
        if hear := self._heard.get(identity):
            hear(message)

    # ---- the scheduler's list

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                scheduler = self.client.scheduler
                assert scheduler is not None
                listed = self.client.sync(scheduler.identity, n_workers=-1, callback_timeout=SILENCE)
            except Exception as error:  # noqa: BLE001  # whatever it is: nobody answers
                if not self._closed.is_set():
                    with self.changed:
                        self.dead = f"the scheduler of the cluster does not answer: {error or type(error).__name__}"
                        self.changed.notify_all()
                return
            self._compare(listed["workers"])
            self._closed.wait(ROUND)

    def _compare(self, listed: dict[str, dict[str, Any]]) -> None:
        with self.changed:
            for address in set(self.workers) - set(listed):
                worker = self.workers.pop(address)
                worker.gone = True
                self._say(f"{worker.name} is gone")
            new = [_worker(address, listed[address]) for address in listed if address not in self.workers]
            self.workers |= {worker.address: worker for worker in new}
            self.changed.notify_all()
        for worker in new:
            threading.Thread(target=self._begin, args=(worker,), name="check", daemon=True).start()

    def _begin(self, worker: Worker) -> None:
        """Check a new worker, and use it."""
        try:
            fitness = self._check(self, worker)
        except Exception as error:  # noqa: BLE001  # of another version, or gone already: it is not used
            fitness = Fitness(frozenset(), (f"its check failed: {error or type(error).__name__}",))
        if not any(worker.slots.values()):
            wanted = "start it with --resources 'build=1 trial=2'"
            fitness = Fitness(frozenset(), (f"it has no slot; {wanted}",))
        with self.changed:
            worker.fitness, worker.checked = fitness, True
            self.changed.notify_all()
        for reason in fitness.reasons:
            self._say(f"{worker.name}: {reason}")


def _worker(address: str, listed: dict[str, Any]) -> Worker:
    resources = listed.get("resources") or {}
    slots = {slot: int(resources.get(slot, 0)) for slot in RESOURCES}
    name = listed.get("name")  # Dask's own clusters count from 0
    return Worker(address if name is None else str(name), address, slots)
