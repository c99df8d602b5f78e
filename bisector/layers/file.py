# SPDX-License-Identifier: GPL-2.0-only
"""Disk images, raw or in a format of QEMU's: on a file system, on a device, or on their own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .fs import PACKED
from .machine import BuiltLayer, Layer, Machine, StorageError, switch
from .option import Layers, Option, Power, Switch, Word
from .row import Kind, Program, Row

FILL_BLOCK = 1 << 20

_QEMU_IMG = (Program("qemu-img", "qemu-utils", "makes and checks disk images"),)
_BACKING: Mapping[str, Option] = {"backing": Layers()}
_NOT_FILLED = {"full": "only a raw file is filled"}

ROWS = (
    Row("file", "raw", on=("fs",)),
    Row(
        "file", "qcow2", format="qcow2", refuses=_NOT_FILLED, programs=_QEMU_IMG, words=_BACKING, sized_by=("backing",),
        options={  # qemu-img(1), "qcow2"; limits in block/qcow2.h (MIN_CLUSTER_BITS 9, MAX_CLUSTER_BITS 21)
            "cluster_size": Power(512, 2 << 20),
            "compat": Word(("0.10", "1.1", "v2", "v3")),
            "extended_l2": Switch(),
            "lazy_refcounts": Switch(),
            "preallocation": Word(("off", "metadata", "falloc", "full")),
            "refcount_bits": Power(1, 64, sized=False),
        },
    ),
    Row(
        "file", "vmdk", format="vmdk", refuses=_NOT_FILLED, programs=_QEMU_IMG, on=("fs",),
        options={
            "subformat": Word(
                ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
            )
        },
    ),
    Row(
        "file", "vhdx", format="vhdx", refuses=_NOT_FILLED, programs=_QEMU_IMG, on=("fs",),
        options={"block_size": Power(1 << 20, 256 << 20), "subformat": Word(("dynamic", "fixed"))},
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Make the file in the folder that it lies on, on the device, or in the machine's own folder. Raises StorageError.

    On a squashfs the file is there already: the one that was packed.
    """
    path, packed = _path(machine, layer)
    if packed:
        return BuiltLayer(layer, path)
    try:
        if layer.type == "raw":
            make_raw(path, layer.size, full=switch(dict(layer.options).get("full", "")) == "on")
        else:
            machine.run(image_command(path, layer, _backing(machine, layer)))
    except OSError as error:
        raise StorageError(f"{layer.name}: {path}: {error}") from None
    return BuiltLayer(layer, path)


def again(machine: Machine, layer: Layer) -> BuiltLayer:
    """The file that is there already. Raises StorageError."""
    path, _ = _path(machine, layer)
    if not os.path.exists(path):
        raise StorageError(f"{layer.name}: {path} is not there any more")
    return BuiltLayer(layer, path)


def _path(machine: Machine, layer: Layer) -> tuple[str, bool]:
    """Where the file lies, and whether a squashfs packs it."""
    below = machine.nodes(layer.of)[0] if layer.of else machine.folder
    if any(built.layer.name in layer.of and built.layer.type == "squashfs" for built in machine.built("fs")):
        return f"{below}/{PACKED}", True
    return f"{below}/{layer.name}.{layer.type}" if os.path.isdir(below) else below, False


def _backing(machine: Machine, layer: Layer) -> list[str]:
    """What of the command names the file below, whose format is that of its layer."""
    name = dict(layer.options).get("backing")
    if name is None:
        return []
    kinds = {built.layer.name: built.layer.type for built in machine.built("file")}
    format_ = next((row.format for row in ROWS if row.type == kinds.get(name)), "raw")
    return ["-b", machine.nodes([name])[0], "-F", format_]


def make_raw(path: str, size: int, *, full: bool) -> None:
    """A raw file of ``size`` bytes, sparse, or with every byte written. Raises OSError."""
    with open(path, "wb") as file:
        file.truncate(size)
        if full:
            block = bytes(FILL_BLOCK)
            for at in range(0, size, FILL_BLOCK):
                os.pwrite(file.fileno(), block[: size - at], at)
            os.fsync(file.fileno())


def image_command(path: str, layer: Layer, backing: Sequence[str] = ()) -> list[str]:
    """``qemu-img create`` for a layer; its options go over as they stand, switches as on and off."""
    options = [f"{key}={switch(value) or value}" for key, value in layer.options if key != "backing"]
    given = ["-o", ",".join(options)] if options else []
    size = [str(layer.size)] if layer.size else []
    return ["qemu-img", "create", "-q", "-f", layer.type, *given, *backing, path, *size]


KIND = Kind(
    "file",
    build,
    again=again,
    takes=frozenset({"of", "size", "full", "options"}),
    needs=("size",),
    single=True,
    holds_bytes=True,
    without_vm=True,
    first_name="{type}",
)
