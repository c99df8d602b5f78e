# SPDX-License-Identifier: GPL-2.0-only
"""The storage inside the inner guest: shell lines that make it at the first start and assemble it at each later one.

Pure. The layers lie on drives and on disks that are passed through; what a kind does stands in its module
(bisector/layers, ``GuestCommands``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from ..layers import table
from ..layers.row import GuestCommands
from .command import Halt
from .plan import Guest, Layer

STAMPED = "stamped"  # the file on a file system that stamp writes


class InnerStorage:
    """The plan's ``guest.storage``. ``nodes`` in the methods: name of a drive or a passed disk → the guest's node."""

    def __init__(self, guest: Guest) -> None:
        self._layers = {layer.name: layer for layer in guest.storage}
        self._own: dict[str, str] = {}  # layer → its own node, or its mount point
        count = dict.fromkeys(table.KINDS, 0)
        for layer in guest.storage:
            self._own[layer.name] = _inside(layer).node(count[layer.kind], layer.name)
            count[layer.kind] += 1

    def programs(self) -> tuple[str, ...]:
        """What the guest needs beside busybox."""
        rows = [table.ROWS[layer.kind, layer.type] for layer in self._layers.values()]
        return tuple(dict.fromkeys(program.name for row in rows for program in row.programs))

    def node(self, name: str, nodes: Mapping[str, str]) -> str:
        """The block device of a layer, a drive or a passed disk; of a file system the one that it lies on."""
        if self.is_mounted(name):
            return self.node(self._layers[name].of[0], nodes)
        return self._own.get(name) or nodes.get(name, "")

    def path(self, name: str, nodes: Mapping[str, str]) -> str:
        """What stamp and verify open: the device, or the file on the file system."""
        return f"{self._own[name]}/{STAMPED}" if self.is_mounted(name) else self.node(name, nodes)

    def is_mounted(self, name: str) -> bool:
        """Whether the layer is a file system."""
        return name in self._layers and table.KINDS[self._layers[name].kind].mounted

    def has_files(self) -> bool:
        """Whether any layer is a file system."""
        return any(map(self.is_mounted, self._layers))

    def create(self, nodes: Mapping[str, str]) -> list[str]:
        """Shell lines for fresh disks."""
        lines = []
        for layer in self._layers.values():
            lines += _inside(layer).create(layer, self._own[layer.name], self._members(layer, nodes))
        return lines

    def assemble(self, nodes: Mapping[str, str]) -> list[str]:
        """Shell lines for disks that hold it already."""
        lines = []
        for layer in self._layers.values():
            lines += _inside(layer).assemble(layer, self._own[layer.name], self._members(layer, nodes))
        return lines

    def _members(self, layer: Layer, nodes: Mapping[str, str]) -> list[str]:
        return [self.node(name, nodes) for name in layer.of]

    def remount(self, name: str, nodes: Mapping[str, str]) -> str:
        """A shell line that takes the file system off and mounts it again."""
        layer, point = self._layers[name], self._own[name]
        inside = _inside(layer)
        return " && ".join((inside.leave([point]), *inside.assemble(layer, point, self._members(layer, nodes))))

    def leave(self) -> str:
        """A shell line that takes all off, upper layers first, as a shutdown does; "" when there is nothing."""
        above = itertools.groupby(reversed(self._layers.values()), key=_inside)
        return " && ".join(inside.leave([self._own[layer.name] for layer in layers]) for inside, layers in above)

    def legs(self, name: str) -> tuple[tuple[str, str, int], ...]:
        """Where a layer's bytes lie: (disk, array that it is a leg of or "", number of the leg), below all layers.

        The array's data begins at an offset on each leg, which the kernel says (``offset_command``).
        """
        layer = self._layers.get(name)
        if layer is None:
            return ((name, "", 0),)
        if self.is_mounted(name):
            return self.legs(layer.of[0])
        if not table.ROWS[layer.kind, layer.type].copies:
            return ()  # no leg holds it as it stands
        return tuple((leg, name, number) for number, leg in enumerate(layer.of) if leg not in self._layers)

    def offset_command(self, array: str, leg: str, nodes: Mapping[str, str]) -> str:
        """A shell line: where the array's data begins on a leg, in sectors."""
        layer = self._layers.get(array)
        return _inside(layer).offset(self.node(array, nodes), nodes.get(leg, "")) if layer else ""


def _inside(layer: Layer) -> GuestCommands:
    """How a guest has layers of this kind. Raises Halt(plan) where it cannot."""
    inside = table.KINDS[layer.kind].inside if table.row(layer.kind, layer.type) else None
    if inside is None:
        raise Halt("plan", f"{layer.name}: {layer.kind} {layer.type} inside the guest is not supported")
    return inside
