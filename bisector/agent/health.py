# SPDX-License-Identifier: GPL-2.0-only
"""Health of redundant storage, read from the kernel's own status. Pure, but for the reads at the end."""

from __future__ import annotations

import fcntl
import os
import struct

from .observe import read_text

# struct dm_ioctl and dm_target_spec (include/uapi/linux/dm-ioctl.h). Wanted by ioctl and not by dmsetup, because a
# start of dmsetup costs 0.1 s in an emulated VM and the state is read in a loop.
DM_IOCTL = struct.Struct("=6Ii3IQ128s129s7x")
DM_TARGET = struct.Struct("=QQiI16s")
DM_TABLE_STATUS = 0xC138FD0C
DM_VERSION = (4, 0, 0)


def raid_health(status: str) -> str:
    """Health from a dm-raid line, ``0 65536 raid raid1 2 AA 65536/65536 idle 0 0 -``.

    Per device A is alive and in sync, a alive and not in sync, D dead, - missing
    (Documentation/admin-guide/device-mapper/dm-raid.rst).
    """
    fields = status.split()
    if len(fields) < 8 or fields[2] != "raid":
        return ""
    devices, ratio, action = fields[5:8]
    if set(devices) - set("Aa"):
        return "degraded"
    return "healthy" if set(devices) == {"A"} and _complete(ratio) and action == "idle" else "syncing"


def mirror_health(status: str) -> str:
    """Health from a dm-mirror line, ``0 65536 mirror 2 253:0 253:1 64/64 1 AA 1 core``.

    Per device A is alive; D, S, R, F and U are failures of write, sync, read, flush, and unknown (dm-raid1.c).
    """
    fields = status.split()
    if len(fields) < 4 or fields[2] != "mirror":
        return ""
    rest = fields[4 + int(fields[3]) :]
    if len(rest) < 3:
        return ""
    if set(rest[2]) != {"A"}:
        return "degraded"
    return "healthy" if _complete(rest[0]) else "syncing"


def _complete(ratio: str) -> bool:
    done, _, all_of_it = ratio.partition("/")
    return done == all_of_it


def md_health(degraded: str, array_state: str, resync_start: str, sync_action: str) -> str:
    """Health from the files of /sys/block/mdX/md (Documentation/admin-guide/md.rst).

    ``resync_start`` is ``none`` once the first sync is over; right after creation the action is still ``idle``.
    """
    if array_state in ("", "clear", "inactive", "broken", "suspended") or degraded not in ("", "0"):
        return "degraded"
    return "healthy" if resync_start in ("none", "") and sync_action in ("idle", "frozen", "") else "syncing"


def linear_health(status: str) -> str:
    """``none`` for a dm-linear line, ``0 65536 linear``: it has no redundancy to lose."""
    return "none" if status.split()[2:3] == ["linear"] else ""


def dm_health(status: str) -> str:
    """Health from any device-mapper line; "" for targets whose line says nothing of it."""
    return raid_health(status) or mirror_health(status) or linear_health(status)


def dm_status(name: str) -> str:
    """The status line of the device-mapper device ``name``, as dmsetup prints it. Raises OSError."""
    size = 16 << 10
    head = DM_IOCTL.pack(*DM_VERSION, size, DM_IOCTL.size, 0, 0, 0, 0, 0, 0, name.encode(), b"")
    buffer = bytearray(head.ljust(size, b"\0"))
    control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, DM_TABLE_STATUS, buffer)
    finally:
        os.close(control)
    return parse_dm_status(bytes(buffer))


def parse_dm_status(buffer: bytes) -> str:
    """The first target of a DM_TABLE_STATUS answer as a line: start, length, type, its own words."""
    fields = DM_IOCTL.unpack_from(buffer)
    start, count = fields[4], fields[5]
    if not count:
        return ""
    first, length, _, _, kind = DM_TARGET.unpack_from(buffer, start)
    words = buffer[start + DM_TARGET.size :].partition(b"\0")[0].decode(errors="replace")
    return f"{first} {length} {kind.partition(bytes(1))[0].decode()} {words}".rstrip()


def md_status(device: str) -> tuple[str, str]:
    """Health of the array ``md0`` and the words it was read from."""
    names = ("degraded", "array_state", "resync_start", "sync_action")
    values = [read_text(f"/sys/block/{device}/md/{name}") for name in names]
    return md_health(*values), " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
