# SPDX-License-Identifier: GPL-2.0-only
"""Self-describing 4 KiB blocks: how they are made, a mebibyte at a time, and what a sector says of itself. Pure.

A sector begins with four 64-bit words, little-endian:

    magic << 32 | file                  block << 3 | place of the sector in its block (block below 2**32)
    generation << 32 | crc of the rest  seal: a checksum of the other three words (16 bits of it for the mebibyte)

The other 480 bytes are one of two fillings, chosen by block and generation, in which no two sectors of a mebibyte are
alike. So each sector says where it belongs, from when it is, and whether it is whole; and what it must be is known
byte for byte, so that a good one costs one memcmp.

In an emulated VM a bytecode costs a microsecond: all sectors of a mebibyte are made in a few operations on large
numbers (one lane of 64 bits per sector) instead of a loop.
"""

from __future__ import annotations

import mmap
import zlib

SECTOR = 512
BLOCK = 4096
CHUNK = 1 << 20  # bytes that are made, written, read and compared at once
SECTORS = BLOCK // SECTOR
BLOCKS = CHUNK // BLOCK  # in a chunk
LANES = CHUNK // SECTOR
HEAD = 32
WORDS = SECTOR // 8
FILLINGS = 2
MAGIC = 0xB15EC705

Store = bytearray | mmap.mmap

_M63 = (1 << 63) - 1
# Odd multipliers of the seal (digits of pi and e). What is summed is below 2**63 in each lane, so that a sum of two
# never carries over into the next lane: 32 bits of a crc times 31, and 11 bits of a place times 50, fit as they are.
_K0, _K1, _K2, _K3 = 0x243F6A8885A308D3, 0x3198A2E037073, 0x2B7E151628AED2A7, 0x5F3759DF
_ONES = int.from_bytes(b"\1\0\0\0\0\0\0\0" * LANES, "little")
_MASK = _ONES * ((1 << 48) - 1)
_SECOND, _SEAL = 8, 24  # bytes of a sector at which its second word and its seal begin


class Sector:
    """What a whole sector says of itself: ``place`` is 0 to 7 within its block."""

    __slots__ = ("block", "file", "generation", "place")

    def __init__(self, file: int, block: int, place: int, generation: int) -> None:
        self.file = file
        self.block = block
        self.place = place
        self.generation = generation


def read_sector(data: bytes) -> Sector | None:
    """What the 512 bytes say of themselves; None when they are not ours, or not whole."""
    w0, w1, w2, w3 = (int.from_bytes(data[at : at + 8], "little") for at in (0, 8, 16, 24))
    if w0 >> 32 != MAGIC or w1 >> 35 or w3 != _seal(w0, w1, w2) or zlib.crc32(data[HEAD:]) != w2 & 0xFFFFFFFF:
        return None
    return Sector(w0 & 0xFFFFFFFF, w1 >> 3, w1 & 7, w2 >> 32)


def _seal(w0: int, w1: int, w2: int) -> int:
    place = w1 & (LANES - 1)
    same = (w0 * _K0 + (w2 >> 32) * _K2) & _M63
    return _mix(w1 >> 11) << 48 | (same + place * _K1 + (w2 & 0xFFFFFFFF) * _K3) & ((1 << 48) - 1)


def _mix(chunk: int) -> int:
    """16 bits of a chunk's number, each bit of it in them."""
    spread = chunk * 0x9E3779B1 & 0xFFFFFFFF
    return (spread ^ spread >> 16) & 0xFFFF


def fill(store: Store, number: int) -> int:
    """Fill a mebibyte so that no two sectors are alike, the place of the sectors' heads included.

    Returns the crc of each sector without its head, in lanes.
    """
    state = 0x9E3779B97F4A7C15 * (number + 1)
    words = []
    for _ in range(WORDS * SECTORS):  # one block from a plain generator (Knuth's MMIX constants) ...
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        words.append((state ^ state >> 29).to_bytes(8, "little"))
    block = b"".join(words)
    plain = int.from_bytes(bytes(range(256)), "little")
    ones = int.from_bytes(b"\1" * 256, "little")
    for place in range(BLOCKS):  # ... and each block of the chunk is it again, every byte XORed with the block's place
        table = (plain ^ ones * place).to_bytes(256, "little")
        store[place * BLOCK : (place + 1) * BLOCK] = block.translate(table)
    return _sums(block)


