# SPDX-License-Identifier: GPL-2.0-only
"""Options of layers held against what their tools take for each (bisector/layers). Pure.

A value that the tool refuses would cost a build and a boot before somebody hears of it, and one that the tool takes for
another (``direct_io: maybe`` is off) would give an answer to a question that nobody had.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from bisector.layers.row import Option, Power, Row, Switch
from bisector.recipe.values import SIZE, format_size, shown, size, suggestion

Value = str | bool | int


LEAST_EXTENDED = 16 << 10
"""Bytes of a cluster with extended L2 entries: 32 subclusters of 512 or more (block/qcow2.c, validate_cluster_size)."""


def faults(row: Row, given: Mapping[str, Value]) -> Iterator[tuple[str, bool, str]]:
    """What is wrong with the options of a layer.

    Each is the option's name, whether the fault is the name itself, and what is wrong.
    """
    known = row.options
    for name, value in given.items():
        if name not in known:
            nothing = "" if known else ": it has none"
            yield name, True, f"{row.name} has no option {name!r}{nothing}{suggestion(name, known)}"
        elif not takes(known[name], value):
            yield name, False, f"{shown(value)} is no value of {name} (allowed: {allowed(known[name])})"
    if row.name == "file qcow2" and all(name in known and takes(known[name], value) for name, value in given.items()):
        yield from _of_qcow2(given)


def takes(option: Option, value: Value) -> bool:
    """Whether a value is one of the option's."""
    if isinstance(option, Switch):
        return isinstance(value, bool) or value in ("on", "off")
    if isinstance(option, Power):
        number = number_of(value)
        return number is not None and option.least <= number <= option.most and number & (number - 1) == 0
    return not isinstance(value, bool) and str(value) in option.words


def allowed(option: Option) -> str:
    """What the option may be, for people."""
    if not isinstance(option, Power):
        return str(option)
    ends = (option.least, option.most)
    least, most = map(format_size, ends) if option.sized else map(str, ends)
    return f"a power of two from {least} to {most}"


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
