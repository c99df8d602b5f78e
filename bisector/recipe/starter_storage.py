# SPDX-License-Identifier: GPL-2.0-only
"""Storage of a first recipe: one layer on disks, or a stack of them. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from bisector.layers import table
from bisector.layers.row import Kind, Row
from bisector.recipe.failure import COPY, LAYER, FailureDescription, members, rows_of, wrapped
from bisector.recipe.values import format_size

ZONE = 4 << 20
VOLUME = 64 << 20
"""Bytes of a volume that nothing lies on."""


def storage(wishes: FailureDescription) -> Iterator[str]:
    """The lines of ``storage:``."""
    row = table.first_row(wishes.storage)
    if row is None:
        return
    where = "." if wishes.without_vm else ", inside the VM: nothing of this host is touched."
    yield f"# Fresh in each trial{where}"
    yield "storage:"
    yield from _Stack(wishes).lines if wishes.below else _layers(row, table.KINDS[row.kind], wishes)
    if wishes.workload == "job":
        copy = "file: raw, size: 256M" if wishes.without_vm else "disk: nvme, size: 512M"
        yield f"  {COPY}: {{{copy}}}   # what the job copies to"
    yield ""


def redundant(wishes: FailureDescription) -> tuple[str, ...]:
    """Names of the layers that have a health."""
    if wishes.below:
        return tuple(_Stack(wishes).redundant)
    return (LAYER,) if any(row.redundant for row in rows_of(wishes)) else ()


def _disk(wishes: FailureDescription, size: int, otherwise: str) -> str:
    """The words of a disk."""
    zoned = f", zoned: {format_size(ZONE)}" if wishes.zoned else ""
    return f"disk: {'null_blk' if wishes.zoned else wishes.disk or otherwise}, size: {format_size(size)}{zoned}"


def _layers(row: Row, kind: Kind, wishes: FailureDescription) -> Iterator[str]:
    """The layers of a recipe for one type of storage on disks; without a VM a file lies on nothing."""
    own = f"{row.kind}: {row.type}"
    if kind.holds_bytes and wishes.without_vm:
        yield f"  {LAYER}: {{{own}, size: 256M}}"
    elif kind.holds_bytes:
        yield f"  disk: {{{_disk(wishes, 512 << 20, 'virtio-blk')}}}"
        yield "  fs: {fs: ext4, of: disk}"
        yield f"  {LAYER}: {{{own}, of: fs, size: 256M}}"
    elif kind.mounted:
        yield f"  disk: {{{_disk(wishes, row.example, 'virtio-blk')}}}"
        yield f"  {LAYER}: {{{own}, of: disk}}"
    elif "of" not in kind.needs:
        others = f"or {', '.join(name for name in table.types(row.kind) if name != (wishes.disk or row.type))}"
        yield from (f"  # {line}" for line in textwrap.wrap(others, 70))
        yield f"  {LAYER}: {{{_disk(wishes, row.example, row.type)}}}"
    else:
        legs = [f"leg{number}" for number in range(members(row, wishes))]
        for leg in (*legs, *row.further):
            yield f"  {leg}: {{{_disk(wishes, row.example, 'nvme')}}}"
        if row.on and "of" in table.KINDS[row.on[0]].needs:  # a volume, say, that one of another volume is made of
            yield f"  origin: {{{row.on[0]}: {table.types(row.on[0])[0]}, of: [{', '.join(legs)}], size: 64M}}"
            legs = ["origin"]
        yield f"  {LAYER}: {{{_words(row, legs, VOLUME)}}}"


def _words(row: Row, below: Sequence[str], size: int) -> str:
    """What stands behind the name of a layer of that type, which lies on those."""
    kind = table.KINDS[row.kind]
    of = below[0] if kind.mounted or kind.holds_bytes else f"[{', '.join(below)}]"
    sized = f", size: {format_size(size)}" if "size" in kind.needs else ""
    more = "".join(f", {word}: {value}" for word, value in row.required.items())
    return f"{row.kind}: {row.type}, of: {of}{sized}{more}"


class _Stack:
    """Layers on each other, the lowest on disks; what lies below an array is there once for each of its members."""

    def __init__(self, wishes: FailureDescription) -> None:
        self._wishes, self._rows = wishes, rows_of(wishes)
        sized = ["size" in table.KINDS[row.kind].needs for row in self._rows]
        largest = max(row.example for row in self._rows)
        self._sizes = [largest + VOLUME * sum(sized[:at]) for at in range(len(sized))]  # with what else is on its disk
        self._disk = largest + VOLUME * sum(sized)
        self._names = [LAYER, *_apart(wishes.below)]
        self._disks = 0
        self.lines: list[str] = []  # disks first
        self.redundant: list[str] = []  # layers that have a health
        self._build(0, "")

    def _build(self, at: int, number: str) -> str:
        """The layer ``at``, counted from the top; its name."""
        if at == len(self._rows):
            self._disks += 1
            return self._add(f"leg{self._disks - 1}", _disk(self._wishes, self._disk, "nvme"))
        row = self._rows[at]
        many = members(row, self._wishes)
        below = [self._build(at + 1, f"{number}{leg}" if many > 1 else number) for leg in range(many)]
        for other in row.further:
            self._add(other, _disk(self._wishes, self._disk, "nvme"))
        name = "-".join(filter(None, (self._names[at], *number)))
        if row.redundant:
            self.redundant.append(name)
        return self._add(name, _words(row, below, VOLUME if table.KINDS[row.kind].holds_bytes else self._sizes[at]))

    def _add(self, name: str, words: str) -> str:
        self.lines += wrapped(f"  {name}: {{{words}}}")
        return name


def _apart(names: Sequence[str]) -> Iterator[str]:
    """The names, with a number behind one that was there before."""
    for at, name in enumerate(names):
        before = names[:at].count(name)
        yield f"{name}-{before + 1}" if before else name
