# SPDX-License-Identifier: GPL-2.0-only
"""Writing and verifying self-describing blocks: the I/O around blocks.py, journal.py and mismatch.py.

In the inner guest the I/O is its dd's (inner_blocks.py); what it read is judged here.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from .blocks import BLOCK, BLOCKS, CHUNK, SECTORS, Pattern, Sector, Store
from .fork import Fork
from .journal import Extent, Journal, Run, placed
from .mismatch import Finding, examine, resolve

FLUSH_EVERY = 16  # chunks; less often would leave more unjudged after a kill, more often would measure flushes
FINDINGS = 2000  # after so many it is enough
PATIENCE, SLOWER = 10.0, 4  # seconds, and times our own half, that the fork may take for as many blocks after it
MANY = 64  # chunks; a fork costs an emulated VM as much as six of them
SHOWN = 12  # findings that are described
FS_IOC_FIEMAP = 0xC020660B  # include/uapi/linux/fiemap.h
FIEMAP_FLAG_SYNC = 1
FIEMAP_UNUSABLE = 0x2 | 0x4 | 0x8 | 0x100 | 0x200 | 0x400  # unknown, delayed, encoded, not aligned, inline, tail
DROP_CACHES = "/proc/sys/vm/drop_caches"


class StampResult:
    """How a stamp ended: ``count`` blocks written, flushed or not; ``errno`` is a name, "" when all went well."""

    __slots__ = ("count", "detail", "errno", "generation")

    def __init__(self, count: int, generation: int, errno: str = "", detail: str = "") -> None:
        self.count = count
        self.generation = generation
        self.errno = errno
        self.detail = detail


class Verification:
    """What verifying a file's blocks found: ``judged`` blocks, and what is wrong with some of them.

    ``stopped``: that was enough, and not all blocks were judged.
    """

    __slots__ = ("errno", "findings", "judged", "stopped")

    def __init__(self, judged: int, findings: list[Finding], errno: str = "", *, stopped: bool = False) -> None:
        self.judged = judged
        self.findings = findings
        self.errno = errno
        self.stopped = stopped

    def classes(self) -> tuple[str, ...]:
        """What was seen, as conditions name it; () when nothing was judged, which is neither clean nor bad."""
        kinds = tuple(sorted({finding.kind for finding in self.findings}))
        return kinds or (("clean",) if self.judged else ())

    def describe(self) -> list[str]:
        """Lines for people: a sum, then the first findings."""
        count = {kind: sum(f.kind == kind for f in self.findings) for kind in {f.kind for f in self.findings}}
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(count.items())) or "none differs"
        stopped = ", and stopped there" if self.stopped else ""
        return [f"{self.judged} blocks judged: {counted}{stopped}", *(f.describe() for f in self.findings[:SHOWN])]


def stamp(
    path: str,
    pattern: Pattern,
    blocks: int,
    generation: int,
    *,
    direct: bool,
    record: Callable[[str], None],
    seconds: float = 0.0,
) -> StampResult:
    """Write ``blocks`` blocks once, or generation upon generation for ``seconds``; flush every 16 MiB and at the end.

    Even generations go from the end to the beginning, so that a file is not always cut at the same side. ``record``
    takes the journal's lines, each before what it speaks of may happen (W) or after it did (F).
    """
    until = time.monotonic() + seconds
    written = 0
    record("B")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | _create(path) | (os.O_DIRECT if direct else 0), 0o644)
    except OSError as error:
        return StampResult(0, generation, name(error), f"open {path}: {error.strerror}")
    try:
        while True:
            written += _generation(descriptor, pattern, blocks, generation, record)
            if time.monotonic() >= until:
                break
            generation += 1
        for extent in extents(descriptor):
            record(f"X {extent.first} {extent.place} {extent.count}")
    except OSError as error:
        return StampResult(written, generation, name(error), f"{path}: {error.strerror}")
    finally:
        os.close(descriptor)
    return StampResult(written, generation)


def _create(path: str) -> int:
    return 0 if path.startswith("/dev/") else os.O_CREAT


def _generation(descriptor: int, pattern: Pattern, blocks: int, generation: int, record: Callable[[str], None]) -> int:
    size = FLUSH_EVERY * BLOCKS
    regions = [(first, min(first + size, blocks)) for first in range(0, blocks, size)]
    for first, end in regions if generation % 2 else reversed(regions):
        record(f"W {first} {end - first} {generation}")
        for at in range(first, end, BLOCKS):
            chunk = memoryview(pattern.chunk(at // BLOCKS, generation, aligned=True))
            _write(descriptor, chunk[: min(end - at, BLOCKS) * BLOCK], at * BLOCK)
        os.fsync(descriptor)
        record("F")
    return blocks


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data``: a short write is followed by the rest, which then has its error."""
    done = 0
    while done < len(data):
        moved = os.pwrite(descriptor, data[done:], offset + done)
        if moved == 0:
            raise OSError(errno.EIO, "a write wrote nothing")
        done += moved