def _sums(block: bytes) -> int:
    """The crcs of all sectors that ``fill`` makes of a block, from few.

    Of three texts of one length, crc(a ^ b) is crc(a) ^ crc(b) ^ crc(zeros): what a place changes in a sector's crc is
    the same for each sector, and that of a place of several bits is made of those of its bits.
    """
    size = SECTOR - HEAD
    zeros = zlib.crc32(bytes(size))
    change = [0]
    for bit in range(8):
        of_bit = zlib.crc32(bytes((1 << bit,)) * size) ^ zeros
        change += [other ^ of_bit for other in change]
    changes = b"".join(one.to_bytes(8, "little") * SECTORS for one in change)
    starts = range(0, BLOCK, SECTOR)
    plain = b"".join(zlib.crc32(block[at + HEAD : at + SECTOR]).to_bytes(8, "little") for at in starts)
    return int.from_bytes(plain * BLOCKS, "little") ^ int.from_bytes(changes, "little")


class _Template:
    """A mebibyte of one filling with its heads. ``upper``: the chunk's number without its last five bits."""

    __slots__ = ("generation", "store", "upper")

    def __init__(self, store: Store) -> None:
        self.store = store
        self.generation = -1
        self.upper = -1


class Pattern:
    """Makes the blocks of one file. ``file``: its number, below 2**32.

    Templates of a mebibyte are made when first needed and written over again and again: of a sector only a byte of its
    place and two of its seal change from one chunk to the next but one. Each is laid over all sectors at once by a
    slice with a step, which bytearray and mmap do by a plain loop over bytes and memoryview does not. A filling takes
    longer to make than forty chunks to compare: whoever writes and verifies keeps its Pattern.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self._w0 = MAGIC << 32 | file
        self._templates: dict[tuple[int, bool], _Template] = {}  # (filling, aligned)
        self._sums: dict[int, int] = {}  # filling → crc of each sector, in lanes
        self._lower: dict[int, bytes] = {}  # the last five bits → second byte of each sector's second word
        self._places = int.from_bytes(b"".join(n.to_bytes(8, "little") for n in range(LANES)), "little")

    def chunk(self, number: int, generation: int, *, aligned: bool = False) -> Store:
        """Chunk ``number`` as it is written in ``generation``; valid until the next call.

        ``aligned``: in memory fit for direct I/O, an mmap, which knows no ``==``; else a bytearray.
        """
        which = (number + generation) % FILLINGS
        template = self._templates.get((which, aligned)) or self._template(which, aligned)
        if template.generation != generation:
            self._prepare(template, self._sums[which], generation)
        store, seal = template.store, _mix(number)
        store[_SECOND + 1 :: SECTOR] = self._lower.get(number & 31) or self._lowest(number & 31)
        store[_SEAL + 6 :: SECTOR] = _alike(seal & 0xFF)
        store[_SEAL + 7 :: SECTOR] = _alike(seal >> 8)
        if template.upper != number >> 5:
            template.upper = number >> 5
            for byte in range(6):
                store[_SECOND + 2 + byte :: SECTOR] = _alike(number >> 5 + 8 * byte & 0xFF)
        return store

    def _lowest(self, bits: int) -> bytes:
        self._lower[bits] = b"".join(bytes((bits << 3 | n,)) * 256 for n in range(LANES // 256))
        return self._lower[bits]

    def _template(self, which: int, aligned: bool) -> _Template:
        store: Store = mmap.mmap(-1, CHUNK) if aligned else bytearray(CHUNK)
        filled = self._templates.get((which, not aligned))
        if filled:
            store[:] = filled.store[:]
        else:
            self._sums[which] = fill(store, which)
            store[_SECOND::SECTOR] = bytes(range(256)) * (LANES // 256)
        template = self._templates[which, aligned] = _Template(store)
        return template

    def _prepare(self, template: _Template, sums: int, generation: int) -> None:
        view = memoryview(template.store).cast("Q")
        view[0::WORDS] = _lanes(_ONES * self._w0)
        view[2::WORDS] = _lanes(sums + _ONES * (generation << 32))
        same = (self._w0 * _K0 + generation * _K2) & _M63
        view[3::WORDS] = _lanes((((self._places * _K1 + _ONES * same) & _ONES * _M63) + sums * _K3) & _MASK)
        template.upper = -1
        template.generation = generation

    def block(self, number: int, generation: int) -> bytes:
        """Block ``number`` as it is written in ``generation``."""
        at = number % BLOCKS * BLOCK
        return bytes(self.chunk(number // BLOCKS, generation)[at : at + BLOCK])


def _alike(byte: int) -> bytes:
    return bytes((byte,)) * LANES


def _lanes(value: int) -> memoryview:
    return memoryview(value.to_bytes(LANES * 8, "little")).cast("Q")
