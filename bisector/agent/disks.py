# SPDX-License-Identifier: GPL-2.0-only
"""Disks: finding the node behind a serial number (udev is ended in the VM), and loop devices on files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass

from .command import Halt, demand
from .observe import read_text

APPEAR = 20.0  # seconds that a disk may take to appear
POLL = 0.1
SERIAL_LENGTH = 20  # what virtio-blk, NVMe and ATA keep of a serial; a longer layer name is cut by the device
HDIO_GET_IDENTITY = 0x030D  # include/uapi/linux/hdreg.h; answers struct hd_driveid, serial_no at byte 20
LOOP_SET_FD = 0x4C00  # include/uapi/linux/loop.h
LOOP_CTL_GET_FREE = 0x4C82
LOOP_SET_DIRECT_IO = 0x4C08
LOOP_SET_BLOCK_SIZE = 0x4C09


@dataclass(frozen=True)
class Limits:
    """A queue's figures from sysfs, -1 where the kernel shows none (dma_alignment is there since 6.0)."""

    dma_alignment: int
    logical_block: int


def limits(device: str) -> Limits:
    """The alignment mask and logical block size of a block device such as ``dm-3``."""
    return Limits(_figure(device, "dma_alignment"), _figure(device, "logical_block_size"))


def _figure(device: str, name: str) -> int:
    text = read_text(f"/sys/block/{device}/queue/{name}") if device else ""
    return int(text) if text.isdigit() else -1


def load_modules(*names: str) -> None:
    """Load what may be a module; what is built in, or not there, is no error: the device's absence will say so."""
    if os.path.exists("/proc/modules"):
        with contextlib.suppress(Halt):
            demand(["modprobe", "-q", "-a", *names], stage="tools", timeout=30.0)


def serials(sys_block: str = "/sys/block") -> dict[str, str]:
    """Serial number → block device, for every disk that shows one."""
    found = {}
    for device in sorted(os.listdir(sys_block)):
        serial = serial_of(f"{sys_block}/{device}") or identity_serial(device)
        if serial:
            found[serial] = device
    return found


def serial_of(folder: str) -> str:
    """The serial in a device's sysfs folder: virtio-blk's own, NVMe's controller's, or SCSI's VPD page 0x80."""
    for name in ("serial", "device/serial"):
        serial = read_text(f"{folder}/{name}")
        if serial:
            return serial
    try:
        with open(f"{folder}/device/vpd_pg80", "rb") as page:
            return vpd_serial(page.read())
    except OSError:
        return ""


def vpd_serial(page: bytes) -> str:
    """The serial in VPD page 0x80: four bytes of head, the last two of them the length (SPC-4, 7.8.15)."""
    if len(page) < 4 or page[1] != 0x80:
        return ""
    return page[4 : 4 + int.from_bytes(page[2:4], "big")].decode("ascii", "replace").strip(" \0")


def identity_serial(device: str) -> str:
    """The serial that an ATA disk (``sda``) gives by ioctl; "" for anything else."""
    if not device.startswith("sd"):
        return ""
    try:
        node = os.open(f"/dev/{device}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        answer = fcntl.ioctl(node, HDIO_GET_IDENTITY, bytes(512))
        return answer[20:40].decode("ascii", "replace").strip(" \0")
    except OSError:
        return ""
    finally:
        os.close(node)


def find_disks(names: tuple[str, ...], seconds: float = APPEAR) -> dict[str, str]:
    """Layer name → block device (``nvme0n1``), by serial. Raises Halt(storage) when one does not appear in time."""
    until = time.monotonic() + seconds
    while True:
        known = serials()
        missing = [name for name in names if name[:SERIAL_LENGTH] not in known]
        ready = {name: known[name[:SERIAL_LENGTH]] for name in names if name not in missing}
        if not missing and all(os.path.exists(f"/dev/{device}") for device in ready.values()):
            return ready
        if time.monotonic() > until:
            raise Halt("storage", f"no disk with serial {', '.join(missing)} appeared; there are {sorted(known)}")
        time.sleep(POLL)


def attach_loop(file: str, options: dict[str, str]) -> str:
    """Attach ``file`` to a free loop device and name it (``loop0``). Options ``direct_io`` and ``block_size``.

    Raises Halt(storage).
    """
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Halt("storage", f"the kernel has no loop devices (CONFIG_BLK_DEV_LOOP): {error}") from None
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
        raise Halt("storage", f"loop device on {file}: {error}") from None
    finally:
        for descriptor in (control, backing, node):
            if descriptor >= 0:
                os.close(descriptor)
    return device
