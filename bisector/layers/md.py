# SPDX-License-Identifier: GPL-2.0-only
"""md: an array of the kernel's own RAID, made by mdadm."""

from __future__ import annotations

from collections.abc import Sequence

from .row import Kind, Program, Row

KIND = Kind("md", takes=frozenset({"of"}), needs=("of",), inside=True, whole=True)

_PROGRAMS = (Program("mdadm", "mdadm", "builds md layers"),)

# drivers/md/Makefile: levels 4, 5 and 6 are one module, raid456, which dm-raid brings along (drivers/md/Kconfig:
# DM_RAID selects MD_RAID456); mdadm(8), --raid-devices: the least members
ROWS = (
    Row(
        "md", "raid1", 2, fragments=("lvm-raid",), modules=("raid1",), programs=_PROGRAMS, redundant=True, copies=True,
    ),
    Row(
        "md", "raid5", 3, capacity=lambda members: min(members) * (len(members) - 1),
        share=lambda size, members: size // (members - 1), fragments=("lvm-raid",), modules=("raid456",),
        programs=_PROGRAMS, redundant=True,
    ),
    Row(
        "md", "raid6", 4, capacity=lambda members: min(members) * (len(members) - 2),
        share=lambda size, members: size // (members - 2), fragments=("lvm-raid",), modules=("raid456",),
        programs=_PROGRAMS, redundant=True,
    ),
    Row(
        "md", "raid10", 4, capacity=lambda members: min(members) * len(members) // 2,
        share=lambda size, members: size * 2 // members, fragments=("lvm-raid",), modules=("raid10",),
        programs=_PROGRAMS, redundant=True,
    ),
)  # fmt: skip


def create(device: str, type_: str, members: Sequence[str], *, share: int = 0, clean: bool = False) -> list[str]:
    """The command that makes an array.

    Args:
        device: its node.
        members: their nodes.
        share: bytes of each member that it uses; 0: all there is.
        clean: whether the members are in sync as they are (all zero: so is the parity of zeros).
    """
    argv = ["mdadm", "--create", device, "--run", *(["--assume-clean"] if clean else [])]
    argv += ["--level", type_.removeprefix("raid"), "--raid-devices", str(len(members)), "--metadata", "1.2"]
    if type_ == "raid5":
        argv.append("--force")  # else it begins degraded, with a spare to recover to (mdadm(8), --force)
    argv += ["--bitmap", "none", *(["--size", str(share // 1024)] if share else [])]
    return [*argv, *members]


def assemble(device: str, members: Sequence[str]) -> list[str]:
    """The command that assembles it from members that hold it already."""
    return ["mdadm", "--assemble", device, "--run", *members]


def health(degraded: str, array_state: str, resync_start: str, sync_action: str) -> str:
    """Health from the files of /sys/block/mdX/md (Documentation/admin-guide/md.rst).

    ``resync_start`` is ``none`` once the first sync is over; right after creation the action is still ``idle``.
    """
    if array_state in ("", "clear", "inactive", "broken", "suspended") or degraded not in ("", "0"):
        return "degraded"
    return "healthy" if resync_start in ("none", "") and sync_action in ("idle", "frozen", "") else "syncing"
