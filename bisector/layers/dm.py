# SPDX-License-Identifier: GPL-2.0-only
"""The status of a device-mapper device, for every kind that makes one."""

from __future__ import annotations

import fcntl
import os
import struct

# struct dm_ioctl and dm_target_spec (include/uapi/linux/dm-ioctl.h). By ioctl and not by dmsetup, because a
# start of dmsetup costs 0.1 s in an emulated VM and the state is read in a loop.
DM_IOCTL = struct.Struct("=6Ii3IQ128s129s7x")
DM_TARGET = struct.Struct("=QQiI16s")
DM_TABLE_STATUS = 0xC138FD0C
DM_VERSION = (4, 0, 0)


def status(name: str) -> str:
    """The status line of the device-mapper device ``name``, as dmsetup prints it. Raises OSError."""
    size = 16 << 10
    head = DM_IOCTL.pack(*DM_VERSION, size, DM_IOCTL.size, 0, 0, 0, 0, 0, 0, name.encode(), b"")
    buffer = bytearray(head.ljust(size, b"\0"))
    control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, DM_TABLE_STATUS, buffer)
    finally:
        os.close(control)
    return parse_status(bytes(buffer))


def parse_status(buffer: bytes) -> str:
    """The first target of a DM_TABLE_STATUS answer as a line: start, length, type, its own words."""
    fields = DM_IOCTL.unpack_from(buffer)
    start, count = fields[4], fields[5]
    if not count:
        return ""
    first, length, _, _, kind = DM_TARGET.unpack_from(buffer, start)
    words = buffer[start + DM_TARGET.size :].partition(b"\0")[0].decode(errors="replace")
    return f"{first} {length} {kind.partition(bytes(1))[0].decode()} {words}".rstrip()


def device(node: str) -> str:
    """The name in sysfs (``dm-3``) of a device-mapper node. Raises OSError."""
    return f"dm-{os.minor(os.stat(node).st_rdev)}"
