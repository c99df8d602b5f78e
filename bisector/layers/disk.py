# SPDX-License-Identifier: GPL-2.0-only
"""Disks of the VM: emulated behind a controller, or loop devices on a tmpfs."""

from .row import Kind, Power, Row, Switch

KIND = Kind("disk", takes=frozenset({"size", "options"}), needs=("size",))
ROWS = (
    Row("disk", "nvme", modules=("nvme",)),
    Row("disk", "virtio-blk", modules=("virtio_blk",)),
    Row("disk", "scsi", fragments=("scsi",), modules=("virtio_scsi", "sd_mod")),
    Row("disk", "ahci", fragments=("ahci",), modules=("ahci", "sd_mod")),
    Row(
        "disk", "loop", fragments=("loop",), modules=("loop",),
        # losetup(8), --sector-size; drivers/block/loop.c: a power of two from 512 to the page size
        options={"block_size": Power(512, 4096), "direct_io": Switch()},
    ),
)  # fmt: skip
