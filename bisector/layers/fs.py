# SPDX-License-Identifier: GPL-2.0-only
"""File systems, made on one layer and mounted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .machine import BuiltLayer, Layer, Machine, StorageError
from .option import Lines, Number, Option
from .row import GuestCommands, Kind, Program, Row

MIB = 1 << 20
PACKED = "packed"
"""The file in a squashfs."""

_MKFS = Lines(r"[A-Za-z0-9_^=,.:/+%@-][A-Za-z0-9_^=,.:/+%@ -]{0,199}", "words of its mkfs, as in [-O, ^resize_inode]")
_MOUNT = Lines(r"[A-Za-z0-9_=,.:/+%@-]{1,200}", "options of mount, as in [ro, noatime]")
_WORDS: Mapping[str, Option] = {"mkfs": _MKFS, "mount": _MOUNT}

ROWS = (
    Row(
        "fs", "ext4", smallest=2 * MIB, example=256 * MIB, fragments=("ext4",), modules=("ext4",), words=_WORDS,
        programs=(Program("mkfs.ext4", "e2fsprogs", "makes ext4 layers"),),
    ),
    Row(
        "fs", "xfs", smallest=300 * MIB, example=512 * MIB,  # mkfs.xfs since 5.19 refuses less than 300 MB
        fragments=("xfs",), modules=("xfs",), words=_WORDS,
        programs=(Program("mkfs.xfs", "xfsprogs", "makes xfs layers"),),
    ),
    Row(
        "fs", "btrfs", smallest=128 * MIB, example=256 * MIB,  # mkfs.btrfs(8): 109 MiB where nothing is mixed
        fragments=("btrfs",), modules=("btrfs",), words=_WORDS,
        programs=(Program("mkfs.btrfs", "btrfs-progs", "makes btrfs layers"),),
    ),
    Row(
        "fs", "f2fs", smallest=64 * MIB, example=256 * MIB, fragments=("f2fs",), words=_WORDS,
        modules=("f2fs", "crc32_generic"),  # its softdep "crc32" is met by the library of that name, which is built in
        programs=(Program("mkfs.f2fs", "f2fs-tools", "makes f2fs layers"),),
    ),
    Row(
        "fs", "vfat", smallest=MIB, fragments=("vfat",), words=_WORDS,
        modules=("vfat", "nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"),
        programs=(Program("mkfs.vfat", "dosfstools", "makes vfat layers"),),
    ),
    Row(
        "fs", "squashfs", smallest=MIB, fragments=("squashfs",), modules=("squashfs",), inside=False,
        words={**_WORDS, "packs": Number(512, 1 << 40, sized=True, multiple=512)},
        programs=(Program("mksquashfs", "squashfs-tools", "makes squashfs layers"),),
    ),
)  # fmt: skip

_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "f2fs": ("mkfs.f2fs", "-q", "-f"),
    "vfat": ("mkfs.vfat", "-I"),
}
"""What makes each, whatever the device held before; squashfs is packed of a folder."""


def make(layer: Layer, device: str) -> list[str]:
    """The command that makes the file system."""
    return [*_MAKE[layer.type], *dict(layer.options).get("mkfs", "").split(), device]


def mount(layer: Layer, device: str, point: str) -> list[str]:
    """The command that mounts it."""
    options = ",".join(dict(layer.options).get("mount", "").split())
    return ["mount", "-t", layer.type, *(["-o", options] if options else []), device, point]


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Make the file system and mount it in a folder of the machine's own. Raises StorageError."""
    device = machine.nodes(layer.of)[0]
    machine.run(_pack(machine, layer, device) if layer.type == "squashfs" else make(layer, device))
    return again(machine, layer)


def again(machine: Machine, layer: Layer) -> BuiltLayer:
    """Mount a file system that is there already."""
    device = machine.nodes(layer.of)[0]
    point = f"{machine.folder}/{layer.name}"
    os.makedirs(point, exist_ok=True)
    machine.run(mount(layer, device, point))
    return BuiltLayer(layer, point)


def _pack(machine: Machine, layer: Layer, device: str) -> list[str]:
    """The command that packs a folder with one file, as large as the word ``packs`` says. Raises StorageError."""
    folder = f"{machine.folder}/{layer.name}.{PACKED}"
    given = dict(layer.options)
    try:
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{PACKED}", "wb") as file:
            file.truncate(int(given.get("packs", MIB)))
    except OSError as error:
        raise StorageError(f"{layer.name}: {error}") from None
    return ["mksquashfs", folder, device, "-noappend", "-quiet", "-no-progress", *given.get("mkfs", "").split()]


def remount(machine: Machine, built: BuiltLayer) -> None:
    """Take the file system off and mount it again."""
    device = machine.nodes(built.layer.of)[0]
    machine.run(["umount", built.node])
    machine.run(mount(built.layer, device, built.node))


def _create_inside(layer: Layer, point: str, members: Sequence[str]) -> list[str]:
    return [" ".join(make(layer, members[0])), *_mount_inside(layer, point, members)]


def _mount_inside(layer: Layer, point: str, members: Sequence[str]) -> list[str]:
    return [f"mkdir -p {point} && {' '.join(mount(layer, members[0], point))}"]


KIND = Kind(
    "fs",
    build,
    takes=frozenset({"of"}),
    needs=("of",),
    whole=True,
    single=True,
    first_name="{type}",
    remount=remount,
    again=again,
    leave=lambda machine, built: machine.run(["umount", built.node]),
    inside=GuestCommands(
        create=_create_inside,
        assemble=_mount_inside,
        leave=lambda points: "umount " + " ".join(points),
        node=lambda number, name: f"/mnt/{name}",
    ),
)
