# SPDX-License-Identifier: GPL-2.0-only
"""File systems, made on one layer and mounted."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .machine import Built, Layer, Machine
from .row import Inside, Kind, Program, Row

MIB = 1 << 20
ROWS = (
    Row(
        "fs", "ext4", smallest=2 * MIB, example=256 * MIB, fragments=("ext4",), modules=("ext4",),
        programs=(Program("mkfs.ext4", "e2fsprogs", "makes ext4 layers"),),
    ),
    Row(
        "fs", "xfs", smallest=300 * MIB, example=512 * MIB,  # mkfs.xfs since 5.19 refuses less than 300 MB
        fragments=("xfs",), modules=("xfs",), programs=(Program("mkfs.xfs", "xfsprogs", "makes xfs layers"),),
    ),
)  # fmt: skip

_FORCE = {"ext4": "-F", "xfs": "-f"}


def make(type_: str, device: str) -> list[str]:
    """The command that makes the file system, whatever the device held before."""
    return [f"mkfs.{type_}", "-q", _FORCE[type_], device]


def mount(type_: str, device: str, point: str) -> list[str]:
    """The command that mounts it."""
    return ["mount", "-t", type_, device, point]


def build(machine: Machine, layer: Layer) -> Built:
    """Make the file system and mount it in a folder of the machine's own."""
    device = machine.nodes(layer.of)[0]
    machine.run(make(layer.type, device))
    point = f"{machine.folder}/{layer.name}"
    os.makedirs(point, exist_ok=True)
    machine.run(mount(layer.type, device, point))
    return Built(layer, point)


def remount(machine: Machine, built: Built) -> None:
    """Take the file system off and mount it again."""
    device = machine.nodes(built.layer.of)[0]
    machine.run(["umount", built.node])
    machine.run(mount(built.layer.type, device, built.node))


def _create_inside(layer: Layer, point: str, members: Sequence[str]) -> list[str]:
    return [" ".join(make(layer.type, members[0])), *_mount_inside(layer, point, members)]


def _mount_inside(layer: Layer, point: str, members: Sequence[str]) -> list[str]:
    return [f"mkdir -p {point} && {' '.join(mount(layer.type, members[0], point))}"]


KIND = Kind(
    "fs",
    build,
    takes=frozenset({"of"}),
    needs=("of",),
    whole=True,
    single=True,
    first_name="{type}",
    remount=remount,
    inside=Inside(
        create=_create_inside,
        assemble=_mount_inside,
        leave=lambda points: "umount " + " ".join(points),
        node=lambda number, name: f"/mnt/{name}",
    ),
)
