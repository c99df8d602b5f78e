# SPDX-License-Identifier: GPL-2.0-only
"""Disks of the VM: emulated behind a controller, or loop devices on a tmpfs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping

from .device import DEVICES
from .machine import Built, Layer, Machine, StorageError
from .row import Kind, Power, Row, Switch

LOOP_SET_FD = 0x4C00  # include/uapi/linux/loop.h
LOOP_CTL_GET_FREE = 0x4C82
LOOP_SET_DIRECT_IO = 0x4C08
LOOP_SET_BLOCK_SIZE = 0x4C09

ROWS = (
    *(
        Row("disk", device.name, fragments=device.fragments, modules=device.modules, device=device)
        for device in DEVICES.values()
        if device.of_vm
    ),
    Row(
        "disk", "loop", fragments=("loop",), modules=("loop",),
        # losetup(8), --sector-size; drivers/block/loop.c: a power of two from 512 to the page size
        options={"block_size": Power(512, 4096), "direct_io": Switch()},
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> Built:
    """Find the disk that QEMU attached, or attach a loop device. Raises StorageError, OSError."""
    device = _loop(machine, layer) if layer.type == "loop" else machine.disk(layer.name)
    return Built(layer, f"/dev/{device}", device)


def _loop(machine: Machine, layer: Layer) -> str:
    backing = f"{machine.folder}/{layer.name}.leg"
    with open(backing, "wb") as file:
        file.truncate(layer.size)
    return attach_loop(backing, dict(layer.options))


def attach_loop(file: str, options: Mapping[str, str]) -> str:
    """Attach ``file`` to a free loop device and name it (``loop0``). Options ``direct_io`` and ``block_size``.

    Raises StorageError.
    """
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"the kernel has no loop devices (CONFIG_BLK_DEV_LOOP): {error}") from None
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    node = -1
    try:
        device = f"loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
        node = os.open(f"/dev/{device}", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(node, LOOP_SET_FD, backing)
        if "block_size" in options:
            fcntl.ioctl(node, LOOP_SET_BLOCK_SIZE, int(options["block_size"]))
        if options.get("direct_io", "").lower() in ("true", "on", "1"):
            fcntl.ioctl(node, LOOP_SET_DIRECT_IO, 1)
    except OSError as error:
        raise StorageError(f"loop device on {file}: {error}") from None
    finally:
        for descriptor in (control, backing, node):
            if descriptor >= 0:
                os.close(descriptor)
    return device


KIND = Kind(
    "disk",
    build,
    takes=frozenset({"size", "options"}),
    needs=("size",),
    smallest=1 << 20,
    first_name="{kind}",
)
