# SPDX-License-Identifier: GPL-2.0-only
"""The worker's side of a job: a thread of a Dask worker that ends when its campaign stops it, or is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
TICK = 0.25  # seconds between two looks at whether somebody still waits
BEGUN = "begun"  # what a job sends first: {BEGUN: its task's key}

_stops: dict[str, threading.Event] = {}
"""Of the jobs of this worker that are to stop."""


@dataclass(frozen=True)
class Place:
    """What a job on a worker knows of where it runs. ``send`` reports to its campaign; ``stop`` is set to end it."""

    send: Callable[[Any], None]
    stop: threading.Event


def in_thread(topic: str, job: str, function: Callable[..., T], *args: object) -> T:
    """Run ``function(place, *args)`` in this thread of the worker. ``topic``: that its campaign hears."""
    from distributed import get_worker

    worker, ended = get_worker(), threading.Event()
    key, stop = worker.get_current_task(), _stops.setdefault(job, threading.Event())

    def watch() -> None:
        while not ended.wait(TICK):
            task = worker.state.tasks.get(key)
            if task is None or task.state in ("cancelled", "resumed"):  # nobody waits for its result
                stop.set()

    threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        worker.log_event(topic, (job, {BEGUN: key}))  # before that it waited for the slot, which others use, too
        return function(Place(lambda message: worker.log_event(topic, (job, message)), stop), *args)
    finally:
        ended.set()
        _stops.pop(job, None)


async def stop(job: str) -> None:
    """End a job of this worker. A coroutine: its worker runs it between other things, and nobody waits for it."""
    if event := _stops.get(job):
        event.set()
