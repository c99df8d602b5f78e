# SPDX-License-Identifier: GPL-2.0-only
"""Damage to the metadata of an XFS file system, as its kernel reports it: error 117 or error 74.

What is damaged is the header of the first allocation group's inodes (AGI): each mount reads it, to see how much space
the free inode btree may need. It holds 64 heads of lists of unlinked inodes, all ones for none. One bit of the first
is cleared, which makes it the number of an inode that is not there: the report of 2013 has "Invalid inode number
0xfeffffffffffffff", the same bit of the same mark in another structure.

With the checksum recomputed the kernel sees a field that cannot be (EFSCORRUPTED, 117), as if a wrong value had been
written; with the checksum as it was, a bit that fell over on its way (EFSBADCRC, 74).

The layout is that of fs/xfs/libxfs/xfs_format.h, struct xfs_dsb and struct xfs_agi, version 5; numbers are big-endian,
the checksum (crc32c) little-endian.
"""

from __future__ import annotations

from collections.abc import Callable

from .blocks import BLOCK
from .command import Halt
from .raw import read_block, write_block

CLASSES = ("xfs-metadata", "xfs-flip")
SB_MAGIC = b"XFSB"
AGI_MAGIC = b"XAGI"
AGI_SECTOR = 2  # the third of each group
UNLINKED, CRC = 40, 312  # offsets in struct xfs_agi
NONE = 0xFFFFFFFF  # NULLAGINO
BIT = 24
CRC32C = 0x82F63B78  # Castagnoli, reversed


def crc32c(data: bytes) -> int:
    """CRC-32C of ``data`` (RFC 3720, appendix B.4); bit by bit, since it is of one sector."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC32C if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def damage(path: str, shift: int, kind: str, put: Callable[[str, int, bytes], None] = write_block) -> str:
    """Damage the XFS that begins ``shift`` bytes into ``path``, by ``put``; what was done, for people.

    Raises Halt(step) when there is no XFS (version 5) that is whole, and OSError.
    """
    size, inode_bits, groups = _geometry(read_block(path, shift), path)
    place = shift + AGI_SECTOR * size
    start = place // BLOCK * BLOCK
    block = bytearray(read_block(path, start))
    agi = slice(place - start, place - start + size)
    block[agi] = damaged(bytes(block[agi]), inode_bits, groups, recompute=kind == "xfs-metadata")
    put(path, start, bytes(block))
    how = "its checksum recomputed" if kind == "xfs-metadata" else "its checksum as it was"
    return f"{kind}: bit {BIT} of agi_unlinked[0] of group 0 cleared at {place + UNLINKED} of {path}, {how}"


def damaged(agi: bytes, inode_bits: int, groups: int, *, recompute: bool) -> bytes:
    """The AGI with one bit cleared. ``inode_bits``: of an inode's number within its group; ``groups``: how many.

    Raises Halt(step) when it is not whole, or the damage would be no damage.
    """
    if agi[:4] != AGI_MAGIC or _seal(agi) != agi[CRC : CRC + 4]:
        raise Halt("step", "the first AGI of the XFS is not whole")
    head = int.from_bytes(agi[UNLINKED : UNLINKED + 4], "big")
    number = head & ~(1 << BIT)
    if head != NONE or number >> inode_bits < groups:
        raise Halt("step", f"the XFS cannot be damaged at agi_unlinked[0]: {number:#x} may be an inode of it")
    bad = agi[:UNLINKED] + number.to_bytes(4, "big") + agi[UNLINKED + 4 :]
    return bad[:CRC] + _seal(bad) + bad[CRC + 4 :] if recompute else bad


def _seal(agi: bytes) -> bytes:
    return crc32c(agi[:CRC] + bytes(4) + agi[CRC + 4 :]).to_bytes(4, "little")


def _geometry(block: bytes, path: str) -> tuple[int, int, int]:
    """Bytes of a sector, bits of an inode's number within its group, number of groups; from the superblock."""
    version = int.from_bytes(block[100:102], "big") & 0xF
    if block[:4] != SB_MAGIC or version != 5:
        raise Halt("step", f"{path}: no XFS (version 5) begins there")
    return int.from_bytes(block[102:104], "big"), block[124] + block[123], int.from_bytes(block[88:92], "big")
