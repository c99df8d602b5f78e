# SPDX-License-Identifier: GPL-2.0-only
"""The plan's storage: layer upon layer, each built once, synced before use, and looked at again after each step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..layers import fs, table
from . import disks, volumes
from .command import Halt, demand
from .plan import Layer, LayerFacts

FILL_BLOCK = 1 << 20


@dataclass(frozen=True)
class Built:
    """A layer that stands: ``node`` is what a program opens (a mount point for fs), ``device`` its name in sysfs."""

    layer: Layer
    node: str
    device: str = ""
    volume: str = ""  # device-mapper or md name, for health


class Storage:
    """Builds the layers of a plan in ``folder`` (on a tmpfs in the VM); one tool or sync has ``limit`` seconds."""

    def __init__(self, folder: str, limit: float) -> None:
        self._folder = folder
        self._limit = limit
        self._volumes = volumes.Volumes(folder, limit)
        self._built: dict[str, Built] = {}
        self._vm = False
        os.makedirs(folder, exist_ok=True)

    def build(self, layers: Sequence[Layer], *, vm: bool) -> None:
        """Build all layers, lower ones first, and sync them. Raises Halt(plan), Halt(storage) or Halt(tools).

        Without a VM nothing but files is made: the host's block devices are not ours (law 5).
        """
        self._vm = vm
        ordered = in_order(layers)
        foreign = [layer.name for layer in ordered if not vm and (layer.kind != "file" or layer.of)]
        if foreign:
            raise Halt("plan", f"without a VM there are only files on their own, not {', '.join(foreign)}")
        load_modules(ordered)
        attached = tuple(layer.name for layer in ordered if layer.kind == "disk" and layer.type != "loop")
        found = disks.find_disks(attached) if attached else {}
        for layer in ordered:
            if layer.kind == "fs":
                self._sync()  # a file system starts on legs that agree
            self._built[layer.name] = self._make(layer, found)
        self._sync()

    def node(self, name: str) -> str:
        """What a program opens to reach the layer ``name``. Raises Halt(plan)."""
        if name not in self._built:
            raise Halt("plan", f"there is no layer {name}; there are {', '.join(self._built) or 'none'}")
        return self._built[name].node

    def kind(self, name: str) -> str:
        """The kind of the layer ``name``, "" when there is none."""
        return self._built[name].layer.kind if name in self._built else ""

    def legs(self, name: str) -> tuple[str, ...]:
        """The layers that the layer ``name`` is made of."""
        return self._built[name].layer.of if name in self._built else ()

    def remount(self, name: str) -> None:
        """Take the file system ``name`` off and mount it again. Raises Halt(storage)."""
        built = self._built[name]
        demand(["umount", built.node], stage="storage", timeout=self._limit)
        self._attach(built.layer, self.node(built.layer.of[0]), built.node)

    def find_again(self, names: Sequence[str], seconds: float) -> None:
        """Find disks whose controller was away for a while: their nodes may be others now. Raises Halt(storage)."""
        for name, device in disks.find_disks(tuple(names), seconds).items():
            self._built[name] = Built(self._built[name].layer, f"/dev/{device}", device)

    def environment(self) -> dict[str, str]:
        """Variables with which a recipe's own program may change the storage. Raises Halt(tools)."""
        try:
            return volumes.environment_of_steps(self._folder) if self._vm else {}
        except OSError as error:
            raise Halt("tools", f"LVM's configuration cannot be written: {error}") from None

    def nodes(self) -> dict[str, str]:
        """Layer name → what a program opens."""
        return {name: built.node for name, built in self._built.items()}

    def facts(self) -> tuple[LayerFacts, ...]:
        """Every layer as it is now."""
        return tuple(self._facts(built) for built in list(self._built.values()))

    def _facts(self, built: Built) -> LayerFacts:
        limits = disks.limits(built.device)
        health, status = volumes.volume_health(built.layer.kind, built.volume) if built.volume else ("", "")
        return LayerFacts(built.layer.name, built.node, limits.dma_alignment, limits.logical_block, health, status)

    def _sync(self) -> None:
        waiting = [(b.layer.kind, b.volume, b.layer.name) for b in self._built.values() if b.volume]
        self._volumes.wait_synced(waiting)

    def _make(self, layer: Layer, found: dict[str, str]) -> Built:
        if table.row(layer.kind, layer.type) is None:
            raise Halt("plan", f"{layer.name}: {layer.kind} {layer.type} is not supported by this version")
        legs = [self._built[name].node for name in layer.of]
        if layer.kind == "disk":
            device = self._loop(layer) if layer.type == "loop" else found[layer.name]
            return Built(layer, f"/dev/{device}", device)
        if layer.kind == "lvm":
            volume = self._volumes.logical_volume(layer, legs)
            node = f"/dev/mapper/{volume}"
            return Built(layer, node, f"dm-{os.minor(os.stat(node).st_rdev)}", volume)
        if layer.kind == "md":
            array = self._volumes.array(layer, legs)
            return Built(layer, f"/dev/{array}", array, array)
        if layer.kind == "fs":
            return Built(layer, self._mount(layer, legs))
        return Built(layer, self._file(layer, legs))

    def _loop(self, layer: Layer) -> str:
        backing = f"{self._folder}/{layer.name}.leg"
        with open(backing, "wb") as file:
            file.truncate(layer.size)
        return disks.attach_loop(backing, dict(layer.options))

    def _mount(self, layer: Layer, legs: Sequence[str]) -> str:
        demand(fs.make(layer.type, legs[0]), stage="storage", timeout=self._limit)
        point = f"{self._folder}/{layer.name}"
        os.makedirs(point, exist_ok=True)
        self._attach(layer, legs[0], point)
        return point

    def _attach(self, layer: Layer, device: str, point: str) -> None:
        demand(fs.mount(layer.type, device, point), stage="storage", timeout=self._limit)

    def _file(self, layer: Layer, legs: Sequence[str]) -> str:
        path = f"{legs[0] if legs else self._folder}/{layer.name}.{layer.type}"
        options = dict(layer.options)
        try:
            if layer.type == "raw":
                make_raw(path, layer.size, full=switch(options.get("full", "")) == "on")
            else:
                demand(qcow2_command(path, layer), stage="storage", timeout=self._limit)
        except OSError as error:
            raise Halt("storage", f"{layer.name}: {path}: {error}") from None
        return path