def extents(descriptor: int) -> list[Extent]:
    """Where a regular file's blocks lie on the device below; [] for anything else, and where that is not known."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return []
    found: list[Extent] = []
    start, space = 0, 64
    while True:
        head = start.to_bytes(8, "little") + (2**64 - 1 - start).to_bytes(8, "little")
        request = bytearray(head + FIEMAP_FLAG_SYNC.to_bytes(4, "little") + bytes(4) + space.to_bytes(4, "little"))
        request += bytes(4 + space * 56)
        try:
            fcntl.ioctl(descriptor, FS_IOC_FIEMAP, request)
        except OSError:
            return []
        count = int.from_bytes(request[20:24], "little")
        for at in range(32, 32 + count * 56, 56):
            logical, physical, length = (int.from_bytes(request[at + k : at + k + 8], "little") for k in (0, 8, 16))
            flags = int.from_bytes(request[at + 40 : at + 44], "little")
            start = logical + length
            if not flags & FIEMAP_UNUSABLE and not (logical | physical | length) % BLOCK:
                found.append(Extent(logical // BLOCK, physical // BLOCK, length // BLOCK))
            if flags & 1:  # FIEMAP_EXTENT_LAST
                return found
        if count == 0:
            return found


def verify(
    path: str, pattern: Pattern, journal: Journal, *, direct: bool, below: list[Extent] | None = None, shift: int = 0
) -> Verification:
    """Read every flushed block and judge each that differs.

    ``below``: ``path`` is the device that the file lies on, ``shift`` bytes into it. A read that fails is repeated
    block by block, and what stays unreadable is reported as that.

    Of many blocks a fork of this process judges the second half: one waits for its read while the other compares,
    and they do so on two processors where there are two. A half that the fork does not report is judged here.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)

    def judge_runs(runs: list[Run]) -> Verification:
        reader = _Reader(os.open(path, flags), below, shift)
        try:
            return _judge_runs(reader, pattern, journal, runs)
        finally:
            reader.close()

    runs = list(journal.runs(BLOCKS))
    if len(runs) < MANY:
        return _resolved([judge_runs(runs)], pattern, journal)
    ours, others = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    with Fork(lambda: _plain(judge_runs(others))) as fork:
        begun = time.monotonic()
        seen = judge_runs(ours)
        if seen.stopped:  # that is enough of both
            return _resolved([seen], pattern, journal)
        answer = fork.answer(PATIENCE + SLOWER * (time.monotonic() - begun))
    return _resolved([seen, judge_runs(others) if answer is None else _verified(answer)], pattern, journal)


class Chunks(Protocol):
    """Where ``judge`` has its chunks from. ``errno`` is that of the first read that failed, "" when none did."""

    errno: str

    def read(self, runs: list[Run]) -> Iterator[tuple[Run, Store | bytes, set[int], set[int]]]:
        """Each piece with its chunk, its blocks that cannot be read, and those that were not judged."""


def judge(chunks: Chunks, pattern: Pattern, journal: Journal) -> Verification:
    """Judge each block that was flushed and differs from what was written."""
    return _resolved([_judge_runs(chunks, pattern, journal, list(journal.runs(BLOCKS)))], pattern, journal)


