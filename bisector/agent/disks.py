# SPDX-License-Identifier: GPL-2.0-only
"""Disks of the VM: the node behind a serial number (udev is ended in the VM), its limits, modules."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass

from ..layers.device import SERIAL_LENGTH
from ..layers.machine import read_text
from .command import Halt, find_tool, run

APPEAR = 20.0  # seconds that a disk may take to appear
POLL = 0.05
LOAD = 120.0  # seconds to load modules: on a host with twelve processes for two processors XFS was not in after 30
HDIO_GET_IDENTITY = 0x030D  # include/uapi/linux/hdreg.h; answers struct hd_driveid, serial_no at byte 20


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
    return int(text) if text.isdecimal() else -1


def load_modules(*names: str) -> None:
    """Load what may be a module; what is built in, or not there, is no error: the device's absence will say so.

    Raises Halt(tools) for one that takes too long: what lacks it then would look as if the kernel refused it.
    """
    if not os.path.exists("/proc/modules"):
        return
    try:
        ran = run([find_tool("modprobe"), "-q", "-a", *names], timeout=LOAD)
    except (Halt, OSError):  # it is not installed
        return
    if ran.exit is None:
        raise Halt(
            "tools", f"modprobe {' '.join(names)} did not end in {LOAD:.0f} s, on a host that has too much to do"
        )


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
