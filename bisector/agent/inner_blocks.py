# SPDX-License-Identifier: GPL-2.0-only
"""Self-describing blocks in the inner guest: made and judged out here, and moved by the guest's own dd.

They travel over a raw disk that only this has to do with, one region (16 MiB) at a time: the agent fills the file
behind it, and the guest copies it to its place; or the guest copies the other way, and the agent reads the file.
An interpreter in a guest inside an emulated VM needs 20 seconds for its start; a dd needs a third of one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from .answers import quote
from .blocks import BLOCK, BLOCKS, CHUNK, Pattern
from .integrity import FLUSH_EVERY
from .journal import Extent, Run
from .machine import dd_records, errno_in
from .stamps import StampTarget

SERIAL = "bisector-blocks"  # of the disk that the blocks travel over
REGION = FLUSH_EVERY * BLOCKS  # blocks that it holds, and that are flushed together
TRIES = 64  # reads that fail before the rest of a chunk is left unjudged: each costs a fork in the guest
EXTENT = re.compile(r"^\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):(.*)$", re.MULTILINE)
UNUSABLE = {"unknown_loc", "delalloc", "encoded", "not_aligned", "inline", "tail"}  # filefrag(8), fiemap.rst
UNIT = 512  # bytes in which filefrag counts: less than any file system's block

RunCommand = Callable[[str], tuple[int | None, str]]
"""Runs a command in the guest: its exit code, None when no answer came, and what it said."""


class NoAnswer(Exception):
    """The guest gave no answer: it paused, ended, or took too long. The argument is what it had said."""


class Exchange:
    """The file behind the disk. Raises OSError where there is no space for it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._descriptor, 0, REGION * BLOCK)  # later would pause the guest

    def put(self, pattern: Pattern, first: int, end: int, generation: int) -> None:
        """Fill it with blocks from ``first`` to before ``end``, all of one region."""
        for at in range(first, end, BLOCKS):
            chunk = memoryview(pattern.chunk(at // BLOCKS, generation))
            os.pwrite(self._descriptor, chunk[: min(end - at, BLOCKS) * BLOCK], at % REGION * BLOCK)

    def chunk(self, first: int) -> bytes:
        """The chunk that ``first`` lies in, as the guest left it here."""
        return os.pread(self._descriptor, CHUNK, first // BLOCKS * BLOCKS % REGION * BLOCK)

    def text(self) -> str:
        """What a program in the guest wrote to it by ``write_text``."""
        return os.pread(self._descriptor, REGION * BLOCK, 0).replace(b"\0", b"").decode(errors="replace")

    def clear(self) -> None:
        """Make it all zero."""
        os.pwrite(self._descriptor, bytes(REGION * BLOCK), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class StampRun:
    """One stamp. ``commands`` are for the guest, in turn; ``count`` how many blocks it has flushed.

    To take the next command says that the last one went well. After a pause they go on where they were.
    """

    def __init__(
        self,
        exchange: Exchange,
        nodes: tuple[str, str],
        stamped: StampTarget,
        blocks: int,
        *,
        direct: bool,
        record: Callable[[str], None],
        more: Callable[[], bool],
    ) -> None:
        """``nodes``: the guest's disk of the exchange, and what is stamped; ``more``: whether another generation is
        to follow. ``record`` takes the journal's lines."""
        self._exchange = exchange
        self._nodes = nodes
        self._stamped = stamped
        self._blocks = blocks
        self._direct = direct
        self._record = record
        self.count = 0
        self.commands = self._commands(more)

    def _commands(self, more: Callable[[], bool]) -> Iterator[str]:
        generation = self._stamped.journal.latest() + 1
        self._record("B")
        while True:
            yield from self._generation(generation)
            if not more():
                break
            generation += 1
        if self._stamped.mapped:
            self._exchange.clear()
            exchange, path = self._nodes
            yield extents_command(path, exchange)
            for extent in extents_in(self._exchange.text()):
                self._record(f"X {extent.first} {extent.place} {extent.count}")

    def _generation(self, generation: int) -> Iterator[str]:
        """Even ones go from the end to the beginning, so that a file is not always cut at the same side."""
        found = [(first, min(first + REGION, self._blocks)) for first in range(0, self._blocks, REGION)]
        for first, end in found if generation % 2 else reversed(found):
            self._exchange.put(self._stamped.pattern, first, end, generation)
            self._record(f"W {first} {end - first} {generation}")
            yield write_command(*self._nodes, first, end, direct=self._direct)
            self._record("F")
            self.count += end - first


class Chunks:
    """What lies in the guest, a chunk at a time, for ``integrity.judge``."""

    def __init__(self, exchange: Exchange, nodes: tuple[str, str], run_command: RunCommand, *, direct: bool) -> None:
        """``nodes``: what is read, and the guest's disk of the exchange."""
        self._exchange = exchange
        self._nodes = nodes
        self._run_command = run_command
        self._direct = direct
        self._tries = 0
        self.errno = ""

    def read(self, runs: list[Run]) -> Iterator[tuple[Run, bytes, set[int], set[int]]]:
        """Each piece with its chunk, and its blocks that cannot be read, and that were not tried. Raises NoAnswer."""
        for region in regions(runs):
            missing: set[int] = set()
            unknown: set[int] = set()
            for first, end, unit in (span for a, b in together(region) for span in spans(a, b)):
                self._fetch(first, end, unit, missing, unknown)
            for piece in region:
                here = set(range(piece[0], piece[1]))
                yield piece, self._exchange.chunk(piece[0]), missing & here, unknown & here

    def _fetch(self, first: int, end: int, unit: int, missing: set[int], unknown: set[int]) -> None:
        """Bring blocks; what cannot be read is halved until it is one block, which is reported as ``missing``."""
        if self._tries >= TRIES:
            unknown.update(range(first, end))
            return
        code, text = self._run_command(read_command(*self._nodes, first, end, unit, direct=self._direct))
        if code is None:
            raise NoAnswer(text)
        if code == 0 and dd_records(text) * unit == end - first:
            return
        self._tries += 1
        self.errno = self.errno or errno_in(text)
        if end - first == 1:
            missing.add(first)
            return
        middle = (first + end) // 2
        for a, b in ((first, middle), (middle, end)):
            self._fetch(a, b, unit if not (a | b) % unit else 1, missing, unknown)


def exchange_options(path: str) -> list[str]:
    """QEMU's options for the disk over the file of the exchange."""
    drive = f"file={path.replace(',', ',,')},format=raw,if=none,id={SERIAL}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={SERIAL},serial={SERIAL}"]


def regions(runs: list[Run]) -> Iterator[list[Run]]:
    """Runs, which are in order, by the region that they lie in."""
    found: list[Run] = []
    for run in runs:
        if found and found[0][0] // REGION != run[0] // REGION:
            yield found
            found = []
        found.append(run)
    if found:
        yield found


def together(runs: list[Run]) -> list[tuple[int, int]]:
    """Runs of blocks, from the first to before the last, without a gap in any."""
    joined: list[tuple[int, int]] = []
    for first, end, _ in runs:
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def spans(first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """A run as (first, end, blocks of one read or write): whole chunks, and single blocks before and behind them."""
    whole, rest = -(-first // BLOCKS) * BLOCKS, end // BLOCKS * BLOCKS
    if whole >= rest:
        yield first, end, 1
        return
    yield from (span for span in ((first, whole, 1), (whole, rest, BLOCKS), (rest, end, 1)) if span[0] < span[1])


def write_command(exchange: str, path: str, first: int, end: int, *, direct: bool) -> str:
    """dd from the exchange to its place, flushed."""
    flags = "oflag=direct " if direct else ""
    lines = [
        f"dd if={exchange} iflag=direct of={quote(path)} {flags}conv=notrunc,fsync bs={unit * BLOCK}"
        f" skip={a % REGION // unit} seek={a // unit} count={(b - a) // unit}"
        for a, b, unit in spans(first, end)
    ]
    return " && ".join(lines)


def read_command(path: str, exchange: str, first: int, end: int, unit: int, *, direct: bool) -> str:
    """dd from its place to the exchange, ``unit`` blocks at a time."""
    flags = "iflag=direct " if direct else ""
    return (
        f"dd if={quote(path)} {flags}of={exchange} oflag=direct conv=notrunc bs={unit * BLOCK}"
        f" skip={first // unit} seek={first % REGION // unit} count={(end - first) // unit}"
    )


def extents_command(path: str, exchange: str) -> str:
    """filefrag of a file, whose table goes over the exchange: the guest's port is for few lines."""
    return f"filefrag -s -v -b{UNIT} {quote(path)} | dd of={exchange} oflag=direct bs=4096 conv=notrunc,sync"


def extents_in(table: str) -> list[Extent]:
    """Where filefrag says that a file's blocks lie; [] when it does not say that of any."""
    found = []
    for line in EXTENT.finditer(table):
        first, place, count = (int(number) * UNIT for number in line.groups()[:3])
        words = set(re.split(r"[\s:,]+", line[4]))
        if not words & UNUSABLE and not (first | place | count) % BLOCK:
            found.append(Extent(first // BLOCK, place // BLOCK, count // BLOCK))
    return found
