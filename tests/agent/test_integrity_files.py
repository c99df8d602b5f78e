# SPDX-License-Identifier: GPL-2.0-only
"""Stamping and verifying real files: a writer that is killed, direct and buffered, damage found where it was put."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bisector.agent import integrity
from bisector.agent.blocks import BLOCK, BLOCKS, Pattern
from bisector.agent.integrity import FINDINGS, FLUSH_EVERY, MANY, extents, stamp, verify
from bisector.agent.journal import Extent, Journal

FILE = 77
SIZE = 5 * BLOCKS + 3  # blocks; the last chunk is not a whole one


def stamped(path: Path, *, direct: bool = False, generations: int = 1) -> Journal:
    journal = Journal()
    for generation in range(1, generations + 1):
        done = stamp(str(path), Pattern(FILE), SIZE, generation, direct=direct, record=journal.record)
        assert (done.count, done.errno) == (SIZE, ""), done.detail
    return journal


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("direct", [False, True])
def test_what_was_stamped_is_clean(tmp_path: Path, direct: bool) -> None:
    path = tmp_path / "stamped"
    journal = stamped(path, direct=direct, generations=3)
    assert path.stat().st_size == SIZE * BLOCK
    for again in (False, True):
        seen = verify(str(path), Pattern(FILE), journal, direct=again)
        assert (seen.classes(), seen.judged, seen.errno) == (("clean",), SIZE, "")


def test_damage_is_found_where_it_was_put(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    journal = stamped(path, generations=2)
    pattern = Pattern(FILE)
    for block in range(160, 165):
        put(path, block * BLOCK, pattern.block(165, 2))
    put(path, 300 * BLOCK, bytes(BLOCK))
    put(path, 700 * BLOCK + 512, pattern.block(700, 1)[512:1024])
    last = bytearray(pattern.block(SIZE - 1, 2))
    last[4000] ^= 4
    put(path, (SIZE - 1) * BLOCK, bytes(last))
    seen = verify(str(path), Pattern(FILE), journal, direct=False)
    assert [(f.block, f.kind) for f in seen.findings] == [
        *((block, "duplicate") for block in range(160, 165)),
        *((300, "zeroed"), (700, "torn"), (SIZE - 1, "flipped")),
    ]
    assert seen.classes() == ("duplicate", "flipped", "torn", "zeroed")
    assert seen.describe()[0] == f"{SIZE} blocks judged: 5 duplicate, 1 flipped, 1 torn, 1 zeroed"


def test_what_was_never_flushed_is_neither_clean_nor_bad(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    stamped(path)
    journal = Journal()
    journal.record(f"W 0 {SIZE} 1")
    assert verify(str(path), Pattern(FILE), journal, direct=False).classes() == ()


def test_a_file_that_is_cut_short_is_unreadable_there(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    journal = stamped(path)
    os.truncate(path, 900 * BLOCK)
    seen = verify(str(path), Pattern(FILE), journal, direct=False)
    assert seen.classes() == ("unreadable",)
    assert [f.block for f in seen.findings] == list(range(900, SIZE))


def test_a_file_is_found_on_the_device_below_by_its_extents(tmp_path: Path) -> None:
    """A device on which the file lies in two parts, the second before the first, 8 KiB into it."""
    path, device = tmp_path / "stamped", tmp_path / "device"
    journal = stamped(path)
    data = path.read_bytes()
    cut = 300
    with device.open("wb") as file:
        file.truncate(64 << 20)
    put(device, 8192 + 4000 * BLOCK, data[: cut * BLOCK])
    put(device, 8192 + 100 * BLOCK, data[cut * BLOCK :])
    below = [Extent(0, 4000, cut), Extent(cut, 100, SIZE - cut)]
    assert verify(str(device), Pattern(FILE), journal, direct=True, below=below, shift=8192).classes() == ("clean",)
    put(device, 8192 + 101 * BLOCK, bytes(BLOCK))
    seen = verify(str(device), Pattern(FILE), journal, direct=True, below=below, shift=8192)
    assert [(f.block, f.kind) for f in seen.findings] == [(cut + 1, "zeroed")]
    some = verify(str(device), Pattern(FILE), journal, direct=True, below=below[:1], shift=8192)
    assert (some.judged, some.classes()) == (cut, ("clean",))  # what lies nowhere known is not judged


def test_a_look_that_saw_enough_stops(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    journal = Journal()
    stamp(str(path), Pattern(FILE), 12 * BLOCKS, 1, direct=False, record=journal.record)
    put(path, 0, bytes(11 * BLOCKS * BLOCK))
    held = sorted(Path("/proc/self/fd").iterdir())
    seen = verify(str(path), Pattern(FILE), journal, direct=True)
    assert FINDINGS <= len(seen.findings) <= FINDINGS + BLOCKS
    assert (seen.classes(), seen.stopped) == (("zeroed",), True)
    assert seen.describe()[0].endswith(", and stopped there")
    assert sorted(Path("/proc/self/fd").iterdir()) == held


def test_what_goes_wrong_in_the_reader_is_raised_where_it_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    journal = stamped(path)
    with pytest.raises(OverflowError):
        verify(str(path), Pattern(FILE), journal, direct=False, below=[Extent(0, 1 << 60, SIZE)])


def test_extents_of_a_file_cover_it(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    journal = stamped(path)
    with path.open("rb") as file:
        found = extents(file.fileno())
    if not found:
        pytest.skip("the file system under the test's folder tells no extents")
    assert sum(extent.count for extent in found) == SIZE
    assert [(e.first, e.place, e.count) for e in journal.extents] == [(e.first, e.place, e.count) for e in found]


def test_a_full_file_system_is_reported_as_what_the_write_returned(tmp_path: Path) -> None:
    journal = Journal()
    done = stamp("/dev/full", Pattern(FILE), SIZE, 1, direct=False, record=journal.record)
    assert (done.errno, done.count) == ("ENOSPC", 0)
    assert journal.blocks() == 0
    assert stamp(str(tmp_path / "no/such"), Pattern(FILE), 1, 1, direct=False, record=journal.record).errno == "ENOENT"


def test_what_a_writer_left_half_done_is_not_judged_by_the_flush_of_the_next(tmp_path: Path) -> None:
    """The second writer ends in its second region, the third after its first flush: the second region is generation 1's
    or 2's, whole or in part, and that is neither."""
    path = tmp_path / "stamped"
    journal = Journal()
    blocks = 3 * FLUSH_EVERY * BLOCKS
    stamp(str(path), Pattern(FILE), blocks, 1, direct=False, record=journal.record)
    for generation, ends_at in ((3, "W 4096 "), (5, "F")):
        with pytest.raises(Ended):
            stamp(str(path), Pattern(FILE), blocks, generation, direct=False, record=ending(journal, ends_at))
    assert verify(str(path), Pattern(FILE), journal, direct=False).classes() == ("clean",)
    put(path, 5000 * BLOCK, Pattern(FILE).block(5000, 3))  # it got as far as this block, and half the next
    put(path, 5001 * BLOCK, Pattern(FILE).block(5001, 3)[:2048])
    assert verify(str(path), Pattern(FILE), journal, direct=False).classes() == ("clean",)
    put(path, 5002 * BLOCK, Pattern(FILE).block(5002, 5))  # which the last one never began
    assert [f.block for f in verify(str(path), Pattern(FILE), journal, direct=False).findings] == [5002]
    stamp(str(path), Pattern(FILE), blocks, journal.latest() + 1, direct=False, record=journal.record)
    put(path, 5000 * BLOCK, Pattern(FILE).block(5000, 3))
    seen = verify(str(path), Pattern(FILE), journal, direct=False)  # written anew, and sure again
    assert [(f.block, f.kind) for f in seen.findings] == [(5000, "stale")]


