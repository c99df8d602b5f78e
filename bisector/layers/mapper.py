# SPDX-License-Identifier: GPL-2.0-only
"""dm: one target of device-mapper over other layers, made by dmsetup. A type is an entry of ``_TARGETS``.

In a table ``{leg}`` stands for the node of the first member, ``{leg0}``, ``{leg1}`` ... and the members' names for each
of them, ``{legs}`` for all with the offset 0 behind each, ``{count}`` for their number, ``{sectors}`` for how much is
mapped (512 bytes each), and any other name for the word of the layer that is called so.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from . import dm
from .machine import BuiltLayer, Layer, Machine, StorageError
from .option import Lines, Number, Option, Power, Time, Word
from .row import Kind, Program, Row

SECTOR = 512
KEY = 64  # bytes of a key for dm-crypt at most

_PROGRAMS = (Program("dmsetup", "dmsetup", "makes device-mapper devices"),)
_NO_UDEV = {"DM_DISABLE_UDEV": "1"}
Given = Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """How a type of dm is made.

    Args:
        type: as a recipe names it.
        table: the line of its table; "": the layer's own ``table``.
        words: of the layer, and what each may be.
        usual: values of words that are left out, as a plan carries them.
        derived: names of the table that follow from the words, or stand in their place.
        messages: what is sent to the target when it stands.
        sectors: how many it maps, from those of its members and the words.
        before: what is done to the first member before, and how many sectors that left to map.
        required, least, modules: of the row; ``fragment``: "" for dm-TYPE.
    """

    type: str
    table: str = ""
    words: Mapping[str, Option] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)
    derived: Callable[[Given], Mapping[str, str]] = lambda given: {}
    messages: Callable[[Given], Sequence[str]] = lambda given: ()
    sectors: Callable[[Sequence[int], Given], int] = lambda legs, given: min(legs)
    before: Callable[[Machine, str, Given], int] | None = None
    required: Mapping[str, str] = field(default_factory=dict)
    least: int = 1
    modules: tuple[str, ...] = ()
    fragment: str = ""

    def row(self) -> Row:
        """Its row in the table of all storage."""
        return Row(
            "dm", self.type, self.least, capacity=max if self.least == 1 else sum, words=self.words,
            required=self.required, modules=("dm_mod", *self.modules), programs=_PROGRAMS,
            fragments=(self.fragment or f"dm-{self.type}",),
        )  # fmt: skip


def _of_crypt(given: Given) -> Mapping[str, str]:
    """A key of the length that the cipher takes: XTS wants two of AES-256."""
    return {"key": bytes(range(1, (KEY if "-xts-" in given["cipher"] else KEY // 2) + 1)).hex()}


def _of_flakey(given: Given) -> Mapping[str, str]:
    flags = given.get("flags", "").split()
    seconds = {word: str(int(given[word]) // 1000) for word in ("up", "down")}
    return {**seconds, "flags": " ".join([str(len(flags)), *flags]) if flags else ""}


def _in_sectors(given: Given) -> Mapping[str, str]:
    return {"chunk": str(int(given["chunk"]) // SECTOR)}


def _striped(legs: Sequence[int], given: Given) -> int:
    chunk = int(given["chunk"]) // SECTOR
    return min(legs) // chunk * chunk * len(legs)


def _unstriped(legs: Sequence[int], given: Given) -> int:
    chunk = int(given["chunk"]) // SECTOR
    return min(legs) // (chunk * int(given["members"])) * chunk


def _of_crypt_sectors(legs: Sequence[int], given: Given) -> int:
    block = int(given["sector_size"]) // SECTOR
    return min(legs) // block * block


def _format_integrity(machine: Machine, leg: str, given: Given) -> int:
    """Over zeros a target of 8 sectors writes the superblock, which says how many there are to map (dm-integrity.rst).

    Raises StorageError.
    """
    table = f"0 8 integrity {leg} 0 4 {given['mode']} 2 internal_hash:crc32c block_size:{given['block_size']}"
    machine.run(["dmsetup", "create", "bisector-format", "--table", table], _NO_UDEV)
    machine.run(["dmsetup", "remove", "bisector-format"], _NO_UDEV)
    return _integrity_sectors(leg)


def _integrity_sectors(leg: str) -> int:
    """How many sectors the superblock says there are to map. Raises StorageError, OSError."""
    with open(leg, "rb") as device:
        head = device.read(24)
    if head[:7] != b"integrt":  # struct superblock, drivers/md/dm-integrity.c
        raise StorageError(f"{leg}: dm-integrity wrote no superblock")
    return int(struct.unpack_from("<Q", head, 16)[0])


_CHUNK: Mapping[str, Option] = {"chunk": Power(4 << 10, 1 << 30)}
_USUAL_CHUNK = {"chunk": str(64 << 10)}

# Documentation/admin-guide/device-mapper/ has a page for each.
_TARGETS = (
    Target("linear", "0 {sectors} linear {leg} 0", fragment="dm"),
    Target(
        "striped", "0 {sectors} striped {count} {chunk} {legs}", _CHUNK, _USUAL_CHUNK, _in_sectors, sectors=_striped,
        least=2, fragment="dm",
    ),
    Target(
        "unstriped", "0 {sectors} unstriped {members} {chunk} {member} {leg} 0",
        {**_CHUNK, "members": Number(2, 64), "member": Number(0, 63)}, {**_USUAL_CHUNK, "member": "0"}, _in_sectors,
        sectors=_unstriped, required={"members": "2"}, modules=("dm_unstripe",),
    ),
    Target(
        "crypt", "0 {sectors} crypt {cipher} {key} 0 {leg} 0 1 sector_size:{sector_size}",
        {
            "cipher": Word(("aes-xts-plain64", "aes-cbc-plain64", "aes-cbc-essiv:sha256")),
            "sector_size": Power(512, 4096),
        },
        {"cipher": "aes-xts-plain64", "sector_size": "512"}, _of_crypt, sectors=_of_crypt_sectors,
        modules=("dm_crypt", "xts", "cbc", "essiv", "aes_generic", "aesni_intel", "sha256", "sha256_generic"),
    ),
    Target(
        "integrity", "0 {sectors} integrity {leg} 0 4 {mode} 2 internal_hash:crc32c block_size:{block_size}",
        {"mode": Word(("J", "B", "D")), "block_size": Power(512, 4096)}, {"mode": "J", "block_size": "512"},
        before=_format_integrity, modules=("dm_integrity", "crc32c_generic", "crc32c_cryptoapi"),
    ),
    Target(
        "flakey", "0 {sectors} flakey {leg} 0 {up} {down} {flags}",
        {
            "up": Time(0, 3_600_000), "down": Time(0, 3_600_000),
            "flags": Lines(r"[a-z_0-9 ]{1,80}", "words of dm-flakey, such as drop_writes or error_reads"),
        },
        {"up": "60000", "down": "0"}, _of_flakey, modules=("dm_flakey",),
    ),
    Target(
        "delay", "0 {sectors} delay {leg} 0 {read} {leg} 0 {write}",
        {"read": Time(0, 60_000), "write": Time(0, 60_000)}, {"read": "0", "write": "0"}, modules=("dm_delay",),
    ),
    Target(
        "dust", "0 {sectors} dust {leg} 0 {block_size}",
        {"bad": Lines(r"[0-9]{1,15}", "a block, or a list of them"), "block_size": Power(512, 1 << 30)},
        {"block_size": "512"}, modules=("dm_dust",),
        messages=lambda given: [*(f"addbadblock {block}" for block in given.get("bad", "").split()), "enable"],
    ),
)  # fmt: skip

_MODULES = tuple(dict.fromkeys(name for target in _TARGETS for name in target.modules))
_OWN = Target(
    "table", words={"table": Lines(r"[0-9{][!-~ ]{0,300}", "lines of a table, as in '0 {sectors} linear {leg} 0'")},
    required={"table": "'0 {sectors} linear {leg} 0'"}, modules=_MODULES,
)  # fmt: skip
_BY_TYPE = {target.type: target for target in (*_TARGETS, _OWN)}
_ROWS = tuple(target.row() for target in _TARGETS)
_FRAGMENTS = tuple(dict.fromkeys(name for row in _ROWS for name in row.fragments))
"""What a table of one's own may name: any of the targets."""

