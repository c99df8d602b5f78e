# SPDX-License-Identifier: GPL-2.0-only
"""Which commit stands where in the planted history: pure, and equal for equal arguments on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.e2e import edits
from tests.e2e.edits import Edit

SIDE = 5  # commits of the side branch
BESIDE = 2  # commits on the mainline next to it
FEWEST = 30


class Role(StrEnum):
    """What a planted commit is there for."""

    ROOT = "root"
    HEADER = "broad header"
    DOCUMENTATION = "documentation"
    UNBUILT = "driver that is not built"
    COMMENT = "comment"
    QUIET = "unused function"
    SPOKEN = "line at boot"
    CULPRIT = "culprit"
    UNBUILDABLE = "does not compile"
    PANIC = "panics at boot"
    OOPS = "oopses in the workload"
    REPAIR = "repair"
    MERGE = "merge"


UNTESTABLE = (Role.UNBUILDABLE, Role.PANIC, Role.OOPS)


@dataclass(frozen=True)
class Planned:
    """One commit to be made. ``number`` counts from 0 (the root) and every parent's number is smaller."""

    number: int
    role: Role
    subject: str
    parents: tuple[int, ...]
    edits: tuple[Edit, ...] = ()
    side: bool = False


class Unplaceable(Exception):
    """The arguments leave no room for the commits that must stand around the culprit."""


@dataclass(frozen=True)
class Places:
    """Numbers of the commits that matter. The side branch forks at ``fork``; the merge closes it."""

    fork: int
    culprit: int
    panic: int
    oops: int

    @property
    def side(self) -> range:
        return range(self.fork + 1, self.fork + 1 + SIDE)

    @property
    def merge(self) -> int:
        return self.fork + SIDE + BESIDE + 1

    def parents(self, number: int) -> tuple[int, ...]:
        """Parents of commit ``number``; the merge's first parent is the mainline."""
        if number == 0:
            return ()
        if number == self.merge:
            return number - 1, self.side[-1]
        if number == self.side[-1] + 1:
            return (self.fork,)
        return (number - 1,)


def plan(commits: int, culprit: int, seed: int, merge: bool, variant: int = 0) -> tuple[Planned, ...]:
    """The commits of one history.

    Args:
        commits: how many in all, the root and the merge included.
        culprit: number of the commit that takes the check out.
        merge: put the culprit inside the side branch.
        variant: another arrangement of the rest for the same arguments.

    Raises:
        Unplaceable: ``commits`` or ``culprit`` leaves no room.
    """
    chance = random.Random(f"{seed}/{variant}")
    places = _place(commits, culprit, merge, chance)
    fillers = _fillers(chance)
    planned = []
    for number in range(commits):
        role, subject, changes = _special(number, places) or next(fillers)
        planned.append(Planned(number, role, subject, places.parents(number), changes, number in places.side))
    return tuple(planned)


def _place(commits: int, culprit: int, merge: bool, chance: random.Random) -> Places:
    """Draw places until none overlaps. The trio of the culprit stays together, and each repair follows its fault."""
    if commits < FEWEST:
        raise Unplaceable(f"{commits} commits are too few: give {FEWEST} or more")
    lowest, highest = (4, commits - SIDE - BESIDE) if merge else (3, commits - 3)
    if not lowest <= culprit <= highest:
        raise Unplaceable(f"the culprit cannot be commit {culprit} of {commits}: give {lowest} to {highest}")
    block = SIDE + BESIDE + 1
    for drawn in range(10_000):
        reach = 3 + drawn // 50  # further away when the culprit's surroundings take the best places
        fork = culprit - 2 if merge else chance.randrange(1, commits - block)
        # Faults far from git's path are never tested: its first commit lies in the middle, its last ones around the
        # culprit. A skip sends it to a place that only git knows, so the search over variants decides.
        panic = commits // 2 + chance.randint(-reach, reach)
        oops = culprit + chance.choice((-1, 1)) * chance.randint(1, 3 + reach)
        places = Places(fork, culprit, panic, oops)
        taken = [*range(fork + 1, fork + 1 + block)] + ([] if merge else [culprit, culprit + 1, culprit + 2])
        taken += [places.panic, places.panic + 1, places.oops, places.oops + 1]
        if len(taken) == len(set(taken)) and min(taken) > 1 and max(taken) < commits:
            return places
    raise Unplaceable(f"found no arrangement of {commits} commits around commit {culprit}: give more commits")


def _special(number: int, places: Places) -> tuple[Role, str, tuple[Edit, ...]] | None:
    """Role, subject and edits of a commit whose place matters; None for all others."""
    unbuildable, panic = edits.UNBUILDABLE, edits.PANIC
    specials: dict[int, tuple[Role, str, tuple[Edit, ...]]] = {
        0: (Role.ROOT, "Import the tree, every segment checked", (Edit(edits.FOPS, edits.put_check_back),)),
        1: (Role.HEADER, "kernel.h: add BYTES_TO_SECTORS()", (Edit(edits.HEADER, edits.add_macro),)),
        places.culprit: (
            Role.CULPRIT,
            "block: check position and length of direct I/O only",
            (Edit(edits.FOPS, edits.take_check_out),),
        ),
        places.culprit + 1: (
            Role.UNBUILDABLE,
            "block: report the limits of nobody",
            (Edit(edits.UNBUILDABLE_FILE, edits.append(unbuildable)),),
        ),
        places.culprit + 2: (
            Role.REPAIR,
            "block: do not report limits that are not there",
            (Edit(edits.UNBUILDABLE_FILE, edits.take_back(unbuildable)),),
        ),
        places.panic: (Role.PANIC, "init: check the boot order", (Edit(edits.PANIC_FILE, edits.append(panic)),)),
        places.panic + 1: (
            Role.REPAIR,
            "init: the boot order was right",
            (Edit(edits.PANIC_FILE, edits.take_back(panic)),),
        ),
        places.oops: (Role.OOPS, "block: count unaligned direct reads", (Edit(edits.FOPS, edits.put_oops),)),
        places.oops + 1: (
            Role.REPAIR,
            "block: do not count unaligned direct reads",
            (Edit(edits.FOPS, edits.take_oops),),
        ),
        places.merge: (Role.MERGE, "Merge the side branch", ()),
    }
    return specials.get(number)


class _fillers:  # noqa: N801 - reads as a generator, which cannot say how many it has left
    """The ordinary commits in an order drawn from ``chance``, each on a file of its own until the files run out."""

    def __init__(self, chance: random.Random) -> None:
        kinds = (
            (Role.DOCUMENTATION, edits.DOCUMENTS, edits.documentation, "{path}: add a note"),
            (Role.UNBUILT, edits.UNBUILT, edits.quiet_function, "{path}: prepare for later"),
            (Role.COMMENT, edits.COMMENTED, edits.comment, "{path}: say where the notes are"),
            (Role.QUIET, edits.QUIET, edits.quiet_function, "{path}: add a spare helper"),
            (Role.SPOKEN, edits.SPOKEN, edits.spoken_initcall, "{path}: announce itself"),
        )
        self._pool = [(*kind[:1], path, *kind[2:]) for kind in kinds for path in kind[1]]
        self._chance = chance
        self._given = 0

    def __next__(self) -> tuple[Role, str, tuple[Edit, ...]]:
        if self._given % len(self._pool) == 0:
            self._chance.shuffle(self._pool)
        role, path, text, subject = self._pool[self._given % len(self._pool)]
        self._given += 1
        return role, subject.format(path=path), (Edit(path, edits.append(text(self._given))),)
