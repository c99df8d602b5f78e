# SPDX-License-Identifier: GPL-2.0-only
"""One seam for work that takes long: builds and trials, in slots of their own, shaped like concurrent.futures.

The local pool uses threads: a job spends its time waiting for processes. A distributed engine can stand behind the
same calls, so a job and its arguments should be picklable and stop by a CancelToken, never by shared memory.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Slot = Literal["build", "trial"]


class Pool:
    """Runs jobs in ``builds`` and ``trials`` slots, apart: a build must not eat an emulated trial's deadline."""

    def __init__(self, *, builds: int, trials: int) -> None:
        self._pools: dict[Slot, ThreadPoolExecutor] = {
            "build": ThreadPoolExecutor(builds, thread_name_prefix="build"),
            "trial": ThreadPoolExecutor(trials, thread_name_prefix="trial"),
        }

    def submit(self, slot: Slot, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue ``job(*args)`` in a slot. Raises RuntimeError after shutdown."""
        return self._pools[slot].submit(job, *args, **kwargs)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Take no more jobs; with ``cancel_futures`` drop those that did not start. Running ones end by their token."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            for pool in self._pools.values():
                pool.shutdown(wait=True)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)