ROWS = (
    *_ROWS,
    Row(
        "dm", "table", capacity=sum, words=_OWN.words, required=_OWN.required, fragments=_FRAGMENTS,
        modules=("dm_mod", *_OWN.modules), programs=_PROGRAMS,
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Make the device. Raises StorageError, OSError."""
    target = _BY_TYPE[layer.type]
    return _make(machine, layer, target.before)


def again(machine: Machine, layer: Layer) -> BuiltLayer:
    """Make the device over what its members hold already. Raises StorageError, OSError."""
    before = _BY_TYPE[layer.type].before
    return _make(machine, layer, (lambda machine, leg, given: _integrity_sectors(leg)) if before else None)


def _make(machine: Machine, layer: Layer, before: Callable[[Machine, str, Given], int] | None) -> BuiltLayer:
    target = _BY_TYPE[layer.type]
    legs = machine.nodes(layer.of)
    given = {**target.usual, **dict(layer.options)}
    try:
        sectors = before(machine, legs[0], given) if before else 0
        sectors = sectors or target.sectors([size(leg) // SECTOR for leg in legs], given)
        lines = table(layer, legs, sectors)
        file = f"{machine.folder}/{layer.name}.table"
        with open(file, "w", encoding="utf-8") as out:
            out.write(lines)
    except OSError as error:
        raise StorageError(f"{layer.name}: {error}") from None
    machine.run(["dmsetup", "create", layer.name, file], _NO_UDEV)
    for message in target.messages(given):
        machine.run(["dmsetup", "message", layer.name, "0", *message.split()], _NO_UDEV)
    node = f"/dev/mapper/{layer.name}"
    return BuiltLayer(layer, node, dm.device(node), layer.name)


def size(node: str) -> int:
    """Bytes of a block device or a file. Raises OSError."""
    descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def table(layer: Layer, legs: Sequence[str], sectors: int) -> str:
    """The table of a layer over members with these nodes. Raises StorageError for a name that stands for nothing."""
    target = _BY_TYPE[layer.type]
    given = {**target.usual, **dict(layer.options)}
    names = {**given, **target.derived(given), "sectors": str(sectors), "count": str(len(legs)), "leg": legs[0]}
    names |= {f"leg{number}": leg for number, leg in enumerate(legs)} | dict(zip(layer.of, legs, strict=True))
    names["legs"] = " ".join(f"{leg} 0" for leg in legs)

    def put(found: re.Match[str]) -> str:
        if found[1] not in names:
            raise StorageError(f"{layer.name}: nothing is called {found[0]} in its table", stage="plan")
        return names[found[1]]

    return re.sub(r"\{([A-Za-z0-9_-]+)\}", put, target.table or given["table"]) + "\n"


def _status(built: BuiltLayer) -> tuple[str, str]:
    """It has no redundancy to lose; the line says what it is."""
    try:
        return "none", dm.status(built.volume)
    except OSError as error:
        return "", f"no status: {error}"


def _misnamed(name: str, before: Sequence[str]) -> list[str]:
    return ["/dev/mapper/control is there already; give the layer another name"] if name == "control" else []


KIND = Kind(
    "dm",
    build,
    takes=frozenset({"of"}),
    needs=("of",),
    whole=True,
    health=_status,
    again=again,
    leave=lambda machine, built: machine.run(["dmsetup", "remove", built.volume], _NO_UDEV),
    misnamed=_misnamed,
)
