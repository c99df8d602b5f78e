# SPDX-License-Identifier: GPL-2.0-only
"""Files, raw or qcow2, on a file system or on their own."""

from __future__ import annotations

import os

from .machine import Built, Layer, Machine, StorageError, switch
from .option import Power, Switch, Word
from .row import Kind, Program, Row

FILL_BLOCK = 1 << 20

ROWS = (
    Row("file", "raw"),
    Row(
        "file", "qcow2", format="qcow2", refuses={"full": "only a raw file is filled"},
        programs=(Program("qemu-img", "qemu-utils", "makes and checks disk images"),),
        options={  # qemu-img(1), "qcow2"; limits in block/qcow2.h (MIN_CLUSTER_BITS 9, MAX_CLUSTER_BITS 21)
            "cluster_size": Power(512, 2 << 20),
            "compat": Word(("0.10", "1.1", "v2", "v3")),
            "extended_l2": Switch(),
            "lazy_refcounts": Switch(),
            "preallocation": Word(("off", "metadata", "falloc", "full")),
            "refcount_bits": Power(1, 64, sized=False),
        },
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> Built:
    """Make the file in the folder that it lies on, or in the machine's own. Raises StorageError."""
    folders = machine.nodes(layer.of)
    path = f"{folders[0] if folders else machine.folder}/{layer.name}.{layer.type}"
    try:
        if layer.type == "raw":
            make_raw(path, layer.size, full=switch(dict(layer.options).get("full", "")) == "on")
        else:
            machine.run(qcow2_command(path, layer))
    except OSError as error:
        raise StorageError(f"{layer.name}: {path}: {error}") from None
    return Built(layer, path)


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


KIND = Kind(
    "file",
    build,
    takes=frozenset({"of", "size", "full", "options"}),
    needs=("size",),
    single=True,
    holds_bytes=True,
    without_vm=True,
    first_name="{type}",
)