def test_a_write_that_failed_is_not_judged_by_the_flush_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "stamped"
    journal = stamped(path)
    assert stamp("/dev/full", Pattern(FILE), SIZE, 2, direct=False, record=journal.record).errno == "ENOSPC"
    with pytest.raises(Ended):
        stamp(str(path), Pattern(FILE), 4 * FLUSH_EVERY * BLOCKS, 3, direct=False, record=ending(journal, "F"))
    assert verify(str(path), Pattern(FILE), journal, direct=False).classes() == ("clean",)


class Ended(Exception):
    """The writer was killed."""


def ending(journal: Journal, last: str) -> Callable[[str], None]:
    """Tells the journal up to the line that begins with ``last``; there the writer ends."""

    def tell(line: str) -> None:
        journal.record(line)
        if line.startswith(last):
            raise Ended

    return tell


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from bisector.agent.blocks import Pattern
from bisector.agent.integrity import stamp
def tell(line):
    print(line, flush=True)
stamp(sys.argv[2], Pattern(77), 48 * 256, 1, direct=sys.argv[3] == "direct", record=tell, seconds=60.0)
"""


@pytest.mark.parametrize("mode", ["direct", "buffered"])
def test_a_writer_killed_in_the_middle_leaves_no_finding(tmp_path: Path, mode: str) -> None:
    root = str(Path(__file__).parents[2])
    path = tmp_path / "stamped"
    for moment in (0.15, 0.4, 0.75):
        argv = [sys.executable, "-c", WRITER, root, str(path), mode]
        writer = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert writer.stdout is not None
        journal = Journal()
        journal.record(writer.stdout.readline().strip())
        time.sleep(moment)
        os.killpg(writer.pid, signal.SIGKILL)
        for line in writer.stdout.read().splitlines():
            journal.record(line)
        writer.wait()
        seen = verify(str(path), Pattern(FILE), journal, direct=mode == "direct")
        assert seen.findings == []
        if journal.blocks():
            break
    else:
        pytest.fail("no writer got as far as its first flush")


LARGE = (2 * MANY + 1) * BLOCKS
MIDDLE = MANY * BLOCKS  # from here a fork looks


class Halves:
    """A file that two processes look at, damaged in both halves, and what is to be found of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stamped"
        self.pattern = Pattern(FILE)
        self.journal = Journal()
        stamp(str(self.path), self.pattern, LARGE, 1, direct=False, record=self.journal.record)
        for block, origin in ((5, MIDDLE + 7), (9, MIDDLE + 11), (MIDDLE + 11, 9), (LARGE - 1, LARGE - 2)):
            put(self.path, block * BLOCK, self.pattern.block(origin, 1))
        put(self.path, (MIDDLE + 300) * BLOCK, bytes(BLOCK))
        self.expected = [
            (5, "duplicate", MIDDLE + 7),  # which stands in its own place as well, in the other half
            (9, "misdirected", MIDDLE + 11),  # which does not
            (MIDDLE + 11, "misdirected", 9),
            (MIDDLE + 300, "zeroed", None),
            (LARGE - 1, "duplicate", LARGE - 2),
        ]

    def seen(self) -> list[tuple[int, str, int | None]]:
        seen = verify(str(self.path), self.pattern, self.journal, direct=True)
        assert (seen.judged, seen.stopped) == (LARGE, False)
        return [(f.block, f.kind, f.origin.block if f.origin else None) for f in seen.findings]


