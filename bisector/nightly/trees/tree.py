# SPDX-License-Identifier: GPL-2.0-only
"""What a night asks of the tree that it follows, whatever tree that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bisector.model import Commit
from bisector.search.gitrepo import UserRepository

PINS = "refs/bisector/nights"


@dataclass(frozen=True)
class Day:
    """One state of the tree.

    Args:
        tag: names it, and sorts behind the states before it.
        next: its newest commit.
        base: what it stands on: the state of another tree, which a regression is held against.
        base_name: what the tree calls its base.
    """

    tag: str
    next: Commit
    base: Commit
    base_name: str

    @property
    def pins(self) -> str:
        """Where both are pinned. A tag that is moved later gets pins of its own."""
        return f"{PINS}/{self.tag}/{self.next.oid[:12]}"


class Tree(Protocol):
    """A tree that is built anew again and again. A new kind is a class here and a row in ``kinds.KINDS``."""

    @property
    def name(self) -> str:
        """What people call it, as in "gone from linux-next"."""

    @property
    def base_tree(self) -> str:
        """What people call the tree that it stands on, as in "mainline still has it"."""

    @property
    def replaced(self) -> bool:
        """Whether it has one state at a time: the one that is there now is to be tried, also where it is older."""

    @property
    def folder(self) -> Path:
        """Our clone of it."""

    @property
    def history(self) -> UserRepository:
        """The clone's history."""

    def newest(self) -> tuple[str, str]:
        """Name and commit id of the newest state that the source has.

        Raises InfraError when the source cannot be reached, UsageError when it is no such tree.
        """

    def fetch(self, tag: str) -> None:
        """Get that state, and the releases; one that was replaced is taken as it is now. Raises InfraError."""

    def day(self, tag: str) -> Day:
        """A state that was fetched. Raises InfraError when it does not say what it stands on."""

    def pin(self, day: Day) -> None:
        """Keep the state and its base for ever."""

    def newest_of(self, oids: Iterable[str], base: str) -> str | None:
        """The newest one of these commits that ``base`` holds and is not; None when there is none."""

    def last_release(self, base: str) -> str | None:
        """Name of the newest release (no candidate) that ``base`` holds and is not; None when there is none."""

    def patch_id(self, oid: str) -> str:
        """What a commit changes, whatever it stands on; "" for a merge and for one that changes nothing."""

    def rebased(self, lost: Commit, patch: str, good: str, bad: str) -> tuple[Commit, ...]:
        """Commits of ``good..bad`` that may be ``lost`` under a new id, best first: a suspicion, never a verdict."""
