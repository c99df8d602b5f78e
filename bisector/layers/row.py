# SPDX-License-Identifier: GPL-2.0-only
"""What is known of one type of storage, and what its options may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Program:
    """A program of the host, the package that brings it, and what it is for. ``needed``: nothing works without it."""

    name: str
    package: str
    purpose: str
    needed: bool = True


@dataclass(frozen=True)
class Switch:
    """An option that is on or off."""

    def __str__(self) -> str:
        return "true, false"


@dataclass(frozen=True)
class Word:
    """An option that is one of several words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.words)


@dataclass(frozen=True)
class Power:
    """An option that is a power of two from ``least`` to ``most``. ``sized``: bytes, which may be written 64k."""

    least: int
    most: int
    sized: bool = True


Option = Switch | Word | Power


@dataclass(frozen=True)
class Kind:
    """What the layers of one kind take in a recipe.

    Args:
        name: the key of the recipe.
        takes, needs: keys beside it that may, and that must be there.
        inside: whether a layer of an inner guest can be of this kind.
        whole: whether it takes what it lies on for itself, so that nothing else may use that.
    """

    name: str
    takes: frozenset[str]
    needs: tuple[str, ...]
    inside: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Row:
    """One type of storage.

    Args:
        kind, type: as a recipe names them.
        least: members that it needs at least; ``even``: whether their number must be even.
        capacity: bytes that it offers at most, from those of its members.
        share: bytes of each member that hold so many bytes of its own, with a number of members.
        smallest: bytes of the smallest layer that it can be made on.
        options: its options by name, and what each may be.
        fragments: of the kernel's config (kconfigs/).
        modules: of a packaged kernel, named as their files with ``_``; what they depend on is not listed.
        programs: of the host, which the VM sees.
        redundant: whether it has a health: a member that fails leaves it degraded.
        copies: whether each member holds all of its data, block for block.
    """

    kind: str
    type: str
    least: int = 1
    even: bool = False
    capacity: Callable[[Sequence[int]], int] = min
    share: Callable[[int, int], int] = lambda size, members: size
    smallest: int = 0
    options: Mapping[str, Option] = field(default_factory=dict)
    fragments: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    programs: tuple[Program, ...] = ()
    redundant: bool = False
    copies: bool = False

    @property
    def name(self) -> str:
        """Kind and type, as in "lvm raid1"."""
        return f"{self.kind} {self.type}"