def in_order(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with each behind those it is made of. Raises Halt(plan) for an unknown one and for a circle."""
    known = {layer.name: layer for layer in layers}
    ordered: dict[str, Layer] = {}

    def place(name: str, above: tuple[str, ...]) -> None:
        if name in ordered:
            return
        if name not in known or name in above:
            raise Halt("plan", f"{' of '.join((*above, name))}: {'a circle' if name in above else 'no such layer'}")
        for lower in known[name].of:
            place(lower, (*above, name))
        ordered[name] = known[name]

    for layer in layers:
        place(layer.name, ())
    return list(ordered.values())


def load_modules(layers: Sequence[Layer]) -> None:
    """Load what the layers need, where the kernel has modules."""
    needed: list[str] = []
    for layer in layers:
        needed += row.modules if (row := table.row(layer.kind, layer.type)) else ()
    if needed:
        disks.load_modules(*dict.fromkeys(needed))


def make_raw(path: str, size: int, *, full: bool) -> None:
    """A raw file of ``size`` bytes, sparse, or with every byte written. Raises OSError."""
    with open(path, "wb") as file:
        file.truncate(size)
        if full:
            block = bytes(FILL_BLOCK)
            for at in range(0, size, FILL_BLOCK):
                os.pwrite(file.fileno(), block[: size - at], at)
            os.fsync(file.fileno())


def qcow2_command(path: str, layer: Layer) -> list[str]:
    """``qemu-img create`` for a qcow2 layer; its options go over as they stand, switches as on and off."""
    options = [f"{key}={switch(value) or value}" for key, value in layer.options]
    given = ["-o", ",".join(options)] if options else []
    return ["qemu-img", "create", "-q", "-f", "qcow2", *given, path, str(layer.size)]


def switch(value: str) -> str:
    """``on`` or ``off`` for a word that means so; "" for any other."""
    return {"true": "on", "on": "on", "yes": "on", "false": "off", "off": "off", "no": "off"}.get(value.lower(), "")
