# SPDX-License-Identifier: GPL-2.0-only
"""LVM: a logical volume over members that become one volume group."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from . import dm
from .machine import BuiltLayer, Layer, Machine, StorageError
from .option import Layers, Number, Option, Power, Switch, Word
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
global {{ thin_check_executable="" cache_check_executable=""
  use_lvmpolld=0 use_lvmlockd=0 locking_dir="{folder}/lock" system_id_source="none" notify_dbus=0 }}
"""


_BEGINS = ("snapshot", "pvmove")
_HOLDS = (
    "_cdata", "_cmeta", "_corig", "_imag", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta",
    "_vdata", "_vorigin", "_wcorig",
)  # fmt: skip
"""lvm(8), VALID NAMES: what a volume's name may not begin with, or hold."""


def _half(members: Sequence[int]) -> int:
    return min(members) * len(members) // 2


def _without(parity: int) -> Callable[[Sequence[int]], int]:
    return lambda members: min(members) * (len(members) - parity)


_INTEGRITY = (("dm-integrity",), ("dm_integrity", "crc32c_generic", "crc32c_cryptoapi"))
"""Fragments and modules."""


def _row(
    type_: str, least: int = 1, *, modules: tuple[str, ...] = (), words: Mapping[str, Option] | None = None,
    fragments: tuple[str, ...] = ("lvm-raid",), even: bool = False, redundant: bool = False, copies: bool = False,
    capacity: Callable[[Sequence[int]], int] = min, options: Mapping[str, Option] | None = None,
    required: Mapping[str, str] | None = None, on: tuple[str, ...] = (),
) -> Row:  # fmt: skip
    integrity = {"integrity": Switch()} if redundant and type_ != "mirror" else {}
    return Row(
        "lvm", type_, least, even=even, capacity=capacity, options=options or {}, fragments=fragments,
        modules=("dm_mod", *modules), programs=_PROGRAMS, redundant=redundant, copies=copies,
        refuses={} if type_ == "mirror" else {"log": f"only lvm mirror has a log, {type_} has none"},
        words={**(words or {}), **integrity}, required=required or {}, on=on, shared=bool(on),
        by_word={"integrity": _INTEGRITY} if integrity else {},
    )  # fmt: skip


_CHUNK: Mapping[str, Option] = {"chunk": Power(4 << 10, 64 << 20)}
_SPACE = Number(1 << 20, 1 << 40, sized=True, multiple=512)
_FAST: Mapping[str, Option] = {"fast": Layers()}
_SMALLEST_STRIPES = {"region_size": Power(64 << 10, 1 << 30)}
"""drivers/md/dm-raid.c, validate_region_size: no smaller than the stripes, which lvcreate makes 64k."""

