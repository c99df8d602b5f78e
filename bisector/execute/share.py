# SPDX-License-Identifier: GPL-2.0-only
"""The trial slots of a session, shared by all who decide by trials at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class SlotUser(Protocol):
    """Who may have trials begun before they are needed. Called under the lock of the slots."""

    @property
    def wants(self) -> bool:
        """Whether somebody decides by its trials now."""

    def rank(self) -> int | None:
        """Of the likeliest to be needed of its trials that have not begun, 0 for one that is needed next; None where it
        wants none."""

    def begin_next(self) -> None:
        """Begin that trial."""


class TrialSlots:
    """The slots. What one user wants early never keeps another, whose next trial waits, out of a free one.

    Args:
        count: gives trials at once, another number when machines have come or gone; with one nothing runs ahead.
    """

    def __init__(self, count: Callable[[], int] = lambda: 1) -> None:
        self._count = count
        self.lock = threading.RLock()
        self._busy = 0
        self._filling = False
        self._users: list[SlotUser] = []

    @property
    def count(self) -> int:
        """Trials at once, now."""
        return self._count()

    def add(self, user: SlotUser) -> None:
        """Its trials may be begun from here on, while it wants any."""
        with self.lock:
            self._users = [each for each in self._users if each.wants or each is user]
            if user not in self._users:
                self._users.append(user)

    def taken(self) -> None:
        """A trial begins, whether a slot is free or not."""
        with self.lock:
            self._busy += 1

    def freed(self) -> None:
        """A trial has ended."""
        with self.lock:
            self._busy -= 1

    def fill(self) -> None:
        """Begin what is wanted while slots are free: the lowest rank first, of equals the first user's."""
        with self.lock:
            if self._filling:
                return
            self._filling = True
            try:
                while self._busy < self.count and self._begin_one():
                    pass
            finally:
                self._filling = False

    def _begin_one(self) -> bool:
        ranked = [(rank, place) for place, user in enumerate(self._users) if (rank := user.rank()) is not None]
        if ranked:
            self._users[min(ranked)[1]].begin_next()
        return bool(ranked)
