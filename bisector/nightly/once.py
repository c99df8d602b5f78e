# SPDX-License-Identifier: GPL-2.0-only
"""Work that several threads need and one of them does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Once:
    """Work of a night, each piece done once: by whoever comes to it first, while the others wait for what it gives."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: dict[Hashable, Future[Any]] = field(default_factory=dict)

    def get(self, key: Hashable, work: Callable[[], T]) -> T:
        """What ``work`` gives, or gave. Raises what it raises, or raised."""
        with self._lock:
            done = self._done.get(key)
            mine = done is None
            if done is None:
                done = self._done[key] = Future()
        if mine:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
                raise
        result: T = done.result()
        return result
