# SPDX-License-Identifier: GPL-2.0-only
"""Writing and verifying self-describing blocks: the I/O around blocks.py, journal.py and mismatch.py.

In the inner guest the I/O is its dd's (inner_blocks.py); what it read is judged here.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from .blocks import BLOCK, BLOCKS, CHUNK, SECTORS, Pattern, Sector, Store
from .journal import Extent, Journal, Run, placed
from .mismatch import Finding, examine, settle

FLUSH_EVERY = 16  # chunks; less often would leave more unjudged after a kill, more often would measure flushes
FINDINGS = 2000  # after so many it is enough
SHOWN = 12  # findings that are described
FS_IOC_FIEMAP = 0xC020660B  # include/uapi/linux/fiemap.h
FIEMAP_FLAG_SYNC = 1
FIEMAP_UNUSABLE = 0x2 | 0x4 | 0x8 | 0x100 | 0x200 | 0x400  # unknown, delayed, encoded, not aligned, inline, tail
DROP_CACHES = "/proc/sys/vm/drop_caches"


class Written:
    """How a stamp ended: ``count`` blocks written, flushed or not; ``errno`` is a name, "" when all went well."""

    __slots__ = ("count", "detail", "errno", "generation")

    def __init__(self, count: int, generation: int, errno: str = "", detail: str = "") -> None:
        self.count = count
        self.generation = generation
        self.errno = errno
        self.detail = detail


class Verified:
    """What a look at a file's blocks found: ``judged`` blocks, and what is wrong with some of them."""

    __slots__ = ("errno", "findings", "judged")

    def __init__(self, judged: int, findings: list[Finding], errno: str = "") -> None:
        self.judged = judged
        self.findings = findings
        self.errno = errno

    def classes(self) -> tuple[str, ...]:
        """What was seen, as conditions name it; () when nothing was judged, which is neither clean nor bad."""
        kinds = tuple(sorted({finding.kind for finding in self.findings}))
        return kinds or (("clean",) if self.judged else ())

    def describe(self) -> list[str]:
        """Lines for people: a sum, then the first findings."""
        count = {kind: sum(f.kind == kind for f in self.findings) for kind in {f.kind for f in self.findings}}
        told = ", ".join(f"{number} {kind}" for kind, number in sorted(count.items())) or "none differs"
        stopped = ", and stopped there" if len(self.findings) >= FINDINGS else ""
        return [f"{self.judged} blocks judged: {told}{stopped}", *(f.describe() for f in self.findings[:SHOWN])]


def stamp(
    path: str,
    pattern: Pattern,
    blocks: int,
    generation: int,
    *,
    direct: bool,
    tell: Callable[[str], None],
    seconds: float = 0.0,
) -> Written:
    """Write ``blocks`` blocks once, or generation upon generation for ``seconds``; flush every 16 MiB and at the end.

    Even generations go from the end to the beginning, so that a file is not always cut at the same side. ``tell`` takes
    the journal's lines, each before what it tells of may happen (W) or after it did (F).
    """
    until = time.monotonic() + seconds
    written = 0
    tell("B")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | _create(path) | (os.O_DIRECT if direct else 0), 0o644)
    except OSError as error:
        return Written(0, generation, name(error), f"open {path}: {error.strerror}")
    try:
        while True:
            written += _generation(descriptor, pattern, blocks, generation, tell)
            if time.monotonic() >= until:
                break
            generation += 1
        for extent in extents(descriptor):
            tell(f"X {extent.first} {extent.place} {extent.count}")
    except OSError as error:
        return Written(written, generation, name(error), f"{path}: {error.strerror}")
    finally:
        os.close(descriptor)
    return Written(written, generation)


def _create(path: str) -> int:
    return 0 if path.startswith("/dev/") else os.O_CREAT


