# SPDX-License-Identifier: GPL-2.0-only
"""What became of a block that is not as it was written. Pure.

Classes, as recipes name them:

duplicate    holds another block, which stands in its own place as well
misdirected  holds another block, which is not in its own place (any more), or one of another file
stale        is whole, and from an older generation than the one that was flushed
torn         some sectors are as flushed, the others what was there before
zeroed       some or all sectors are zero, and that is no torn first write
flipped      single bits differ
foreign      anything else
unreadable   could not be read at all (reported by who reads)
"""

from __future__ import annotations

from collections.abc import Callable

from .blocks import BLOCK, SECTOR, SECTORS, Sector, read_sector

CLASSES = ("duplicate", "misdirected", "stale", "torn", "zeroed", "flipped", "foreign", "unreadable")
FLIPS = SECTOR * 8 // 4  # bits; unrelated data differs in about half of them
_ZERO = bytes(SECTOR)
_EMPTY = bytes(BLOCK)


class Finding:
    """A block that is not what it must be. ``sectors`` are those that differ; ``bits`` how many of a flipped one.

    ``origin``: what the sectors say of themselves, for a duplicate, misdirected, stale or torn block.
    """

    __slots__ = ("bits", "block", "kind", "origin", "sectors")

    def __init__(
        self, block: int, kind: str, sectors: tuple[int, ...], origin: Sector | None = None, bits: int = 0
    ) -> None:
        self.block = block
        self.kind = kind
        self.sectors = sectors
        self.origin = origin
        self.bits = bits

    def describe(self) -> str:
        """One line for people."""
        words = [f"block {self.block}: {self.kind}"]
        if self.origin and self.kind in ("duplicate", "misdirected"):
            other = f" of file {self.origin.file}" if self.kind == "misdirected" else ""
            words.append(f"holds block {self.origin.block}{other}, generation {self.origin.generation}")
        elif self.origin:
            words.append(f"generation {self.origin.generation}")
        if self.bits:
            words.append(f"{self.bits} bit{'s' if self.bits > 1 else ''}")
        if len(self.sectors) < SECTORS:
            words.append("sectors " + ",".join(map(str, self.sectors)))
        return ", ".join(words)


def examine(
    found: bytes, block: int, file: int, wanted: bytes, generation: int, pending: tuple[int, ...] = ()
) -> Finding | None:
    """Judge the 4096 bytes ``found`` where ``block`` of ``file`` was flushed as ``wanted`` in ``generation`` (1...).

    ``pending``: generations that were on their way when the writer ended. A sector may be of one of them, whichever
    sectors they are: a torn last write is none of storage's faults. None: all is as it may be.

    A block that holds another whole one is called a duplicate here; ``resolve`` finds the misdirected ones among them.
    """
    if found == _EMPTY:  # thousands of them, where a disk lost its writes
        return Finding(block, "zeroed", tuple(range(SECTORS)))
    differing: list[int] = []
    kinds: set[str] = set()
    origins: list[Sector] = []
    bits = 0
    for place in range(SECTORS):
        at = place * SECTOR
        data = found[at : at + SECTOR]
        if data == wanted[at : at + SECTOR]:
            continue
        sector = read_sector(data)
        if (
            sector
            and (sector.file, sector.block, sector.place) == (file, block, place)
            and sector.generation in pending
        ):
            continue
        differing.append(place)
        kind = _kind(data, sector, file, block, place, generation)
        if kind == "flipped?":
            flips = _distance(data, wanted[at : at + SECTOR])
            kind = "flipped" if flips <= FLIPS else "foreign"
            bits += flips if kind == "flipped" else 0
        kinds.add(kind)
        if sector:
            origins.append(sector)
    if not differing:
        return None
    sectors = tuple(differing)
    kind = _overall(kinds, sectors, generation, origins)
    named = [one for one in origins if (one.file, one.block) != (file, block)] if kind in _MOVED else origins
    return Finding(block, kind, sectors, named[0] if named else None, bits if kind == "flipped" else 0)


_MOVED = ("duplicate", "misdirected")


def _kind(data: bytes, sector: Sector | None, file: int, block: int, place: int, generation: int) -> str:
    if data == _ZERO:
        return "zeroed"
    if sector is None:
        return "flipped?"
    if sector.file == file and sector.block == block:
        if sector.place != place:
            return "misdirected"
        return "stale" if sector.generation < generation else "foreign"  # from a generation that was never written
    return "duplicate" if sector.file == file and sector.place == place else "misdirected"


def _overall(kinds: set[str], sectors: tuple[int, ...], generation: int, origins: list[Sector]) -> str:
    """The class of a block from those of its differing sectors; the one that says most comes first."""
    if kinds & {"duplicate", "misdirected"}:
        one = {(origin.file, origin.block) for origin in origins}
        return "duplicate" if "misdirected" not in kinds and len(one) == 1 else "misdirected"
    if "foreign" in kinds:
        return "foreign"
    partial = len(sectors) < SECTORS
    if "stale" in kinds:
        return "torn" if partial or "zeroed" in kinds or len({o.generation for o in origins}) > 1 else "stale"
    if "zeroed" in kinds:
        # Before its first generation a block held nothing: zeroes on one side of a single edge are a torn first write.
        edge = sectors in (tuple(range(len(sectors))), tuple(range(SECTORS - len(sectors), SECTORS)))
        return "torn" if partial and generation == 1 and edge and kinds == {"zeroed"} else "zeroed"
    return "flipped"


def _distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).bit_count()


def resolve(findings: list[Finding], at_home: Callable[[Sector], bool]) -> None:
    """Tell duplicates from misdirected blocks: only of a duplicate is the origin in its own place as well.

    ``at_home``: whether the block that a sector names was flushed in that generation and not written since.
    """
    lost = {finding.block for finding in findings}
    for finding in findings:
        origin = finding.origin
        if finding.kind == "duplicate" and origin is not None:
            if origin.block in lost or not at_home(origin):
                finding.kind = "misdirected"
