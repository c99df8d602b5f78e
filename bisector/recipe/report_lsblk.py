# SPDX-License-Identifier: GPL-2.0-only
"""The stack of block devices that a listing of ``lsblk`` in a report shows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bisector.recipe.failure import DISKS, STORAGE

# A device's row: branches, name, major:minor, removable, size, read-only, type, where it is mounted.
ROW = re.compile(
    r"^(?P<branch>[\s│├└─┬`|-]*)(?P<name>[\w./!+][\w./!+-]*)\s+\d+:\d+\s+[01]\s+[\d.,]+[BKMGTP]?\s+[01]\s+"
    r"(?P<type>\w+)(?:\s+(?P<mounted>/\S*))?"
)
LONGEST = 300  # characters of a line that are looked at
MOST = 2_000  # rows
# What LVM makes of a volume's inside (lvmraid(7), lvmthin(7), lvmcache(7)), and what the volume is then.
PARTS = re.compile(
    r"[_-](?:(rimage|rmeta)|(mimage|mlog)|(tdata|tmeta|tpool)|(cdata|cmeta|corig|cpool|cvol)|(wcorig))(?:_\d+)?$"
)
OF_PARTS = ("raid1", "mirror", "thin", "cache", "writecache")
TYPES = {"crypt": "dm-crypt", "lvm": "lvm-linear", "part": "", "dm": ""}
NAMES = (("nvme", "nvme"), ("sd", "scsi"), ("vd", "virtio-blk"))


@dataclass
class Device:
    """A device of a listing, with the disks below it and the device that it lies on."""

    name: str
    type: str
    below: Device | None
    line: int
    mounted: str = ""
    disks: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stack:
    """What a listing shows: ``layers`` as ``--storage`` names them, the uppermost first.

    ``mounted``: whether a file system lies on it; ``disks``: how many are below it; ``disk``: their type, "" if it is
    none of ours; ``line``: number of the uppermost device's row, from 1, with its ``text``.
    """

    layers: tuple[str, ...]
    mounted: bool
    disks: int
    disk: str
    line: int
    text: str


def stack_in(lines: Sequence[str], named: str = "") -> Stack | None:
    """The highest stack of all listings with the layer ``named``, if there is one; else the highest.

    The first of those as high, one with a file system before others. None where no disk has anything on it.
    """
    found = [stack for device in _devices(lines) if (stack := _stack(device, lines))]
    return max(found, key=lambda stack: (named in stack.layers, len(stack.layers), stack.mounted), default=None)


def _devices(lines: Sequence[str]) -> Iterator[Device]:
    """Each device once, with every disk below it."""
    known: dict[str, Device] = {}
    path: list[tuple[int, Device]] = []
    rows = 0
    for number, line in enumerate(lines, 1):
        row = ROW.match(re.sub(r"^(?:> ?)+", "", line[:LONGEST]))
        if row is None or rows == MOST:
            path = []  # the listing has ended
            continue
        rows += 1
        depth = len(row["branch"])
        while path and path[-1][0] >= depth:
            path.pop()
        below = path[-1][1] if path else None
        device = known.setdefault(row["name"], Device(row["name"], row["type"], below, number, row["mounted"] or ""))
        device.disks |= below.disks if below else {row["name"]}
        path.append((depth, device))
    yield from known.values()


def _stack(device: Device, lines: Sequence[str]) -> Stack | None:
    layers: list[str] = []
    part, at, lowest, disks = "", device, device, 0
    while at:
        disks = max(disks, len(at.disks))  # the listing may leave out what it showed above
        if named := PARTS.search(at.name):
            part = part or next(OF_PARTS[index] for index, group in enumerate(named.groups()) if group)
        else:
            layers += _layer(at.type)
        if part and layers and layers[-1] == "lvm-linear":
            layers[-1], part = f"lvm-{part}", ""
        lowest, at = at, at.below  # type: ignore[assignment]
    if not layers or lowest.type != "disk" or not set(layers) <= set(STORAGE):
        return None
    kinds = {next((kind for begin, kind in NAMES if name.startswith(begin)), "") for name in device.disks}
    disk = kinds.pop() if len(kinds) == 1 else ""
    text = " ".join(lines[device.line - 1].split())
    return Stack(tuple(layers), bool(device.mounted), disks, disk if disk in DISKS else "", device.line, text)


def _layer(type_: str) -> Iterator[str]:
    """What a device's type is for ``--storage``; a partition does not matter, and a disk comes by itself."""
    if re.fullmatch(r"raid\d+|linear", type_):
        yield f"md-{type_}"
    elif name := TYPES.get(type_, "" if type_ in ("disk", "part") else type_):
        yield name