def _judge_runs(chunks: Chunks, pattern: Pattern, journal: Journal, runs: list[Run]) -> Verification:
    """Judge ``runs``; what only all findings together show is not decided yet."""
    findings: list[Finding] = []
    judged = 0
    for (first, end, generation), found, missing, unknown in chunks.read(runs):
        wanted = pattern.chunk(first // BLOCKS, generation)
        judged += end - first - len(unknown)
        if end - first == BLOCKS and wanted == found and not missing | unknown:
            continue
        findings += (Finding(block, "unreadable", tuple(range(SECTORS))) for block in sorted(missing))
        pending = journal.on_their_way(first, end)
        good = [bytes(pattern.chunk(first // BLOCKS, one)) for one in (generation, *pending)]
        findings += _differing(pattern.file, (first, end, generation), pending, found, good, missing | unknown)
        if len(findings) >= FINDINGS:
            return Verification(judged, findings, chunks.errno, stopped=(first, end, generation) != runs[-1])
    return Verification(judged, findings, chunks.errno)


def _resolved(parts: list[Verification], pattern: Pattern, journal: Journal) -> Verification:
    """All parts of one verification, in order, as one."""
    findings = [finding for part in parts for finding in part.findings]
    resolve(findings, lambda origin: _at_home(origin, pattern.file, journal))
    error = next((part.errno for part in parts if part.errno), "")
    return Verification(
        sum(part.judged for part in parts), findings, error, stopped=any(part.stopped for part in parts)
    )


Plain = tuple[int, str, bool, list[tuple[int, str, tuple[int, ...], int, tuple[int, int, int, int] | None]]]


def _plain(seen: Verification) -> Plain:
    """What a fork saw, in what goes through a pipe."""
    findings = [(one.block, one.kind, one.sectors, one.bits, _words(one.origin)) for one in seen.findings]
    return seen.judged, seen.errno, seen.stopped, findings


def _words(origin: Sector | None) -> tuple[int, int, int, int] | None:
    return (origin.file, origin.block, origin.place, origin.generation) if origin else None


def _verified(answer: Plain) -> Verification:
    judged, error, stopped, found = answer
    findings = [
        Finding(block, kind, sectors, Sector(*origin) if origin else None, bits)
        for block, kind, sectors, bits, origin in found
    ]
    return Verification(judged, findings, error, stopped=stopped)


def _differing(
    file: int,
    run: tuple[int, int, int],
    pending: tuple[int, ...],
    found: Store | bytes,
    good: list[bytes],
    left_out: set[int],
) -> list[Finding]:
    """Judge a chunk block by block. ``good``: it as it was flushed, then as each write on its way would make it."""
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


class _Reader:
    """Reads chunks of a file, or of the device that it lies on, into one buffer that is fit for direct I/O."""

    def __init__(self, descriptor: int, below: list[Extent] | None, shift: int) -> None:
        self._descriptor = descriptor
        self._below = below
        self._shift = shift
        self._memory = mmap.mmap(-1, CHUNK)
        self._view = memoryview(self._memory)
        self.errno = ""

    def read(self, runs: list[Run]) -> Iterator[tuple[Run, mmap.mmap, set[int], set[int]]]:
        """Each piece with its chunk, its blocks in their places; valid until the next one is read.

        Beside it the blocks that cannot be read, and those that lie nowhere known.
        """
        for piece in runs:
            missing, unknown = self._read(piece[0], piece[1])
            yield piece, self._memory, missing, unknown

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _read(self, first: int, end: int) -> tuple[set[int], set[int]]:
        if self._below is None and self._fill(first, first, end - first):
            return set(), set()
        runs = [(first, first, end - first)] if self._below is None else list(placed(self._below, first, end))
        known = {block for at, _, count in runs for block in range(at, at + count)}
        missing: set[int] = set()
        for at, place, count in runs:
            if not self._fill(at, place, count):
                missing |= {at + n for n in range(count) if not self._fill(at + n, place + n, 1)}
        return missing, set(range(first, end)) - known

    def _fill(self, block: int, place: int, count: int) -> bool:
        start = block % BLOCKS * BLOCK
        part = self._view[start : start + count * BLOCK]
        try:
            moved = os.preadv(self._descriptor, [part], place * BLOCK + self._shift)
        except OSError as error:
            self.errno = self.errno or name(error)
            return False
        return moved == len(part)


def drop_caches() -> None:
    """Let the kernel forget what it read; what is dirty is written first."""
    os.sync()
    with open(DROP_CACHES, "w", encoding="utf-8") as knob:
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
