# SPDX-License-Identifier: GPL-2.0-only
"""Jobs in threads of this process: each spends its time waiting for processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from bisector.execute.executor import Slot
from bisector.execute.work import SlotNumbers, Work, working

P = ParamSpec("P")
T = TypeVar("T")
NICEST = 19


class LocalExecutor:
    """Runs jobs in so many ``builds``, ``trials`` and ``ahead`` slots of this host."""

    def __init__(self, *, builds: int, trials: int, ahead: int = 0) -> None:
        self._pools: dict[Slot, ThreadPoolExecutor] = {
            "build": ThreadPoolExecutor(builds, thread_name_prefix="build"),
            "trial": ThreadPoolExecutor(trials, thread_name_prefix="trial"),
        }
        if ahead:
            self._pools["ahead"] = ThreadPoolExecutor(ahead, thread_name_prefix="ahead", initializer=give_way)
        self._sizes: dict[Slot, int] = {"build": builds, "trial": trials, "ahead": ahead}
        self._numbers: dict[Slot, SlotNumbers] = {slot: SlotNumbers() for slot in self._pools}

    def submit(self, slot: Slot, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue ``job(*args)`` in a slot. Raises RuntimeError after shutdown."""
        return self._pools[slot].submit(self._in_slot(slot, job), *args, **kwargs)

    def _in_slot(self, slot: Slot, job: Callable[P, T]) -> Callable[P, T]:
        def numbered(*args: P.args, **kwargs: P.kwargs) -> T:
            with self._numbers[slot].taken() as number, working(Work(f"{slot} {number}")):
                return job(*args, **kwargs)

        return numbered

    def count(self, slot: Slot) -> int:
        """Jobs of that kind that run at once."""
        return self._sizes[slot]

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Take no more jobs; with ``cancel_futures`` drop those that did not start. Running ones end by their token."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            for pool in self._pools.values():
                pool.shutdown(wait=True)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)


def give_way() -> None:
    """Lowest priority for this thread and the processes that it starts. Linux has a nice value for each thread."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICEST)
