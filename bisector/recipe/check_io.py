# SPDX-License-Identifier: GPL-2.0-only
"""What the keys of an ``io`` step must agree on. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bisector.layers import table
from bisector.recipe.model import OPERATIONS, Recipe, Step
from bisector.recipe.text import Fault, Path
from bisector.recipe.values import format_size

MAX_BLOCK = 64 << 20
"""Bytes of one operation of I/O: its buffer lies in the VM's memory."""

WITHOUT_DATA = ("discard", "write_zeroes")
"""Operations that a device does on a range, and that move no bytes."""


def faults(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    """Faults of one step whose objects are right."""
    named = [operation for operation in OPERATIONS if getattr(step, operation) is not None]
    if len(named) != 1:
        words = ", ".join(f"'{operation}: SIZE'" for operation in OPERATIONS)
        yield Fault(path, f"io needs one of {words}, the size of one operation", at_key=True)
        return
    key, block = named[0], getattr(step, named[0])
    if step.count is not None and step.size is not None:
        yield Fault((*path, "size"), "either count or size, not both", at_key=True)
    if step.size is not None and step.size % block:
        yield Fault((*path, "size"), f"is no multiple of {key}")
    for word in ("flush", "sync"):
        if getattr(step, word) and key == "read":
            yield Fault((*path, word), "is for writes", at_key=True)
    if len(step.objects) > 1:
        yield Fault((*path, "io"), "one step does I/O on one object")
    if key in WITHOUT_DATA:
        yield from _range(recipe, step, key, block, path)
    else:
        yield from _data(step, key, block, path)
    if step.where == "guest" and recipe.guest:
        yield from _in_guest(step, key, block, path)


def _data(step: Step, key: str, block: int, path: Path) -> Iterator[Fault]:
    if block > MAX_BLOCK:
        message = f"one operation moves at most {format_size(MAX_BLOCK)}; 'size' is for all of them"
        yield Fault((*path, key), message)
    if step.vectors and block % step.vectors:
        yield Fault((*path, "vectors"), f"{key} is no multiple of it, and all vectors have one size")
    if step.direct and block % 512:
        yield Fault((*path, key), f"direct I/O of {block} bytes: no multiple of 512, every kernel refuses it")


def _range(recipe: Recipe, step: Step, key: str, block: int, path: Path) -> Iterator[Fault]:
    """Ranges of a device, in its sectors (BLKDISCARD and BLKZEROOUT, block/ioctl.c)."""
    for word in ("direct", "buffer_offset", "flush", "sync", "vectors"):
        if getattr(step, word) is not None:
            yield Fault((*path, word), f"is for data, and a {key} moves none", at_key=True)
    if block % 512:
        yield Fault((*path, key), f"a range of {block} bytes: no multiple of 512, every kernel refuses it")
    elif (step.offset or 0) % 512:
        yield Fault((*path, "offset"), "is no multiple of 512, every kernel refuses it")
    for index, name in enumerate(step.objects):
        layer = recipe.storage.get(name)
        kind = table.KINDS[layer.kind] if step.where == "vm" and layer and layer.kind else None
        if kind and (kind.holds_bytes or kind.mounted):
            message = f"a {key} goes to a device, not to a file (there 'run: [fallocate, --punch-hole, ...]')"
            yield Fault((*path, "io", index), message)


def _in_guest(step: Step, key: str, block: int, path: Path) -> Iterator[Fault]:
    """What the guest's busybox cannot do (agent/machine.py, io_command)."""
    if step.buffer_offset:
        yield Fault((*path, "buffer_offset"), "I/O in the guest has none: its dd aligns its buffer", at_key=True)
    for word in ("sync", "vectors"):
        if getattr(step, word) is not None:
            yield Fault((*path, word), f"I/O in the guest has none: its dd knows no {word}", at_key=True)
    if key not in WITHOUT_DATA and (step.offset or 0) % block:
        yield Fault((*path, "offset"), "I/O in the guest begins at a multiple of its block size")
