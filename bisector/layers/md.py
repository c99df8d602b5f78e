# SPDX-License-Identifier: GPL-2.0-only
"""md: an array of the kernel's own RAID, made by mdadm."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Mapping, Sequence

from .machine import BuiltLayer, Layer, Machine, read_text
from .option import Layers, Number, Option, Power, Word
from .row import GuestCommands, Kind, Program, Row

RESYNC_SPEED = "2000000"  # KiB/s; the kernel's default would hold a resync back for other I/O

_PROGRAMS = (Program("mdadm", "mdadm", "builds md layers", version="--version"),)
_NO_UDEV = {"MDADM_NO_UDEV": "1"}

# drivers/md/Makefile: levels 4, 5 and 6 are one module, raid456, which dm-raid brings along (drivers/md/Kconfig:
# DM_RAID selects MD_RAID456); mdadm(8), --raid-devices: the least members
_CHUNK = Power(4 << 10, 64 << 20)
_BITMAP = Word(("none", "internal"))
WITHOUT_BITMAP = ("linear", "raid0")
"""mdadm refuses the word for them, be it none (mdadm 4.2)."""
_MEMBERS = ("write_mostly", "spare", "journal")
"""Words that name layers."""

_REDUNDANT: Mapping[str, Option] = {
    "bitmap": _BITMAP,
    "spare": Layers(many=True),
    "write_mostly": Layers(many=True, members=True),
    "missing": Number(1, 8),
}
_PARITY = {**_REDUNDANT, "chunk": _CHUNK, "journal": Layers()}

ROWS = (
    Row("md", "linear", capacity=sum, fragments=("md-linear",), modules=("linear",), programs=_PROGRAMS),
    Row(
        "md", "raid0", 2, capacity=sum, share=lambda size, members: size // members, fragments=("lvm-raid",),
        modules=("raid0",), programs=_PROGRAMS, words={"chunk": _CHUNK},
    ),
    Row(
        "md", "raid1", 2, fragments=("lvm-raid",), modules=("raid1",), programs=_PROGRAMS, redundant=True, copies=True,
        words=_REDUNDANT,
    ),
    Row(
        "md", "raid5", 3, capacity=lambda members: min(members) * (len(members) - 1),
        share=lambda size, members: size // (members - 1), fragments=("lvm-raid",), modules=("raid456",),
        programs=_PROGRAMS, redundant=True, words=_PARITY,
    ),
    Row(
        "md", "raid6", 4, capacity=lambda members: min(members) * (len(members) - 2),
        share=lambda size, members: size // (members - 2), fragments=("lvm-raid",), modules=("raid456",),
        programs=_PROGRAMS, redundant=True, words=_PARITY,
    ),
    Row(
        "md", "raid10", 4, capacity=lambda members: min(members) * len(members) // 2,
        share=lambda size, members: size * 2 // members, fragments=("lvm-raid",), modules=("raid10",),
        programs=_PROGRAMS, redundant=True, words={**_REDUNDANT, "chunk": _CHUNK},
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Make an array over the members; its first sync goes on when this is over."""
    members = machine.nodes(layer.of)
    _hurry_resync()
    device = f"md{len(machine.built('md'))}"
    row = next(row for row in ROWS if row.type == layer.type)
    given = dict(layer.options)
    share = row.share(layer.size, len(members) + row.absent(given)) if layer.size else 0
    named = {word: machine.nodes(given[word].split(",")) for word in _MEMBERS if word in given}
    machine.run(create(f"/dev/{device}", layer.type, members, share=share, given=given, named=named), _NO_UDEV)
    if spares := named.get("spare"):  # behind --write-mostly a spare would be so too, and the kernel then fails it
        machine.run(["mdadm", f"/dev/{device}", "--add", *spares], _NO_UDEV)
    return BuiltLayer(layer, f"/dev/{device}", device, device, degraded=row.absent(given) > 0)


def again(machine: Machine, layer: Layer) -> BuiltLayer:
    """Assemble the array; what a udev of the VM's has made of its members before is taken apart first."""
    named = dict(layer.options)
    members = [*layer.of, *(name for word in ("spare", "journal") for name in named.get(word, "").split(",") if name)]
    _hurry_resync()
    number = len(machine.built("md"))
    if not number:
        for device in arrays():
            machine.run(["mdadm", "--stop", f"/dev/{device}"], _NO_UDEV)
    device = f"md{number}"
    machine.run(assemble(f"/dev/{device}", machine.nodes(members)), _NO_UDEV)
    row = next(row for row in ROWS if row.type == layer.type)
    return BuiltLayer(layer, f"/dev/{device}", device, device, degraded=row.absent(named) > 0)


