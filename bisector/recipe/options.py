# SPDX-License-Identifier: GPL-2.0-only
"""Words and options of layers held against what their tools take for each (bisector/layers). Pure.

A value that the tool refuses would cost a build and a boot before somebody hears of it, and one that the tool takes for
another (``direct_io: maybe`` is off) would give an answer to a question that nobody had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bisector.layers.option import Layers, Option, bytes_of
from bisector.layers.row import Row
from bisector.recipe.values import format_size, shown, suggestion

LEAST_EXTENDED = 16 << 10
"""Bytes of a cluster with extended L2 entries: 32 subclusters of 512 or more (block/qcow2.c, validate_cluster_size)."""

Fault = tuple[str, bool, str]
"""The name of a word or an option, whether the fault is the name itself, and what is wrong."""


def faults(row: Row, given: Mapping[str, object]) -> Iterator[Fault]:
    """What is wrong with the ``options`` of a layer."""
    known = row.options
    for name in given:
        if name not in known:
            nothing = "" if known else ": it has none"
            yield name, True, f"{row.name} has no option {name!r}{nothing}{suggestion(name, known)}"
    yield from _values(known, {name: value for name, value in given.items() if name in known})
    if row.name == "file qcow2" and all(name in known and known[name].word(given[name]) for name in given):
        yield from _of_qcow2(given)


def faults_of_words(what: str, known: Mapping[str, Option], given: Mapping[str, object]) -> Iterator[Fault]:
    """What is wrong with the words that a layer or a drive has beside the keys of its kind.

    Args:
        what: has them, for people.
        known: those that it may have.
    """
    for name in given:
        if name not in known:
            others = f"; it may have {', '.join(sorted(known))}" if known else ""
            yield name, True, f"{what} has no {name!r}{others}"
    yield from _values(known, {name: value for name, value in given.items() if name in known})
    words = carried(known, {name: value for name, value in given.items() if name in known})
    if int(words.get("physical_block", words.get("logical_block", 0))) < int(words.get("logical_block", 0)):
        yield "physical_block", False, "a physical block is no smaller than a logical one"
    if "protection" in words and int(words.get("metadata") or 0) < 8:
        yield "protection", True, "its tuple takes 8 bytes of each block: write metadata: 8, or more"
    if words.get("volatile") == "on" and "errors" in words:
        message = "errors are of sectors of the file, and a volatile disk has its blocks elsewhere in it: use two disks"
        yield "volatile", True, message
    if "conventional" in words and "zoned" not in words:
        yield "conventional", True, "a disk has such zones beside others: 'zoned' says how large each is"


def _values(known: Mapping[str, Option], given: Mapping[str, object]) -> Iterator[Fault]:
    for name, value in given.items():
        if known[name].word(value) is None:
            yield name, False, f"{shown(value)} is no value of {name} (allowed: {known[name]})"


def no_members(known: Mapping[str, Option], given: Mapping[str, object], of: Collection[str]) -> Iterator[Fault]:
    """Words that name some of the layer's members, and name another."""
    for word, value in given.items():
        option = known.get(word)
        if isinstance(option, Layers) and option.members:
            for name in option.names(value):
                if name not in of:
                    yield word, False, f"{name} is none of its members{suggestion(name, of)}"


def carried(known: Mapping[str, Option], given: Mapping[str, object]) -> dict[str, str]:
    """The values as a plan carries them."""
    return {name: word for name, value in given.items() if (word := known[name].word(value)) is not None}


def named(known: Mapping[str, Option], given: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The layers that words name: where in the layer each stands, and its name."""
    for word, value in given.items():
        option = known.get(word)
        if isinstance(option, Layers) and not option.members:
            for index, name in enumerate(option.names(value)):
                yield (word,) if isinstance(value, str) else (word, index), name


def _of_qcow2(given: Mapping[str, object]) -> Iterator[Fault]:
    """What options of qcow2 must agree on (block/qcow2.c, qcow2_co_create)."""
    old = given.get("compat") in ("0.10", "v2")
    for name in ("lazy_refcounts", "extended_l2"):
        if old and given.get(name) in (True, "on"):
            yield name, False, "needs compat 1.1"
    if old and bytes_of(given.get("refcount_bits", 16)) != 16:
        yield "refcount_bits", False, "needs compat 1.1, and before that there are 16"
    cluster = bytes_of(given.get("cluster_size", 64 << 10)) or 0
    if given.get("extended_l2") in (True, "on") and cluster < LEAST_EXTENDED:
        yield "extended_l2", False, f"needs a cluster_size of {format_size(LEAST_EXTENDED)} or more"
