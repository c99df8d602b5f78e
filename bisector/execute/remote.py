# SPDX-License-Identifier: GPL-2.0-only
"""What a job is that runs on another machine, and what is known of the workers that run it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
RESOURCES = ("build", "trial")
"""Names of a worker's slots: resources of Dask's."""


class WorkerLost(Exception):
    """The worker died, or no longer answers, while it ran a job. The text says which one and how."""


class WorkerTimeout(WorkerLost):
    """The worker lives, and its job has been silent for too long: the slot is lost."""


class WorkerMismatch(Exception):
    """What a worker sent back is not what it says it is."""


class WorkerFailed(Exception):
    """The worker could not run the job: its disk is full, or what it needs is gone there."""


class UnsuitableWorker(Exception):
    """The worker turned out not to suit this job; it is noted, and another one is taken."""


class WorkerBusy(UnsuitableWorker):
    """A job did not begin there: what others run holds the slot."""


@dataclass(frozen=True)
class Fitness:
    """What a worker is good for. ``slots``: kinds of jobs that it gets; ``reasons``: why it gets no others."""

    slots: frozenset[str]
    reasons: tuple[str, ...] = ()


@dataclass(eq=False)
class Worker:
    """A worker of the cluster. ``notes``: what jobs remember of it; ``address`` is another one after a restart."""

    name: str
    address: str
    slots: dict[str, int]
    fitness: Fitness = field(default_factory=lambda: Fitness(frozenset()))
    checked: bool = False
    gone: bool = False
    busy: dict[str, set[int]] = field(default_factory=lambda: {slot: set() for slot in RESOURCES})
    notes: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def work(self) -> int:
        """Jobs that it runs."""
        return sum(map(len, self.busy.values()))

    def free(self, slot: str) -> bool:
        """Whether it can take a job of that slot now."""
        return slot in self.fitness.slots and len(self.busy[slot]) < self.slots.get(slot, 0)


class Call(Protocol):
    """Calls functions on the worker that a job was given."""

    worker: Worker

    def run(self, function: Callable[..., T], *args: object, silence: float) -> T:
        """The job itself, in the slot. ``silence``: seconds without a message of it after which it hangs.

        Raises WorkerLost, WorkerTimeout, WorkerBusy where it has not begun by then, InfraError where the scheduler is
        gone, Interrupted where the job is cancelled before it begins, and its errors.
        """
        ...

    def ask(self, function: Callable[..., T], *args: object) -> T:
        """A question beside the job, which takes no slot. Raises as ``run``."""
        ...

    def send(self, data: bytes) -> Any:
        """Bring data to the worker; what comes back stands for it among the arguments. Raises WorkerLost, Interrupted.

        Nothing breaks it off: little data at once.
        """
        ...

    def tidy(self, function: Callable[..., object], *args: object) -> None:
        """``ask``, also once the job is cancelled, to remove what it left. A failure of it is nobody's concern."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Meanwhile no other job brings something to this worker. Raises Interrupted where the job is cancelled."""
        ...


class RemoteJob(Protocol):
    """A job in a form that a worker can run. Its methods are called on the campaign's host."""

    @property
    def about(self) -> str:
        """Names the candidate: several failures at one alone may be its own (law 7)."""
        ...

    def cancelled(self) -> bool:
        """Whether it is to stop."""
        ...

    def ready(self) -> bool:
        """Whether it may begin now; called again until it may. What is then given a worker is run, or lost."""
        ...

    def heard(self, message: Any) -> None:
        """Take a message that the job sent while it ran."""
        ...

    def fits(self, worker: Worker) -> int:
        """How well the worker suits: 0 not at all, more is better."""
        ...

    def run(self, call: Call) -> Any:
        """Bring what it needs to the worker, run it there, take over what it made.

        Raises WorkerLost, WorkerMismatch, WorkerFailed.
        """
        ...

    def trouble(self, result: Any) -> str:
        """How the harness failed in a result that ``run`` gave, "" where it did not."""
        ...

    def lost(self, what: str) -> Any:
        """Its result where the worker failed it. Raises WorkerLost where it is to be run again on another worker."""
        ...