def arrays() -> list[str]:
    """The names of all arrays that the kernel has."""
    return sorted(device for device in os.listdir("/sys/block") if os.path.isdir(f"/sys/block/{device}/md"))


def leave(machine: Machine, built: BuiltLayer) -> None:
    """Stop the array."""
    machine.run(["mdadm", "--stop", built.node], _NO_UDEV)


def _hurry_resync() -> None:
    for name in ("min", "max"):
        # Where md is not loaded yet its default stays: slower, and as good.
        with (
            contextlib.suppress(OSError),
            open(f"/proc/sys/dev/raid/speed_limit_{name}", "w", encoding="utf-8") as knob,
        ):
            knob.write(RESYNC_SPEED)


def create(
    device: str,
    type_: str,
    members: Sequence[str],
    *,
    share: int = 0,
    clean: bool = False,
    given: Mapping[str, str] | None = None,
    named: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """The command that makes an array.

    Args:
        device: its node.
        members: their nodes.
        share: bytes of each member that it uses; 0: all there is.
        clean: whether the members are in sync as they are (all zero: so is the parity of zeros).
        given: the words of the layer, as a plan carries them.
        named: nodes of the layers that its words name.
    """
    given, named = given or {}, named or {}
    absent, journal = int(given.get("missing", 0)), named.get("journal", ())
    argv = ["mdadm", "--create", device, "--run", *(["--assume-clean"] if clean else [])]
    argv += ["--level", type_.removeprefix("raid"), "--raid-devices", str(len(members) + absent), "--metadata", "1.2"]
    if type_ == "raid5" and not absent:
        argv.append("--force")  # else it begins degraded, with a spare to recover to (mdadm(8), --force)
    if not journal and type_ not in WITHOUT_BITMAP:  # a journal stands for a bitmap
        argv += ["--bitmap", given.get("bitmap", "none")]
    argv += ["--chunk", f"{int(given['chunk']) // 1024}"] if "chunk" in given else []
    argv += ["--size", str(share // 1024)] if share else []
    argv += ["--write-journal", *journal] if journal else []
    slow = [node for node in named.get("write_mostly", ()) if node in members]
    argv += [node for node in members if node not in slow]
    argv += ["--write-mostly", *slow] if slow else []
    return [*argv, *["missing"] * absent]


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


def _status(built: BuiltLayer) -> tuple[str, str]:
    names = ("degraded", "array_state", "resync_start", "sync_action")
    if not next(row for row in ROWS if row.type == built.layer.type).redundant:
        state = read_text(f"/sys/block/{built.volume}/md/array_state")
        lost = state in ("", "clear", "inactive", "broken")  # broken: a member is gone (md.rst)
        return "degraded" if lost else "none", f"array_state={state}"
    values = [read_text(f"/sys/block/{built.volume}/md/{name}") for name in names]
    return health(*values), " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def _create_inside(layer: Layer, device: str, members: Sequence[str]) -> list[str]:
    """Members are all zero, and so in sync as they are."""
    given = dict(layer.options)
    nodes = dict(zip(layer.of, members, strict=True))
    named = {"write_mostly": [nodes[name] for name in given.get("write_mostly", "").split(",") if name in nodes]}
    clean = next(row for row in ROWS if row.type == layer.type).redundant
    return [" ".join(create(device, layer.type, members, clean=clean, given=given, named=named))]


def _offset(device: str, member: str) -> str:
    """Documentation/admin-guide/md.rst: the array's data begins at an offset on each member."""
    return f"cat /sys/block/{posixpath.basename(device)}/md/dev-{posixpath.basename(member)}/offset"


def change(array: str, action: str, member: str) -> list[list[str]]:
    """mdadm(8), MANAGE MODE; after ``add`` wait until the recovery is over."""
    act = ["mdadm", "--manage", array, f"--{action}", member]
    return [act, ["mdadm", "--wait", array]] if action == "add" else [act]


KIND = Kind(
    "md",
    build,
    takes=frozenset({"of"}),
    needs=("of",),
    whole=True,
    health=_status,
    again=again,
    leave=leave,
    change=change,
    environment=lambda folder: dict(_NO_UDEV),
    inside=GuestCommands(
        create=_create_inside,
        assemble=lambda layer, device, members: [" ".join(assemble(device, members))],
        leave=lambda devices: "mdadm --stop " + " ".join(devices),
        node=lambda number, name: f"/dev/md{number}",
        offset=_offset,
    ),
)
