# SPDX-License-Identifier: GPL-2.0-only
"""The storage inside the inner guest: shell lines that make it at the first start and assemble it at each later one.

Pure. The layers are md over the guest's disks and file systems over either; a disk is a drive or passed through.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from ..layers import fs, md, table
from .command import Halt
from .plan import Guest, Layer

STAMPED = "stamped"  # the file on a file system that stamp writes
MOUNTS = "/mnt"


class InnerStorage:
    """The plan's ``guest.storage``. ``nodes`` in the methods: name of a drive or a passed disk → the guest's node."""

    def __init__(self, guest: Guest) -> None:
        self._layers = {layer.name: layer for layer in guest.storage}
        self._arrays = [layer.name for layer in guest.storage if layer.kind == "md"]
        for layer in guest.storage:
            if table.row(layer.kind, layer.type) is None or not table.KINDS[layer.kind].inside:
                raise Halt("plan", f"{layer.name}: {layer.kind} {layer.type} inside the guest is not supported")

    def programs(self) -> tuple[str, ...]:
        """What the guest needs beside busybox."""
        rows = [table.ROWS[layer.kind, layer.type] for layer in self._layers.values()]
        return tuple(dict.fromkeys(program.name for row in rows for program in row.programs))

    def node(self, name: str, nodes: Mapping[str, str]) -> str:
        """The block device of a layer, a drive or a passed disk; of a file system the one that it lies on."""
        if name in self._arrays:
            return f"/dev/md{self._arrays.index(name)}"
        if name in self._layers:
            return self.node(self._layers[name].of[0], nodes)
        return nodes.get(name, "")

    def path(self, name: str, nodes: Mapping[str, str]) -> str:
        """What stamp and verify open: the device, or the file on the file system."""
        layer = self._layers.get(name)
        return f"{mount_point(name)}/{STAMPED}" if layer and layer.kind == "fs" else self.node(name, nodes)

    def is_mounted(self, name: str) -> bool:
        """Whether the layer is a file system."""
        return name in self._layers and self._layers[name].kind == "fs"

    def has_files(self) -> bool:
        """Whether any layer is a file system."""
        return any(map(self.is_mounted, self._layers))

    def create(self, nodes: Mapping[str, str]) -> list[str]:
        """Shell lines for fresh disks. Legs of an array are all zero, and so in sync as they are."""
        lines = []
        for layer in self._layers.values():
            if layer.kind == "md":
                legs = [self.node(leg, nodes) for leg in layer.of]
                lines.append(" ".join(md.create(self.node(layer.name, nodes), layer.type, legs, clean=True)))
            else:
                lines.append(" ".join(fs.make(layer.type, self.node(layer.name, nodes))))
                lines.append(self._mount(layer, nodes))
        return lines

    def assemble(self, nodes: Mapping[str, str]) -> list[str]:
        """Shell lines for disks that hold it already."""
        lines = []
        for layer in self._layers.values():
            if layer.kind == "md":
                legs = [self.node(leg, nodes) for leg in layer.of]
                lines.append(" ".join(md.assemble(self.node(layer.name, nodes), legs)))
            else:
                lines.append(self._mount(layer, nodes))
        return lines

    def _mount(self, layer: Layer, nodes: Mapping[str, str]) -> str:
        point = mount_point(layer.name)
        return f"mkdir -p {point} && {' '.join(fs.mount(layer.type, self.node(layer.name, nodes), point))}"

    def remount(self, name: str, nodes: Mapping[str, str]) -> str:
        """A shell line that takes the file system off and mounts it again."""
        return f"umount {mount_point(name)} && {self._mount(self._layers[name], nodes)}"

    def leave(self) -> str:
        """A shell line that takes all off, as an orderly shutdown does; "" when there is nothing."""
        mounted = [mount_point(name) for name in self._layers if self.is_mounted(name)]
        arrays = [f"/dev/md{number}" for number in range(len(self._arrays))]
        parts = ["umount " + " ".join(mounted)] if mounted else []
        parts += ["mdadm --stop " + " ".join(arrays)] if arrays else []
        return " && ".join(parts)

    def legs(self, name: str) -> tuple[tuple[str, str, int], ...]:
        """Where a layer's bytes lie: (disk, array that it is a leg of or "", number of the leg), below all layers.

        The array's data begins at an offset on each leg, which the kernel says (``offset_command``).
        """
        layer = self._layers.get(name)
        if layer is None:
            return ((name, "", 0),)
        if layer.kind == "fs":
            return self.legs(layer.of[0])
        if not table.ROWS[layer.kind, layer.type].copies:
            return ()  # no leg holds it as it stands
        return tuple((leg, name, number) for number, leg in enumerate(layer.of) if leg not in self._layers)

    def offset_command(self, array: str, leg: str, nodes: Mapping[str, str]) -> str:
        """A shell line: where the array's data begins on a leg, in sectors (Documentation/admin-guide/md.rst)."""
        device = posixpath.basename(self.node(array, nodes))
        return f"cat /sys/block/{device}/md/dev-{posixpath.basename(nodes.get(leg, ''))}/offset"


def mount_point(name: str) -> str:
    """Where a file system of the guest is mounted."""
    return f"{MOUNTS}/{name}"
