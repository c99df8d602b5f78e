# SPDX-License-Identifier: GPL-2.0-only
"""LVM: a logical volume over members that become one volume group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .row import Kind, Power, Program, Row

KIND = Kind("lvm", takes=frozenset({"of", "size", "log", "options"}), needs=("of", "size"), whole=True)

_REGION = Power(4 << 10, 1 << 30)
"""lvcreate(8): "-R, --regionsize Size"; lvm2 wants a power of two and a multiple of the page size (lib/metadata)."""

_PROGRAMS = (Program("lvm", "lvm2", "builds LVM layers"), Program("dmsetup", "dmsetup", "reads their health"))


def _half(members: Sequence[int]) -> int:
    return min(members) * len(members) // 2


# the kernel asks for a target by its name, dm-NAME, and for a level of md by its alias; both end at these files
ROWS = (
    Row("lvm", "linear", 1, capacity=sum, fragments=("lvm-raid",), modules=("dm_mod",), programs=_PROGRAMS),
    Row(
        "lvm", "raid1", 2, options={"region_size": _REGION}, fragments=("lvm-raid",),
        modules=("dm_mod", "dm_raid", "raid1"), programs=_PROGRAMS, redundant=True, copies=True,
    ),
    Row(
        "lvm", "mirror", 2, options={"region_size": _REGION}, fragments=("lvm-raid",),
        modules=("dm_mod", "dm_mirror", "dm_log"), programs=_PROGRAMS, redundant=True, copies=True,
    ),
    Row(
        "lvm", "raid10", 4, even=True, capacity=_half,
        # drivers/md/dm-raid.c, validate_region_size: no smaller than the stripes, which lvcreate makes 64k
        options={"region_size": Power(64 << 10, 1 << 30)}, fragments=("lvm-raid",),
        modules=("dm_mod", "dm_raid", "raid10"), programs=_PROGRAMS, redundant=True,
    ),
)  # fmt: skip


def create_options(type_: str, size: int, members: int, options: Mapping[str, str]) -> list[str]:
    """The options of lvcreate for a volume of ``size`` bytes (0: all there is) over so many members.

    Members are fresh disks, so nothing is wiped (``-Wn``) and no signature in question; the sync is a real one.
    """
    space = ["-L", f"{size}b"] if size else ["-l", "100%FREE"]
    given = ["--type", type_, *space, "-Wn", "-Zn"]
    if type_ in ("raid1", "mirror"):
        given += ["-m", str(members - 1)]
    elif type_ == "raid10":
        given += ["-m", "1", "-i", str(members // 2)]
    if type_ == "mirror":
        log = options.get("log", "core")
        given += ["--mirrorlog", log] + (["--alloc", "anywhere"] if log == "disk" else [])
    if "region_size" in options:
        given += ["-R", f"{options['region_size']}b"]
    return given


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


def linear_health(status: str) -> str:
    """``none`` for a dm-linear line, ``0 65536 linear``: it has no redundancy to lose."""
    return "none" if status.split()[2:3] == ["linear"] else ""


def health(status: str) -> str:
    """Health from any device-mapper line; "" for targets whose line says nothing of it."""
    return raid_health(status) or mirror_health(status) or linear_health(status)


def _complete(ratio: str) -> bool:
    done, _, all_of_it = ratio.partition("/")
    return done == all_of_it