def _generation(descriptor: int, pattern: Pattern, blocks: int, generation: int, tell: Callable[[str], None]) -> int:
    size = FLUSH_EVERY * BLOCKS
    regions = [(first, min(first + size, blocks)) for first in range(0, blocks, size)]
    for first, end in regions if generation % 2 else reversed(regions):
        tell(f"W {first} {end - first} {generation}")
        for at in range(first, end, BLOCKS):
            chunk = memoryview(pattern.chunk(at // BLOCKS, generation, aligned=True))
            _write(descriptor, chunk[: min(end - at, BLOCKS) * BLOCK], at * BLOCK)
        os.fsync(descriptor)
        tell("F")
    return blocks


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data``: a short write is followed by the rest, which then tells its error."""
    done = 0
    while done < len(data):
        moved = os.pwrite(descriptor, data[done:], offset + done)
        if moved == 0:
            raise OSError(errno.EIO, "a write wrote nothing")
        done += moved


def extents(descriptor: int) -> list[Extent]:
    """Where a regular file's blocks lie on the device below; [] for anything else, and where that cannot be told."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return []
    found: list[Extent] = []
    start, room = 0, 64
    while True:
        head = start.to_bytes(8, "little") + (2**64 - 1 - start).to_bytes(8, "little")
        asked = bytearray(head + FIEMAP_FLAG_SYNC.to_bytes(4, "little") + bytes(4) + room.to_bytes(4, "little"))
        asked += bytes(4 + room * 56)
        try:
            fcntl.ioctl(descriptor, FS_IOC_FIEMAP, asked)
        except OSError:
            return []
        count = int.from_bytes(asked[20:24], "little")
        for at in range(32, 32 + count * 56, 56):
            logical, physical, length = (int.from_bytes(asked[at + k : at + k + 8], "little") for k in (0, 8, 16))
            flags = int.from_bytes(asked[at + 40 : at + 44], "little")
            start = logical + length
            if not flags & FIEMAP_UNUSABLE and not (logical | physical | length) % BLOCK:
                found.append(Extent(logical // BLOCK, physical // BLOCK, length // BLOCK))
            if flags & 1:  # FIEMAP_EXTENT_LAST
                return found
        if count == 0:
            return found


def verify(
    path: str, pattern: Pattern, journal: Journal, *, direct: bool, below: list[Extent] | None = None, shift: int = 0
) -> Verified:
    """Read every flushed block and look at each that differs.

    ``below``: ``path`` is the device that the file lies on, ``shift`` bytes into it. A read that fails is looked at
    block by block, and what stays unreadable is told as that.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
    return judge(_Reader(os.open(path, flags), below, shift), pattern, journal)


class Chunks(Protocol):
    """Where ``judge`` has its chunks from. ``errno`` is that of the first read that failed, "" when none did."""

    errno: str

    def ahead(self, pieces: list[Run]) -> Iterator[tuple[Run, Store | bytes, set[int], set[int]]]:
        """Each piece with its chunk, its blocks that cannot be read, and those that were not looked at."""

    def close(self) -> None:
        """Let go of what is held."""


def judge(reader: Chunks, pattern: Pattern, journal: Journal) -> Verified:
    """Look at each block that was flushed and differs from what was written."""
    findings: list[Finding] = []
    judged = 0
    try:
        for (first, end, generation), found, missing, unknown in reader.ahead(list(journal.pieces(BLOCKS))):
            wanted = pattern.chunk(first // BLOCKS, generation)
            judged += end - first - len(unknown)
            if end - first == BLOCKS and wanted == found and not missing | unknown:
                continue
            findings += (Finding(block, "unreadable", tuple(range(SECTORS))) for block in sorted(missing))
            pending = journal.on_their_way(first, end)
            good = [bytes(pattern.chunk(first // BLOCKS, one)) for one in (generation, *pending)]
            findings += _differing(pattern.file, (first, end, generation), pending, found, good, missing | unknown)
            if len(findings) >= FINDINGS:
                break
    finally:
        reader.close()
    settle(findings, lambda origin: _at_home(origin, pattern.file, journal))
    return Verified(judged, findings, reader.errno)


def _differing(
    file: int,
    run: tuple[int, int, int],
    pending: tuple[int, ...],
    found: Store | bytes,
    good: list[bytes],
    left_out: set[int],
) -> list[Finding]:
    """Look at a chunk block by block. ``good``: it as it was flushed, then as each write on its way would make it."""
    first, end, generation = run
    findings = []
    for block in range(first, end):
        place = slice(block % BLOCKS * BLOCK, (block % BLOCKS + 1) * BLOCK)
        data = bytes(found[place])
        if block not in left_out and not any(data == one[place] for one in good):
            finding = examine(data, block, file, good[0][place], generation, pending)
            findings += [finding] if finding else []
    return findings


def _at_home(origin: Sector, file: int, journal: Journal) -> bool:
    home = journal.generation(origin.block) == origin.generation
    return home and origin.file == file and not journal.on_their_way(origin.block, origin.block + 1)


class _Buffer:
    """A chunk in memory fit for direct I/O: free to be read into, or full and to be looked at."""

    __slots__ = ("error", "free", "full", "memory", "missing", "unknown", "view")

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, CHUNK)
        self.view = memoryview(self.memory)
        self.missing: set[int] = set()
        self.unknown: set[int] = set()
        self.error: Exception | None = None
        self.free = _thread.allocate_lock()
        self.full = _thread.allocate_lock()
        self.full.acquire()


class _Reader:
    """Reads chunks of a file, or of the device that it lies on, each while the one before it is looked at.

    A thread reads into two aligned buffers in turn. Its reads and the waits for it let go of the interpreter; the
    looks do not, and each hand-over wakes a thread: docs/performance.md tells what that leaves of it.
    """

    def __init__(self, descriptor: int, below: list[Extent] | None, shift: int) -> None:
        self._descriptor = descriptor
        self._below = below
        self._shift = shift
        self._buffers = [_Buffer(), _Buffer()]
        self._ended = _thread.allocate_lock()
        self._stop = False
        self.errno = ""

    def ahead(self, pieces: list[Run]) -> Iterator[tuple[Run, mmap.mmap, set[int], set[int]]]:
        """Each piece with its chunk, its blocks in their places; valid until the next one is asked for.

        Beside it the blocks that cannot be read, and those that lie nowhere known.
        """
        self._ended.acquire()
        try:
            _thread.start_new_thread(self._read_all, (pieces,))
        except RuntimeError:
            self._ended.release()  # or close would wait for ever
            raise
        for number, piece in enumerate(pieces):
            buffer = self._buffers[number % 2]
            buffer.full.acquire()
            if buffer.error is not None:
                raise buffer.error
            yield piece, buffer.memory, buffer.missing, buffer.unknown
            buffer.free.release()

    def close(self) -> None:
        """End the reading and let go of the file."""
        self._stop = True
        for buffer in self._buffers:
            if buffer.free.locked():
                buffer.free.release()
        with self._ended:
            os.close(self._descriptor)

    def _read_all(self, pieces: list[Run]) -> None:
        try:
            for number, (first, end, _) in enumerate(pieces):
                buffer = self._buffers[number % 2]
                buffer.free.acquire()
                if self._stop:
                    return
                try:
                    self._read(buffer, first, end)
                except Exception as error:  # noqa: BLE001 - raised where the chunk is asked for
                    buffer.error = error
                buffer.full.release()
        finally:
            self._ended.release()

    def _read(self, buffer: _Buffer, first: int, end: int) -> None:
        buffer.missing, buffer.unknown = set(), set()
        if self._below is None and self._fill(buffer, first, first, end - first):
            return
        pieces = [(first, first, end - first)] if self._below is None else list(placed(self._below, first, end))
        known = {block for at, _, count in pieces for block in range(at, at + count)}
        buffer.unknown = set(range(first, end)) - known
        for at, place, count in pieces:
            if not self._fill(buffer, at, place, count):
                alone = range(count)
                buffer.missing |= {at + n for n in alone if not self._fill(buffer, at + n, place + n, 1)}

    def _fill(self, buffer: _Buffer, block: int, place: int, count: int) -> bool:
        start = block % BLOCKS * BLOCK
        part = buffer.view[start : start + count * BLOCK]
        try:
            moved = os.preadv(self._descriptor, [part], place * BLOCK + self._shift)
        except OSError as error:
            self.errno = self.errno or name(error)
            return False
        return moved == len(part)


def drop_caches() -> None:
    """Let the kernel forget what it read; what is dirty is written first."""
    os.sync()
    with open(DROP_CACHES, "w") as knob:
        knob.write("3\n")


def forget(path: str) -> None:
    """Let the kernel forget what it read of one file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def name(error: OSError) -> str:
    """``EIO`` for an OSError."""
    return errno.errorcode.get(error.errno or 0, f"E{error.errno}")
