# SPDX-License-Identifier: GPL-2.0-only
"""LVM: a logical volume over members that become one volume group."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from . import dm
from .machine import Built, Layer, Machine, StorageError
from .option import Power
from .row import Kind, Program, Row

_REGION = Power(4 << 10, 1 << 30)
"""lvcreate(8): "-R, --regionsize Size"; lvm2 wants a power of two and a multiple of the page size (lib/metadata)."""

_PROGRAMS = (
    Program("lvm", "lvm2", "builds LVM layers", version="version"),
    Program("dmsetup", "dmsetup", "reads their health"),
)


# The agent ended the VM's udev, so LVM scans /dev itself, makes its own nodes and waits for nobody; use_devicesfile
# came with 2.03.12, and before that it is an unknown setting, which is only a warning.
LVM_CONF = """\
devices {{ dir="/dev" scan=["/dev"] obtain_device_list_from_udev=0 external_device_info_source="none" hints="none"
  use_devicesfile=0 filter=[{filter}] multipath_component_detection=0 }}
activation {{ monitoring=0 udev_sync=0 udev_rules=0 verify_udev_operations=0 }}
backup {{ backup=0 archive=0 }}
global {{ use_lvmpolld=0 use_lvmlockd=0 locking_dir="{folder}/lock" system_id_source="none" notify_dbus=0 }}
"""


_BEGINS = ("snapshot", "pvmove")
_HOLDS = (
    "_cdata", "_cmeta", "_corig", "_imag", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta",
    "_vdata", "_vorigin", "_wcorig",
)  # fmt: skip
"""lvm(8), VALID NAMES: what a volume's name may not begin with, or hold."""


def _half(members: Sequence[int]) -> int:
    return min(members) * len(members) // 2


def _no_log(type_: str) -> dict[str, str]:
    return {"log": f"only lvm mirror has a log, {type_} has none"}


# the kernel asks for a target by its name, dm-NAME, and for a level of md by its alias; both end at these files
ROWS = (
    Row(
        "lvm", "linear", 1, capacity=sum, refuses=_no_log("linear"), fragments=("lvm-raid",), modules=("dm_mod",),
        programs=_PROGRAMS,
    ),
    Row(
        "lvm", "raid1", 2, options={"region_size": _REGION}, refuses=_no_log("raid1"), fragments=("lvm-raid",),
        modules=("dm_mod", "dm_raid", "raid1"), programs=_PROGRAMS, redundant=True, copies=True,
    ),
    Row(
        "lvm", "mirror", 2, options={"region_size": _REGION}, fragments=("lvm-raid",),
        modules=("dm_mod", "dm_mirror", "dm_log"), programs=_PROGRAMS, redundant=True, copies=True,
    ),
    Row(
        "lvm", "raid10", 4, even=True, capacity=_half, refuses=_no_log("raid10"),
        # drivers/md/dm-raid.c, validate_region_size: no smaller than the stripes, which lvcreate makes 64k
        options={"region_size": Power(64 << 10, 1 << 30)}, fragments=("lvm-raid",),
        modules=("dm_mod", "dm_raid", "raid10"), programs=_PROGRAMS, redundant=True,
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> Built:
    """Make a volume group over the members (or use theirs) and a volume in it. Raises StorageError, OSError."""
    members = machine.nodes(layer.of)
    groups = _groups(machine)
    commands = []
    own = {groups.get(member, "") for member in members}
    if len(own) > 1:
        raise StorageError(
            f"the members {', '.join(members)} are not all in one volume group with the same members", stage="plan"
        )
    group = own.pop()
    if not group:
        group = f"bisector{len(set(groups.values()))}"
        groups |= dict.fromkeys(members, group)
        commands.append(["vgcreate", "-q", "-y", group, *members])
    name = volume_name(layer.name)
    options = create_options(layer.type, layer.size, len(members), dict(layer.options))
    commands.append(["lvcreate", "-q", "-y", *options, "-n", name, group, *members])
    folder = f"{machine.folder}/lvm"
    accept = "".join(f'"a|^{node}$|",' for node in groups)
    variables = _configured(folder, folder, f'{accept}"r|.*|"')
    for command in commands:
        machine.run(["lvm", *command], variables)
    node = f"/dev/mapper/{group}-{name}"
    return Built(layer, node, dm.device(node), f"{group}-{name}")


def volume_name(layer: str) -> str:
    """The name of a layer's volume: device-mapper doubles each '-'."""
    return layer.replace("-", "_")


def misnamed(name: str, before: Sequence[str]) -> list[str]:
    """What is wrong with the name of a layer, beside layers of these names: LVM keeps it, or it is one of theirs."""
    volume = volume_name(name)
    refused = [word for word in _BEGINS if volume.startswith(word)] + [word for word in _HOLDS if word in volume]
    same = [other for other in before if volume_name(other) == volume]
    faults = [f"LVM keeps names with {word!r} for itself; give the volume another" for word in refused[:1]]
    return faults + [f"{name} and {other} are one name to LVM, {volume}" for other in same[:1]]


def _groups(machine: Machine) -> dict[str, str]:
    """Node of each physical volume → its volume group."""
    return {
        node: built.volume.partition("-")[0] for built in machine.built("lvm") for node in machine.nodes(built.layer.of)
    }


def _configured(folder: str, locks: str, devices: str) -> dict[str, str]:
    """Write LVM's configuration into ``folder``; the variables with which lvm uses it. Raises OSError.

    Args:
        locks: folder whose ``lock`` holds its locks.
        devices: LVM's filter of devices (lvm.conf(5)).
    """
    os.makedirs(folder, exist_ok=True)
    os.makedirs(f"{locks}/lock", exist_ok=True)
    with open(f"{folder}/lvm.conf", "w", encoding="utf-8") as conf:
        conf.write(LVM_CONF.format(filter=devices, folder=locks))
    return {"LVM_SYSTEM_DIR": folder, "LVM_SUPPRESS_FD_WARNINGS": "1"}


def environment(folder: str) -> dict[str, str]:
    """Variables with which a recipe's own program uses LVM and device-mapper in a VM without udev. Raises OSError.

    Without them each lvcreate, lvconvert or dmsetup waits for ever for a udev that confirms its nodes (udev_sync). All
    disks are the program's to use; ``folder`` is that of the agent's own volumes, whose locks it shares.
    """
    variables = _configured(f"{folder}/lvm/steps", f"{folder}/lvm", '"a|.*|"')
    return {**variables, "DM_DISABLE_UDEV": "1"}  # libdevmapper makes the nodes itself (libdm/libdm-common.c)


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


def _status(built: Built) -> tuple[str, str]:
    try:
        line = dm.status(built.volume)
    except OSError as error:
        return "", f"no status: {error}"
    return health(line), line


def _complete(ratio: str) -> bool:
    done, _, all_of_it = ratio.partition("/")
    return done == all_of_it


KIND = Kind(
    "lvm",
    build,
    takes=frozenset({"of", "size", "log", "options"}),
    needs=("of", "size"),
    whole=True,
    health=_status,
    misnamed=misnamed,
    environment=environment,
)
