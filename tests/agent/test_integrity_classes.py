# SPDX-License-Identifier: GPL-2.0-only
"""Ten thousand injected faults of each class, and each is called by its name. Pure: no disk, no VM."""

import itertools
import random
import zlib
from collections.abc import Callable

import pytest

from bisector.agent.blocks import BLOCK, BLOCKS, CHUNK, SECTOR, SECTORS, Pattern, Sector, fill, read_sector
from bisector.agent.journal import Journal, overlaid
from bisector.agent.mismatch import Finding, examine, resolve

FAULTS = 10_000
FILE = 0xCAFE0001
SPREAD = 4 * BLOCKS  # blocks that faults are drawn from


class Disk:
    """Blocks of a file in three generations, made once: what a fault puts where it does not belong."""

    def __init__(self) -> None:
        self.pattern = Pattern(FILE)
        self.other = Pattern(FILE + 1)
        self.made: dict[tuple[int, int, int], bytes] = {}

    def block(self, number: int, generation: int, file: int = FILE) -> bytes:
        key = (file, number, generation)
        if key not in self.made:
            pattern = self.pattern if file == FILE else self.other
            chunk = bytes(pattern.chunk(number // BLOCKS, generation))
            for place in range(BLOCKS):
                at = (file, number // BLOCKS * BLOCKS + place, generation)
                self.made[at] = chunk[place * BLOCK : (place + 1) * BLOCK]
        return self.made[key]


@pytest.fixture(scope="module")
def disk() -> Disk:
    return Disk()


def mixed(base: bytes, with_: bytes, sectors: list[int]) -> bytes:
    parts = [(with_ if n in sectors else base)[n * SECTOR : (n + 1) * SECTOR] for n in range(SECTORS)]
    return b"".join(parts)


def some(draw: random.Random, least: int = 1, most: int = SECTORS) -> list[int]:
    return sorted(draw.sample(range(SECTORS), draw.randint(least, most)))


def other_than(draw: random.Random, number: int) -> int:
    return (number + draw.randrange(1, SPREAD)) % SPREAD


# Each takes the disk, a source of chance, a block and its generation; gives the damaged block and what must be found:
# (class, sectors or None for all, origin's block or None, bits).
Injected = tuple[bytes, str, list[int] | None, int | None, int]


def duplicate(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    origin = other_than(draw, number)
    sectors = some(draw) if draw.random() < 0.3 else list(range(SECTORS))
    return (
        mixed(disk.block(number, generation), disk.block(origin, generation), sectors),
        "duplicate",
        sectors,
        origin,
        0,
    )


def misdirected(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    """From another file, from an older generation of another block, or from another place in its own block."""
    good = disk.block(number, generation)
    kind = draw.randrange(3)
    if kind == 0:
        return disk.block(number, generation, FILE + 1), "misdirected", None, number, 0
    if kind == 1:
        origin = other_than(draw, number)
        return disk.block(origin, generation - 1), "misdirected", None, origin, 0
    a, b = draw.sample(range(SECTORS), 2)
    parts = [good[n * SECTOR : (n + 1) * SECTOR] for n in range(SECTORS)]
    parts[a] = parts[b]
    return b"".join(parts), "misdirected", [a], None, 0


def stale(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    return disk.block(number, draw.randrange(1, generation)), "stale", None, number, 0


def torn(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    if draw.random() < 0.5:
        sectors = some(draw, 1, SECTORS - 1)
        return (
            mixed(disk.block(number, generation), disk.block(number, generation - 1), sectors),
            "torn",
            sectors,
            number,
            0,
        )
    cut = draw.randrange(1, SECTORS)
    sectors = list(range(cut, SECTORS)) if draw.random() < 0.5 else list(range(cut))
    return mixed(disk.block(number, 1), bytes(BLOCK), sectors), "torn 1", sectors, None, 0


def zeroed(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    sectors = some(draw) if draw.random() < 0.5 else list(range(SECTORS))
    return mixed(disk.block(number, generation), bytes(BLOCK), sectors), "zeroed", sectors, None, 0


def flipped(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    damaged = bytearray(disk.block(number, generation))
    bits = draw.sample(range(BLOCK * 8), draw.choice((1, 1, 1, 2, 8, 64)))
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged), "flipped", sorted({bit // 8 // SECTOR for bit in bits}), None, len(bits)


def foreign(disk: Disk, draw: random.Random, number: int, generation: int) -> Injected:
    kind = draw.randrange(4)
    if kind == 0:  # from a generation that was never written
        return disk.block(number, generation + 1), "foreign", None, number, 0
    sectors = some(draw)
    data = [draw.randbytes(BLOCK), b"\xff" * BLOCK, (b"Lorem ipsum dolor sit amet " * 160)[:BLOCK]][kind - 1]
    return mixed(disk.block(number, generation), data, sectors), "foreign", sectors, None, 0


@pytest.mark.parametrize("inject", [duplicate, misdirected, stale, torn, zeroed, flipped, foreign])
def test_every_injected_fault_is_called_by_its_name(
    disk: Disk, inject: Callable[[Disk, random.Random, int, int], Injected]
) -> None:
    draw = random.Random(f"bisector {inject.__name__}")
    for _ in range(FAULTS):
        number, generation = draw.randrange(SPREAD), draw.randrange(2, 5)
        damaged, kind, sectors, origin, bits = inject(disk, draw, number, generation)
        if kind == "torn 1":
            kind, generation = "torn", 1
        finding = examine(damaged, number, FILE, disk.block(number, generation), generation)
        assert finding is not None
        current = generation
        resolve([finding], lambda sector: sector.file == FILE and sector.generation == current)  # noqa: B023
        assert finding.kind == kind, finding.describe()
        assert list(finding.sectors) == (list(range(SECTORS)) if sectors is None else sectors)
        assert finding.bits == bits
        if origin is not None:
            assert finding.origin is not None and finding.origin.block == origin


def test_whole_blocks_give_no_finding_and_a_torn_last_write_gives_none(disk: Disk) -> None:
    draw = random.Random("bisector clean")
    for _ in range(FAULTS):
        number, generation = draw.randrange(SPREAD), draw.randrange(2, 4)
        good, coming = disk.block(number, generation), disk.block(number, generation + 1)
        assert examine(good, number, FILE, good, generation) is None
        half = mixed(good, coming, some(draw))
        assert examine(half, number, FILE, good, generation, (generation + 1,)) is None
        read = examine(half, number, FILE, good, generation)  # the same without a write on its way is a fault
        assert read is not None and read.kind == "foreign"


def test_a_fault_beside_a_write_on_its_way_is_still_reported(disk: Disk) -> None:
    good, coming, other = disk.block(5, 2), disk.block(5, 3), disk.block(9, 2)
    found = examine(mixed(mixed(good, coming, [0, 1, 2]), other, [6]), 5, FILE, good, 2, (3,))
    assert found is not None and (found.kind, found.sectors) == ("duplicate", (6,))


def test_exchanged_blocks_are_misdirected_and_copies_are_duplicates(disk: Disk) -> None:
    def finding(number: int, holds: int) -> Finding:
        found = examine(disk.block(holds, 2), number, FILE, disk.block(number, 2), 2)
        assert found is not None
        return found

    exchanged = [finding(3, 4), finding(4, 3)]
    resolve(exchanged, lambda origin: True)
    assert [f.kind for f in exchanged] == ["misdirected", "misdirected"]
    copies = [finding(number, 165) for number in range(160, 165)]  # the report's own figures
    resolve(copies, lambda origin: True)
    assert [f.kind for f in copies] == ["duplicate"] * 5
    assert copies[0].describe() == "block 160: duplicate, holds block 165, generation 2"


def test_words_of_a_chunk_are_those_of_its_sectors_one_by_one() -> None:
    pattern = Pattern(0xFFFFFFFF)
    for number, generation in ((0, 1), (1, 1), (3, 2), (2**20, 2**31), (1, 1)):
        chunk = bytes(pattern.chunk(number, generation))
        for lane in range(CHUNK // SECTOR):
            read = read_sector(chunk[lane * SECTOR : (lane + 1) * SECTOR])
            assert read is not None
            named = (read.file, read.block, read.place, read.generation)
            assert named == (0xFFFFFFFF, number * BLOCKS + lane // SECTORS, lane % SECTORS, generation)


def test_chunks_to_write_and_chunks_to_compare_are_the_same_whichever_was_made_first() -> None:
    for first in (True, False):
        pattern = Pattern(FILE)
        for number, generation in ((40, 3), (41, 3), (2, 4), (41, 3)):
            made = [bytes(pattern.chunk(number, generation, aligned=aligned)) for aligned in (first, not first)]
            assert made == [bytes(Pattern(FILE).chunk(number, generation))] * 2


def test_no_two_sectors_of_a_filling_are_alike_and_fillings_differ() -> None:
    made = [bytearray(CHUNK), bytearray(CHUNK)]
    sums = [fill(data, number) for number, data in enumerate(made)]
    for data, lanes in zip(made, sums, strict=True):
        each = [zlib.crc32(data[at + 32 : at + SECTOR]) for at in range(0, CHUNK, SECTOR)]
        assert lanes == sum(crc << 64 * lane for lane, crc in enumerate(each))
    sectors = {bytes(data[at + 32 : at + SECTOR]) for data in made for at in range(0, CHUNK, SECTOR)}
    assert len(sectors) == 2 * CHUNK // SECTOR


def test_a_single_flipped_bit_anywhere_makes_a_sector_unread() -> None:
    sector = bytearray(Pattern(1).block(7, 1)[:SECTOR])
    for bit in range(SECTOR * 8):
        sector[bit // 8] ^= 1 << bit % 8
        assert read_sector(bytes(sector)) is None
        sector[bit // 8] ^= 1 << bit % 8
    assert read_sector(bytes(sector)) is not None


class TestJournal:
    def test_only_what_was_flushed_is_judged(self) -> None:
        journal = Journal()
        for line in ("W 0 512 1", "F", "W 256 256 2"):
            journal.record(line)
        assert journal.blocks() == 512
        assert (journal.generation(300), journal.on_their_way(300, 301)) == (1, (2,))
        assert journal.on_their_way(0, 256) == ()
        journal.record("F")
        assert (journal.generation(300), journal.on_their_way(300, 301), journal.latest()) == (2, (), 2)
        assert list(journal.runs(256)) == [(0, 256, 1), (256, 512, 2)]

    def test_a_flush_makes_sure_of_nothing_that_another_writer_left(self) -> None:
        journal = Journal()
        for line in ("B", "W 0 512 1", "F", "W 256 256 2", "B", "W 0 256 3", "F"):
            journal.record(line)
        assert (journal.generation(300), journal.on_their_way(300, 301), journal.latest()) == (1, (2,), 3)
        for line in ("W 200 100 4", "F"):
            journal.record(line)
        assert (journal.generation(299), journal.on_their_way(299, 300)) == (4, ())
        assert (journal.generation(300), journal.on_their_way(300, 301)) == (1, (2,))

    def test_runs_laid_over_each_other_are_what_a_map_of_blocks_says(self) -> None:
        draw = random.Random("bisector runs")
        for _ in range(300):
            runs: list[tuple[int, int, int]] = []
            blocks: dict[int, int] = {}
            for _ in range(12):
                first = draw.randrange(40)
                run = (first, first + draw.randrange(1, 12), draw.randrange(1, 4))
                runs = overlaid(runs, run)
                blocks.update(dict.fromkeys(range(run[0], run[1]), run[2]))
            assert {b: g for first, end, g in runs for b in range(first, end)} == blocks
            assert all(a[1] < b[0] or (a[1] == b[0] and a[2] != b[2]) for a, b in itertools.pairwise(runs))

    def test_a_line_that_is_none_is_refused(self) -> None:
        for line in ("", "W 1 2", "F 1", "Z 1 2 3", "W a b c"):
            with pytest.raises(ValueError):
                Journal().record(line)


def test_origin_of_another_file_is_named() -> None:
    finding = Finding(3, "misdirected", tuple(range(SECTORS)), Sector(9, 77, 0, 4))
    assert finding.describe() == "block 3: misdirected, holds block 77 of file 9, generation 4"
