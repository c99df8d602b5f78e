# SPDX-License-Identifier: GPL-2.0-only
"""Options of layers, and what their tools take for each: a table. Pure.

A value that the tool refuses would cost a build and a boot before somebody hears of it, and one that the tool takes for
another (``direct_io: maybe`` is off) would give an answer to a question that nobody had.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bisector.recipe.values import SIZE, format_size, shown, size, suggestion

Value = str | bool | int


@dataclass(frozen=True)
class Switch:
    """On or off."""

    def takes(self, value: Value) -> bool:
        """Whether it is one of its values."""
        return isinstance(value, bool) or value in ("on", "off")

    def __str__(self) -> str:
        return "true, false"


@dataclass(frozen=True)
class Word:
    """One of several words."""

    words: tuple[str, ...]

    def takes(self, value: Value) -> bool:
        """Whether it is one of its values."""
        return not isinstance(value, bool) and str(value) in self.words

    def __str__(self) -> str:
        return ", ".join(self.words)


@dataclass(frozen=True)
class Power:
    """A power of two from ``least`` to ``most``. ``sized``: bytes, which may be written 64k."""

    least: int
    most: int
    sized: bool = True

    def takes(self, value: Value) -> bool:
        """Whether it is one of its values."""
        number = number_of(value)
        return number is not None and self.least <= number <= self.most and number & (number - 1) == 0

    def __str__(self) -> str:
        ends = (format_size(self.least), format_size(self.most)) if self.sized else (str(self.least), str(self.most))
        return f"a power of two from {ends[0]} to {ends[1]}"


Option = Switch | Word | Power

_REGION = Power(4 << 10, 1 << 30)
"""lvcreate(8): "-R, --regionsize Size"; lvm2 wants a power of two and a multiple of the page size (lib/metadata)."""

OPTIONS: dict[str, dict[str, Option]] = {
    # losetup(8), --sector-size; drivers/block/loop.c: a power of two from 512 to the page size
    "disk loop": {"block_size": Power(512, 4096), "direct_io": Switch()},
    "lvm raid1": {"region_size": _REGION},
    "lvm mirror": {"region_size": _REGION},
    # drivers/md/dm-raid.c, validate_region_size: no smaller than the stripes, which lvcreate makes 64k
    "lvm raid10": {"region_size": Power(64 << 10, 1 << 30)},
    "file qcow2": {  # qemu-img(1), "qcow2"; limits in block/qcow2.h (MIN_CLUSTER_BITS 9, MAX_CLUSTER_BITS 21)
        "cluster_size": Power(512, 2 << 20),
        "compat": Word(("0.10", "1.1", "v2", "v3")),
        "extended_l2": Switch(),
        "lazy_refcounts": Switch(),
        "preallocation": Word(("off", "metadata", "falloc", "full")),
        "refcount_bits": Power(1, 64, sized=False),
    },
}
"""Kind and type of a layer → its options. What is not here has none."""

LEAST_EXTENDED = 16 << 10
"""Bytes of a cluster with extended L2 entries: 32 subclusters of 512 or more (block/qcow2.c, validate_cluster_size)."""


def complaints(of: str, given: Mapping[str, Value]) -> Iterator[tuple[str, bool, str]]:
    """What is wrong with the options of a layer. ``of``: its kind and type.

    Each is the option's name, whether the fault is the name itself, and what is wrong.
    """
    known = OPTIONS.get(of, {})
    for name, value in given.items():
        if name not in known:
            nothing = "" if known else ": it has none"
            yield name, True, f"{of} has no option {name!r}{nothing}{suggestion(name, known)}"
        elif not known[name].takes(value):
            yield name, False, f"{shown(value)} is no value of {name} (allowed: {known[name]})"
    if of == "file qcow2" and all(name in known and known[name].takes(value) for name, value in given.items()):
        yield from _of_qcow2(given)


def number_of(value: Value) -> int | None:
    """Bytes or a count from a number, or from a size such as 64k; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return size(value) if re.fullmatch(SIZE, value) and len(value) < 10 else None
    return value


def _of_qcow2(given: Mapping[str, Value]) -> Iterator[tuple[str, bool, str]]:
    """What options of qcow2 must agree on (block/qcow2.c, qcow2_co_create)."""
    old = given.get("compat") in ("0.10", "v2")
    for name in ("lazy_refcounts", "extended_l2"):
        if old and given.get(name) in (True, "on"):
            yield name, False, "needs compat 1.1"
    if old and number_of(given.get("refcount_bits", 16)) != 16:
        yield "refcount_bits", False, "needs compat 1.1, and before that there are 16"
    cluster = number_of(given.get("cluster_size", 64 << 10)) or 0
    if given.get("extended_l2") in (True, "on") and cluster < LEAST_EXTENDED:
        yield "extended_l2", False, f"needs a cluster_size of {format_size(LEAST_EXTENDED)} or more"