# the kernel asks for a target by its name, dm-NAME, and for a level of md by its alias; both end at these files
ROWS = (
    _row("linear", capacity=sum),
    _row("striped", 2, words=_CHUNK, capacity=_without(0)),
    _row("raid0", 2, words=_CHUNK, capacity=_without(0), modules=("dm_raid", "raid0")),
    _row("raid1", 2, options={"region_size": _REGION}, modules=("dm_raid", "raid1"), redundant=True, copies=True),
    _row(
        "mirror", 2, options={"region_size": _REGION}, modules=("dm_mirror", "dm_log"), redundant=True, copies=True,
    ),
    _row(
        "raid5", 3, words=_CHUNK, options=_SMALLEST_STRIPES, capacity=_without(1), modules=("dm_raid", "raid456"),
        redundant=True,
    ),
    _row(
        "raid6", 5, words=_CHUNK, options=_SMALLEST_STRIPES, capacity=_without(2), modules=("dm_raid", "raid456"),
        redundant=True,
    ),
    _row(
        "raid10", 4, even=True, capacity=_half, options=_SMALLEST_STRIPES, modules=("dm_raid", "raid10"),
        redundant=True,
    ),
    _row(
        "thin", capacity=lambda members: 1 << 40, words={"pool": _SPACE, **_CHUNK}, fragments=("lvm-thin",),
        modules=("dm_thin_pool",),
    ),
    _row("snapshot", fragments=("lvm-thin",), modules=("dm_snapshot",), on=("lvm",), words=_CHUNK),
    _row(
        "cache", capacity=sum, fragments=("lvm-thin",), modules=("dm_cache", "dm_cache_smq"), required={"fast": "ssd"},
        words={**_FAST, "mode": Word(("writethrough", "writeback", "passthrough"))},
    ),
    _row(
        "writecache", capacity=sum, fragments=("lvm-thin",), modules=("dm_writecache",), required={"fast": "ssd"},
        words=_FAST,
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Make a volume group over the members (or use theirs) and a volume in it. Raises StorageError, OSError."""
    given = dict(layer.options)
    name = volume_name(layer.name)
    groups = _groups(machine)
    if layer.type == "snapshot":
        group, _, origin = next(
            built.volume for built in machine.built("lvm") if built.layer.name in layer.of
        ).partition("-")
        chunk = ["-c", f"{given['chunk']}b"] if "chunk" in given else []
        made = [["lvcreate", "-q", "-y", "-s", "-L", f"{layer.size}b", *chunk, "-n", name, f"{group}/{origin}"]]
    else:
        members, fast = machine.nodes(layer.of), machine.nodes([given["fast"]] if "fast" in given else [])
        group, made = _group(groups, [*members, *fast])
        made += _volume(layer, group, name, members, fast)
    variables = _filtered(machine, groups)
    for command in made:
        machine.run(["lvm", *command], variables)
    node = f"/dev/mapper/{group}-{name}"
    return BuiltLayer(layer, node, dm.device(node), f"{group}-{name}")


def _filtered(machine: Machine, groups: Mapping[str, str]) -> dict[str, str]:
    """The variables with which lvm sees the members of these groups alone. Raises OSError."""
    folder = f"{machine.folder}/lvm"
    accept = "".join(f'"a|^{node}$|",' for node in groups)
    return _configured(folder, folder, f'{accept}"r|.*|"')


def again(machine: Machine, layer: Layer) -> BuiltLayer:
    """Activate a volume that is there already. Raises StorageError, OSError."""
    groups = _groups(machine)
    if layer.type == "snapshot":
        below = next(built for built in machine.built("lvm") if built.layer.name in layer.of)
        group = below.volume.partition("-")[0]
    else:
        given = dict(layer.options)
        group, _ = _group(groups, machine.nodes([*layer.of, *([given["fast"]] if "fast" in given else [])]))
    name = volume_name(layer.name)
    machine.run(["lvm", "lvchange", "-q", "-y", "-ay", f"{group}/{name}"], _filtered(machine, groups))
    node = f"/dev/mapper/{group}-{name}"
    return BuiltLayer(layer, node, dm.device(node), f"{group}-{name}")


def leave(machine: Machine, built: BuiltLayer) -> None:
    """Deactivate it; a snapshot goes with the volume that it is of."""
    if built.layer.type != "snapshot":
        volume = built.volume.replace("-", "/", 1)
        machine.run(["lvm", "lvchange", "-q", "-y", "-an", volume], _filtered(machine, _groups(machine)))


def _group(groups: dict[str, str], members: Sequence[str]) -> tuple[str, list[list[str]]]:
    """The volume group of these members, and what makes it where there is none; ``groups`` then has it.

    Raises StorageError.
    """
    own = {groups.get(member, "") for member in members}
    if len(own) > 1:
        raise StorageError(
            f"the members {', '.join(members)} are not all in one volume group with the same members", stage="plan"
        )
    if group := own.pop():
        return group, []
    group = f"bisector{len(set(groups.values()))}"
    groups |= dict.fromkeys(members, group)
    return group, [["vgcreate", "-q", "-y", group, *members]]


def _volume(layer: Layer, group: str, name: str, members: Sequence[str], fast: Sequence[str]) -> list[list[str]]:
    """What makes a volume that is none of another's snapshot."""
    given = dict(layer.options)
    create = ["lvcreate", "-q", "-y"]
    if layer.type == "thin":
        pool = ["-L", f"{given['pool']}b"] if "pool" in given else ["-l", "90%FREE"]  # its metadata needs the rest
        chunk = ["-c", f"{given['chunk']}b"] if "chunk" in given else []
        return [
            [*create, "--type", "thin-pool", *pool, *chunk, "-n", f"{name}_pool", group, *members],
            [*create, "--type", "thin", "-V", f"{layer.size}b", "-n", name, "--thinpool", f"{name}_pool", group],
        ]
    if fast:
        mode = ["--cachemode", given["mode"]] if "mode" in given else []
        still = ["-an"] if layer.type == "writecache" else []  # attached only while it is inactive (lvmcache(7))
        convert = ["lvconvert", "-q", "-y", "--type", layer.type, "--cachevol", f"{name}_fast", *mode]
        return [
            [*create, *create_options("linear", layer.size, len(members), {}), "-n", name, group, *members],
            [*create, *create_options("linear", 0, 1, {}, "100%PVS"), *still, "-n", f"{name}_fast", group, *fast],
            [*convert, f"{group}/{name}"],
        ]
    return [[*create, *create_options(layer.type, layer.size, len(members), given), "-n", name, group, *members]]


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
    own = [built for built in machine.built("lvm") if built.layer.type != "snapshot"]
    below = {
        built.layer.name: (*built.layer.of, *filter(None, [dict(built.layer.options).get("fast")])) for built in own
    }
    return {node: built.volume.partition("-")[0] for built in own for node in machine.nodes(below[built.layer.name])}


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


def create_options(
    type_: str, size: int, members: int, options: Mapping[str, str], rest: str = "100%FREE"
) -> list[str]:
    """The options of lvcreate for a volume of ``size`` bytes (0: the ``rest``) over so many members.

    Members are fresh disks, so nothing is wiped (``-Wn``) and no signature in question; the sync is a real one.
    """
    space = ["-L", f"{size}b"] if size else ["-l", rest]
    given = ["--type", type_, *space, "-Wn", "-Zn"]
    if type_ in ("raid1", "mirror"):
        given += ["-m", str(members - 1)]
    elif type_ == "raid10":
        given += ["-m", "1", "-i", str(members // 2)]
    elif type_ in _PARITY:
        given += ["-i", str(members - _PARITY[type_])]
    given += ["-I", f"{options['chunk']}b"] if "chunk" in options else []
    given += ["--raidintegrity", "y"] if options.get("integrity") == "on" else []
    if type_ == "mirror":
        log = options.get("log", "core")
        given += ["--mirrorlog", log] + (["--alloc", "anywhere"] if log == "disk" else [])
    if "region_size" in options:
        given += ["-R", f"{options['region_size']}b"]
    return given


_PARITY = {"striped": 0, "raid0": 0, "raid5": 1, "raid6": 2}
"""Stripes are so many fewer than members."""


_PLAIN = ("linear", "striped", "thin", "snapshot", "snapshot-origin", "cache", "writecache")


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


def plain_health(status: str) -> str:
    """``none`` for a line of a target without redundancy; of a snapshot that has overflowed degraded; else ""."""
    words = status.split()[2:]
    if words == ["snapshot", "Invalid"]:
        return "degraded"
    return "none" if words and words[0] in _PLAIN else ""


def health(status: str) -> str:
    """Health from any device-mapper line; "" for targets whose line says nothing of it."""
    return raid_health(status) or mirror_health(status) or plain_health(status)


def _status(built: BuiltLayer) -> tuple[str, str]:
    try:
        line = dm.status(built.volume)
    except OSError as error:
        return "", f"no status: {error}"
    redundant = next(row for row in ROWS if row.type == built.layer.type).redundant
    found = health(line)
    return ("none" if found == "healthy" and not redundant else found), line


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
    again=again,
    leave=leave,
    misnamed=misnamed,
    environment=environment,
)
