# SPDX-License-Identifier: GPL-2.0-only
"""Blocks for the inner guest: a shell here with the guest's busybox does the guest's part."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisector.agent.blocks import BLOCK, BLOCKS, Pattern
from bisector.agent.guest_blocks import GuestBlocks
from bisector.agent.inner_blocks import (
    REGION,
    SERIAL,
    TRIES,
    Chunks,
    Exchange,
    NoAnswer,
    StampRun,
    extents_command,
    extents_in,
    read_command,
    spans,
)
from bisector.agent.integrity import Verification, judge
from bisector.agent.outcome import Outcome
from bisector.agent.plan import Step
from bisector.agent.qemu import Qemu
from bisector.agent.stamps import StampTarget

Answer = tuple[int | None, str]

needs_busybox = pytest.mark.skipif(not shutil.which("busybox"), reason="busybox-static is not installed")


def shell(command: str) -> Answer:
    """As the guest's init does it; the tool beside busybox is the one that is packed for the guest."""
    words = ["busybox", "sh", "-c", command.replace("dd if=", "busybox dd if=").replace("| dd of=", "| busybox dd of=")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


class BlocksSetup:
    """An exchange, a file that is stamped, and its journal."""

    def __init__(self, folder: Path, *, direct: bool = False, mapped: bool = False) -> None:
        self.exchange = Exchange(str(folder / "exchange"))
        self.path = folder / "stamped"
        self.stamped = StampTarget("usr", Pattern(9), mapped=mapped)
        self.lines: list[str] = []
        self.direct = direct

    def record(self, line: str) -> None:
        self.lines.append(line)
        self.stamped.journal.record(line)

    def stamping(self, blocks: int, generations: int = 1) -> StampRun:
        rounds = iter([True] * (generations - 1) + [False])
        nodes = (self.exchange.path, str(self.path))
        return StampRun(
            self.exchange,
            nodes,
            self.stamped,
            blocks,
            direct=self.direct,
            record=self.record,
            more=lambda: next(rounds),
        )

    def stamp(self, blocks: int, generations: int = 1) -> None:
        for command in self.stamping(blocks, generations).commands:
            code, text = shell(command)
            assert code == 0, text

    def verify(self, run_command: Callable[[str], Answer] = shell) -> Verification:
        chunks = Chunks(self.exchange, (str(self.path), self.exchange.path), run_command, direct=self.direct)
        return judge(chunks, self.stamped.pattern, self.stamped.journal)

    def overwrite(self, block: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(block * BLOCK)
            file.write(data)


def fails(*bad: int) -> Callable[[str], Answer]:
    """A guest in which no read that takes in one of the ``bad`` blocks succeeds."""

    def run_command(command: str) -> Answer:
        words = dict(word.split("=", 1) for word in command.split() if "=" in word)
        unit = int(words["bs"]) // BLOCK
        first, count = int(words["skip"]) * unit, int(words["count"]) * unit
        if any(first <= block < first + count for block in bad):
            return 1, f"0+0 records in\n0+0 records out\ndd: error reading '{words['if']}': Input/output error"
        return shell(command)

    return run_command


@needs_busybox
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("blocks", [1, 256, 300, REGION + 7])
def test_what_the_guest_copies_is_what_the_agent_made(tmp_path: Path, blocks: int, direct: bool) -> None:
    setup = BlocksSetup(tmp_path, direct=direct)
    setup.stamp(blocks)
    assert setup.path.read_bytes() == b"".join(setup.stamped.pattern.block(at, 1) for at in range(blocks))
    seen = setup.verify()
    assert (seen.classes(), seen.judged, seen.errno) == (("clean",), blocks, "")


@needs_busybox
def test_regions_are_reported_before_and_after_and_even_generations_come_from_the_end(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    setup.stamp(REGION + 3, generations=2)
    one, two = f"W 0 {REGION} ", f"W {REGION} 3 "
    assert setup.lines == ["B", f"{one}1", "F", f"{two}1", "F", f"{two}2", "F", f"{one}2", "F"]
    assert setup.path.stat().st_size == (REGION + 3) * BLOCK
    assert setup.verify().classes() == ("clean",)


@needs_busybox
def test_damage_is_called_by_its_name(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    setup.stamp(600)
    setup.overwrite(40, setup.stamped.pattern.block(41, 1))
    setup.overwrite(599, bytes(BLOCK))
    seen = setup.verify()
    assert [(finding.block, finding.kind) for finding in seen.findings] == [(40, "duplicate"), (599, "zeroed")]


@needs_busybox
def test_unreadable_blocks_are_reported_one_by_one_and_the_rest_is_judged(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    setup.stamp(1000)
    seen = setup.verify(fails(3, 777))
    assert [(finding.block, finding.kind) for finding in seen.findings] == [(3, "unreadable"), (777, "unreadable")]
    assert (seen.judged, seen.errno) == (1000, "EIO")


@needs_busybox
def test_where_all_is_unreadable_it_ends_soon_and_counts_what_it_did_not_try_as_unjudged(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    setup.stamp(1000)
    commands: list[str] = []
    broken = fails(*range(1000))

    def run_command(command: str) -> Answer:
        commands.append(command)
        return broken(command)

    seen = setup.verify(run_command)
    assert seen.classes() == ("unreadable",)
    assert 0 < seen.judged == len(seen.findings) < 1000
    assert len(commands) == TRIES


@needs_busybox
def test_blocks_that_a_shorter_file_lacks_are_unreadable(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    setup.stamp(520)
    os.truncate(setup.path, 518 * BLOCK)
    seen = setup.verify()
    assert [(finding.block, finding.kind) for finding in seen.findings] == [(518, "unreadable"), (519, "unreadable")]


@needs_busybox
@pytest.mark.skipif(not shutil.which("filefrag"), reason="e2fsprogs is not installed")
def test_where_a_file_lies_is_found_by_the_guests_own_tool(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path, mapped=True)
    setup.stamp(700)
    code, text = shell(extents_command(str(setup.path), setup.exchange.path))
    assert code == 0, text
    if "FIBMAP" in text or "not supported" in text:
        pytest.skip("this file system does not tell")
    table = subprocess.run(["filefrag", "-s", "-v", "-b4096", setup.path], capture_output=True, text=True, check=True)
    assert "last" in table.stdout
    extents = setup.stamped.journal.extents
    assert sum(extent.count for extent in extents) == 700
    assert extents[0].first == 0 and all(f"{extent.place}.." in table.stdout for extent in extents)


def test_extents_of_which_the_place_is_not_known_are_left_out() -> None:
    table = """Filesystem type is: ef53
File size of stamped is 33554432 (65536 blocks of 512 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..   16383:     278528..    294911:  16384:
   1:    16384..   32767:     294920..    311303:  16384:     294912: unwritten
   2:    32768..   32775:          0..         7:      8:             unknown_loc,delalloc
   3:    32776..   32783:     311305..    311312:      8:     311304: last,eof
stamped: 4 extents found
"""
    found = [(extent.first, extent.place, extent.count) for extent in extents_in(table)]
    assert found == [(0, 34816, 2048), (2048, 36865, 2048)]
    assert extents_in("stamped: FIBMAP/FIEMAP unsupported\n") == []


@given(st.integers(0, 3 * REGION), st.integers(1, 2 * REGION))
def test_spans_cover_a_run_in_order_in_units_that_fit(first: int, count: int) -> None:
    at = first
    for a, b, unit in spans(first, first + count):
        assert a == at and a < b and unit in (1, BLOCKS) and a % unit == 0 and b % unit == 0
        assert unit == BLOCKS or b - a < 2 * BLOCKS
        at = b
    assert at == first + count


@needs_busybox
def test_a_name_with_blanks_and_quotes_is_one_word(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    setup.path = tmp_path / "it's a file"
    setup.stamp(2)
    code, text = shell(read_command(str(setup.path), setup.exchange.path, 0, 2, 1, direct=False))
    assert code == 0, text


class Life:
    """As much of a running QEMU as stamp and verify need."""

    paused = False
    exit: int | None = None

    def __init__(self, path: str) -> None:
        self.path = path

    def disk(self, serial: str) -> str:
        assert serial == SERIAL
        return self.path


class Pausing:
    """Guest and Qemu in one, which pauses once, before the command ``at``; that command ends after the pause."""

    def __init__(self, folder: Path, at: int) -> None:
        self.blocks = GuestBlocks(str(folder / "exchange"), self.run_command, self.unanswered)
        self.life = Life(str(folder / "exchange"))
        self.path = str(folder / "stamped")
        self.commands = 0
        self.at = at
        self.kept = ""

    @property
    def qemu(self) -> Qemu:
        return cast(Qemu, self.life)

    def run_command(self, qemu: Any, command: str, seconds: float) -> Answer:
        self.blocks.drop()  # as Guest does it
        self.commands += 1
        if self.commands == self.at:
            self.life.paused, self.kept = True, command
            return None, ""
        return shell(command)

    def unanswered(self, qemu: Any, seen: Outcome) -> Outcome:
        return replace(seen, exit=None, detail=f"the guest paused; {seen.detail}")

    def resume(self) -> Outcome:
        self.life.paused = False
        code, text = shell(self.kept)
        return self.blocks.go_on(Outcome(exit=code, detail=text), 60.0)


@needs_busybox
class TestPause:
    def test_stamp_goes_on_with_the_region_after_it(self, tmp_path: Path) -> None:
        guest, stamped = Pausing(tmp_path, at=2), StampTarget("usr", Pattern(9))
        step = Step("write", "stamp", ("usr",), where="guest", size=(2 * REGION + 1) * BLOCK)
        seen = guest.blocks.stamp(guest.qemu, guest.path, step, stamped, stamped.journal.record, 60.0)
        assert (seen.done, seen.exit, seen.count, stamped.journal.blocks()) == (True, None, REGION, REGION)
        seen = guest.resume()
        assert (seen.exit, seen.count) == (0, 2 * REGION + 1)
        assert stamped.journal.blocks() == 2 * REGION + 1 and guest.commands == 3
        look = guest.blocks.verify(guest.qemu, guest.path, [], stamped, direct=False, seconds=60.0)
        assert (look.exit, look.blocks) == (0, ("clean",))

    def test_verify_begins_anew(self, tmp_path: Path) -> None:
        guest, stamped = Pausing(tmp_path, at=5), StampTarget("usr", Pattern(9))
        step = Step("write", "stamp", ("usr",), where="guest", size=2 * REGION * BLOCK)
        guest.blocks.stamp(guest.qemu, guest.path, step, stamped, stamped.journal.record, 60.0)
        seen = guest.blocks.verify(guest.qemu, guest.path, ["true"], stamped, direct=False, seconds=60.0)
        assert (seen.exit, seen.blocks) == (None, ())
        seen = guest.resume()
        assert (seen.exit, seen.blocks, seen.count) == (0, ("clean",), 2 * REGION)

    def test_a_write_that_fails_after_the_pause_ends_the_stamp_with_its_error(self, tmp_path: Path) -> None:
        guest, stamped = Pausing(tmp_path, at=2), StampTarget("usr", Pattern(9))
        step = Step("write", "stamp", ("usr",), where="guest", size=3 * REGION * BLOCK)
        guest.blocks.stamp(guest.qemu, guest.path, step, stamped, stamped.journal.record, 60.0)
        guest.kept = "echo 'dd: error writing: No space left on device'; exit 1"
        seen = guest.resume()
        assert (seen.exit, seen.errno, seen.count, seen.failed) == (1, "ENOSPC", REGION, 1)
        assert guest.commands == 2 and stamped.journal.blocks() == REGION

    def test_a_read_that_fails_after_the_pause_is_looked_at_again(self, tmp_path: Path) -> None:
        guest, stamped = Pausing(tmp_path, at=2), StampTarget("usr", Pattern(9))
        step = Step("write", "stamp", ("usr",), where="guest", size=8 * BLOCK)
        guest.blocks.stamp(guest.qemu, guest.path, step, stamped, stamped.journal.record, 60.0)
        guest.blocks.verify(guest.qemu, guest.path, [], stamped, direct=False, seconds=60.0)
        guest.kept = "echo 'dd: error reading: Input/output error'; exit 1"
        seen = guest.resume()
        assert (seen.exit, seen.blocks, seen.count) == (0, ("clean",), 8)

    def test_what_failed_is_reported_with_its_error(self, tmp_path: Path) -> None:
        guest, stamped = Pausing(tmp_path, at=0), StampTarget("usr", Pattern(9))
        step = Step("write", "stamp", ("usr",), where="guest", size=8 * BLOCK)
        seen = guest.blocks.stamp(guest.qemu, "/dev/full", step, stamped, stamped.journal.record, 60.0)
        assert (seen.exit, seen.errno, seen.count, seen.failed) == (1, "ENOSPC", 0, 1)
        assert stamped.journal.blocks() == 0


def test_a_guest_that_gives_no_answer_is_not_judged(tmp_path: Path) -> None:
    setup = BlocksSetup(tmp_path)
    for line in ("B", "W 0 8 1", "F"):
        setup.record(line)
    with pytest.raises(NoAnswer):
        setup.verify(lambda command: (None, ""))
