# SPDX-License-Identifier: GPL-2.0-only
"""What an engine that runs jobs can do, shaped like concurrent.futures.

A job is a function whose arguments can be pickled, and it stops by a CancelToken, never by shared memory: the local
engine's threads do not need that, one on other machines does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Slot = Literal["build", "trial", "ahead"]
"""``ahead``: a build that nobody waits for; it gives way to the others."""


class Executor(Protocol):
    """Runs jobs in slots of each kind, apart: a build must not eat an emulated trial's deadline."""

    def submit(self, slot: Slot, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue ``job(*args)`` in a slot. Raises RuntimeError after shutdown."""

    def count(self, slot: Slot) -> int:
        """Jobs of that kind that run at once now; machines may come and go."""

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Take no more jobs; with ``cancel_futures`` drop those that did not start. Running ones end by their token."""