def in_the_fork(happens: Callable[[int, int], None]) -> Callable[..., int]:
    """A preadv before which, in a fork of this process, something happens; it is given the first byte and the end."""
    here, read = os.getpid(), os.preadv

    def preadv(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if os.getpid() != here:
            happens(offset, offset + len(buffers[0]))
        return read(descriptor, buffers, offset)

    return preadv


def test_two_processes_find_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = Halves(tmp_path)
    alone = verify(str(halves.path), halves.pattern, halves.journal, direct=True).describe()
    read: list[int] = []
    own = os.preadv

    def preadv(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        read.append(offset)
        return own(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    assert halves.seen() == halves.expected
    assert max(read) == (MIDDLE - BLOCKS) * BLOCK, "the second half is the fork's"
    monkeypatch.setattr(integrity, "MANY", LARGE)
    assert halves.seen() == halves.expected
    assert max(read) == (LARGE - BLOCKS) * BLOCK
    assert verify(str(halves.path), halves.pattern, halves.journal, direct=True).describe() == alone


def _killed(start: int, end: int) -> None:
    if start > (MIDDLE + 400) * BLOCK:  # after it has found something
        os.kill(os.getpid(), signal.SIGKILL)


def _stuck(start: int, end: int) -> None:
    time.sleep(600)


def _wrong(start: int, end: int) -> None:
    raise MemoryError


@pytest.mark.parametrize("happens", [_killed, _stuck, _wrong])
def test_a_half_that_the_fork_does_not_tell_of_is_looked_at_here(
    tmp_path: Path, happens: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = Halves(tmp_path)
    monkeypatch.setattr(integrity, "PATIENCE", 0.5)
    monkeypatch.setattr(os, "preadv", in_the_fork(happens))
    assert halves.seen() == halves.expected


def test_a_read_error_in_the_fork_is_reported_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = Halves(tmp_path)

    def fails(start: int, end: int) -> None:
        if start <= (LARGE - 300) * BLOCK < end:
            raise OSError(errno.EIO, "medium error")

    monkeypatch.setattr(os, "preadv", in_the_fork(fails))
    seen = verify(str(halves.path), halves.pattern, halves.journal, direct=True)
    assert seen.errno == "EIO"
    assert [f.block for f in seen.findings if f.kind == "unreadable"] == [LARGE - 300]
    assert seen.judged == LARGE


def test_enough_in_one_half_says_that_not_all_was_looked_at(tmp_path: Path) -> None:
    halves = Halves(tmp_path)
    put(halves.path, MIDDLE * BLOCK, bytes(20 * BLOCKS * BLOCK))
    seen = verify(str(halves.path), halves.pattern, halves.journal, direct=True)
    assert seen.stopped
    assert seen.judged < LARGE
    assert sum(f.kind == "zeroed" for f in seen.findings) >= FINDINGS
    assert [(f.block, f.kind) for f in seen.findings[:2]] == [(5, "misdirected"), (9, "misdirected")]


def test_enough_in_the_first_half_does_not_wait_for_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = Halves(tmp_path)
    put(halves.path, 0, bytes(20 * BLOCKS * BLOCK))
    monkeypatch.setattr(os, "preadv", in_the_fork(_stuck))
    begun = time.monotonic()
    seen = verify(str(halves.path), halves.pattern, halves.journal, direct=True)
    assert (seen.stopped, seen.classes()) == (True, ("zeroed",))
    assert seen.judged < MIDDLE
    assert time.monotonic() - begun < integrity.PATIENCE
