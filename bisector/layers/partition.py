# SPDX-License-Identifier: GPL-2.0-only
"""Partitions of a disk, each a layer: written into its table here, and added in the kernel (BLKPG).

No tool is needed, and none of the disk's other partitions has to be closed for a look at the whole table.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Mapping, Sequence

from .machine import BuiltLayer, Layer, Machine, StorageError, read_text
from .option import Number
from .row import Kind, Row

MIB = 1 << 20
SECTOR = 512
BLKPG = 0x1269  # include/uapi/linux/blkpg.h
BLKPG_ADD_PARTITION = 1
LINUX = 0x83
LINUX_DATA = "0fc63daf-8483-4772-8e79-3d69d8477de4"
ENTRIES = 128  # of a GPT, 128 bytes each (UEFI specification, 5.3)

_START: Mapping[str, Number] = {"start": Number(34, 1 << 40)}

ROWS = (
    Row("partition", "dos", on=("disk", "md"), words=_START, capacity=lambda legs: min(legs) - MIB),
    Row("partition", "gpt", on=("disk", "md"), words=_START, capacity=lambda legs: min(legs) - 2 * MIB),
)


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Add a partition behind those of the disk that are there already. Raises StorageError."""
    return _place(machine, layer, written=False)


def again(machine: Machine, layer: Layer) -> BuiltLayer:
    """Find a partition that the disk's table has already. Raises StorageError."""
    return _place(machine, layer, written=True)


def _place(machine: Machine, layer: Layer, *, written: bool) -> BuiltLayer:
    disk = machine.nodes(layer.of)[0]
    device = os.path.basename(disk)
    others = [built for built in machine.built("partition") if built.layer.of == layer.of]
    parts = [tuple(map(int, built.volume.split("+"))) for built in others]
    start = int(dict(layer.options).get("start", 0)) or max([begin + count for begin, count in parts], default=0)
    start = start if "start" in dict(layer.options) else max(-(-start * SECTOR // MIB), 1) * MIB // SECTOR
    count = layer.size // SECTOR
    number = len(parts) + 1
    if layer.type == "dos" and number > 4:
        raise StorageError(f"{layer.name}: a dos table has four partitions", stage="plan")
    node = f"{disk}{'p' if disk[-1].isdigit() else ''}{number}"
    found = os.path.exists(f"/sys/class/block/{os.path.basename(node)}")  # by the kernel, which has read the table
    try:
        with open(disk, "r+b") as file:
            block = int(read_text(f"/sys/block/{device}/queue/logical_block_size") or SECTOR)
            lines = table(layer.type, [*parts, (start, count)], file.seek(0, os.SEEK_END), block)
            for at, data in () if written else lines:
                file.seek(at)
                file.write(data)
            file.flush()
            if not (written and found):
                _add(file.fileno(), number, start, count)
    except OSError as error:
        hint = "; a loop device has no partitions" if device.startswith("loop") else ""
        raise StorageError(f"{layer.name}: a partition of {disk}: {error}{hint}") from None
    return BuiltLayer(layer, node, device, f"{start}+{count}")


def _add(disk: int, number: int, start: int, count: int) -> None:
    """struct blkpg_partition and blkpg_ioctl_arg. Raises OSError."""
    import ctypes  # here: every start of the agent would pay for it

    partition = ctypes.create_string_buffer(
        struct.pack("=qqi64s64s4x", start * SECTOR, count * SECTOR, number, b"", b"")
    )
    argument = struct.pack("iii4xP", BLKPG_ADD_PARTITION, 0, len(partition) - 1, ctypes.addressof(partition))
    fcntl.ioctl(disk, BLKPG, argument)


def table(type_: str, parts: Sequence[tuple[int, ...]], size: int, block: int = SECTOR) -> list[tuple[int, bytes]]:
    """What is written to a disk, and where.

    Args:
        type_: ``dos`` or ``gpt``.
        parts: start and length of each partition, in sectors of 512 bytes.
        size: of the disk, in bytes.
        block: its logical block, in which both tables count.
    """
    blocks = [(start * SECTOR // block, count * SECTOR // block) for start, count in parts]
    if type_ == "dos":
        return [(0, _mbr([(LINUX, *part) for part in blocks]))]
    last = size // block - 1
    entries = b"".join(_entry(number, start, count) for number, (start, count) in enumerate(blocks))
    entries = entries.ljust(ENTRIES * 128, b"\0")
    length = -(-len(entries) // block)
    return [
        (0, _mbr([(0xEE, 1, min(last, 0xFFFFFFFF))])),
        (block, _header(entries, 1, last, 2, length)),
        (2 * block, entries),
        ((last - length) * block, entries),
        (last * block, _header(entries, last, 1, last - length, length, last)),
    ]


def _mbr(parts: Sequence[tuple[int, int, int]]) -> bytes:
    """A master boot record with up to four partitions: type, start, length."""
    entries = b"".join(
        struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", *part) for kind, *part in parts
    )
    return bytes(446) + entries.ljust(64, b"\0")[:64] + b"\x55\xaa"


def _entry(number: int, start: int, count: int) -> bytes:
    own = f"{LINUX_DATA[:-2]}{number + 1:02x}"
    return struct.pack("<16s16sQQQ72s", _guid(LINUX_DATA), _guid(own), start, start + count - 1, 0, b"")


def _guid(text: str) -> bytes:
    """As a GPT has one: its first three parts begin with the least byte."""
    parts = [bytes.fromhex(part) for part in text.split("-")]
    return b"".join((*(part[::-1] for part in parts[:3]), *parts[3:]))


def _header(entries: bytes, own: int, other: int, at: int, length: int, last: int = 0) -> bytes:
    last = last or other
    disk = _guid(f"{LINUX_DATA[:-2]}00")

    def packed(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, own, other, 2 + length, last - length - 1,
            disk, at, ENTRIES, 128, zlib.crc32(entries),
        )  # fmt: skip

    return packed(zlib.crc32(packed(0)))


KIND = Kind(
    "partition",
    build,
    again=again,
    takes=frozenset({"of", "size"}),
    needs=("of", "size"),
    whole=True,
    together=True,
    single=True,
    smallest=MIB,
)
