# SPDX-License-Identifier: GPL-2.0-only
"""The console: floods, endless lines, chunks cut anywhere, crashes of each kind."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.agent.plan import Plan, Watch
from bisector.model import ConsoleEvent, Ending, EventKind
from bisector.trial.console import EVENTS, Console, Marker, QemuError
from bisector.trial.crash import HINTS, crash_kind, fingerprint
from bisector.trial.logfile import BoundedLog

DATA = Path(__file__).with_name("data")
WATCHES = (
    Watch("a/0", "vm", r"rescheduling sector \d+$", False),
    Watch("b/0", "vm", r"^\[ .*Disk failure", False),
    Watch("c/0", "vm", "Größe", False),
)


def read_all(chunks: list[bytes], log: BoundedLog, watches: tuple[Watch, ...] = WATCHES) -> tuple[list, Console]:
    ours, theirs = os.pipe()

    def write() -> None:
        for chunk in chunks:
            os.write(theirs, chunk)
            time.sleep(0)
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    console = Console(ours, log, watches, token="TOKEN", began=time.monotonic())
    events: list = []
    while not console.eof:
        events += console.read(1.0)
    writer.join()
    os.close(ours)
    log.close()
    return events, console


def plain(events: list) -> list[tuple]:
    """Events without their times."""
    return [
        s.words if isinstance(s, Marker) else (s.text,) if isinstance(s, QemuError) else (s.kind, s.name, s.text)
        for s in events
    ]


@pytest.fixture
def log(tmp_path: Path) -> BoundedLog:
    return BoundedLog(tmp_path / "console.log")


def test_a_recorded_trial_is_read(log: BoundedLog) -> None:
    events, _ = read_all([(DATA / "raid1-leg-failed-6.18.5.log").read_bytes()], log)
    words = [" ".join(s.words) for s in events if isinstance(s, Marker)]
    assert words == ["begin", "storage", "step probe begin", "step probe end", "end"]
    events = [s for s in events if isinstance(s, ConsoleEvent)]
    assert [e.name for e in events].count("a/0") == 10
    assert [e.name for e in events].count("b/0") == 1


TEXT = (
    (DATA / "raid1-leg-failed-6.18.5.log").read_bytes()
    + "[    9.0] Größe: ein Gerät\r\n".encode()
    + (DATA / "sysrq-crash-6.18.5.log").read_bytes()
)


def fingerprints(events: list, console: Console) -> list[str]:
    shown = [event for event in events if isinstance(event, ConsoleEvent) and event.kind is EventKind.CRASH]
    return [console.with_trace(event).fingerprint for event in shown]


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=40))
def test_how_the_stream_is_cut_changes_nothing(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    edges = [0, *sorted(cuts), len(TEXT)]
    chunks = [TEXT[a:b] for a, b in itertools.pairwise(edges) if a < b]
    cut, first = read_all(chunks, BoundedLog(folder / "a"))
    whole, second = read_all([TEXT], BoundedLog(folder / "b"))
    assert plain(cut) == plain(whole)
    assert fingerprints(cut, first) == fingerprints(whole, second) != []
    assert (folder / "a").read_bytes() == TEXT


def test_order_on_the_console_is_order_in_time(log: BoundedLog) -> None:
    text = b"[ 1.0] kernel BUG at fs/x.c:1!\n[ 1.0] md: rescheduling sector 1\n"
    events, _ = read_all([text], log)
    assert [s.kind for s in events] == ["crash", "watch"]
    assert events[0].at < events[1].at


def test_a_watch_and_a_crash_on_one_line_have_one_time(log: BoundedLog) -> None:
    events, _ = read_all([b"[ 1.0] BUG: KASAN: use-after-free in x\n"], log, (Watch("k/0", "vm", "KASAN", True),))
    assert [s.kind for s in events] == ["watch", "crash"]
    assert events[0].at == events[1].at


def test_a_flood_of_one_line_is_reported_a_few_times(log: BoundedLog) -> None:
    events, _ = read_all([b"[ 1.0] md: rescheduling sector 7\n" * 1000] * 20, log)
    assert len(events) == EVENTS


def test_an_endless_line_is_cut_and_the_next_one_read(log: BoundedLog) -> None:
    events, console = read_all([b"x" * 65536] * 64 + [b"\n[ 1.0] bisector TOKEN end\n"], log)
    assert plain(events) == [("end",)]
    assert max(map(len, console.last_lines())) <= 500


def test_what_stands_past_the_bound_of_a_line_is_not_read(log: BoundedLog) -> None:
    events, _ = read_all([b"y" * 20000 + b" Disk failure rescheduling sector 1\nbisector TOKEN end\n"], log)
    assert plain(events) == [("end",)]


def test_the_last_line_needs_no_end(log: BoundedLog) -> None:
    assert plain(read_all([b"bisector TOKEN end"], log)[0]) == [("end",)]


def test_markers_of_another_trial_are_noise(log: BoundedLog) -> None:
    assert read_all([b"bisector OTHER end\nbisector TOKEN2 end\nbisector TOKENend\n"], log)[0] == []


def test_the_log_keeps_both_ends_within_its_bound(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "log")
    for number in range(200_000):
        log.write(b"line %029d of the console\n" % number)
    log.close()
    text = (tmp_path / "log").read_bytes()
    assert 4 << 20 < len(text) < (4 << 20) + 100
    assert text.startswith(b"line %029d" % 0) and text.endswith(b"%029d of the console\n" % 199_999)
    left_out = 200_000 * 50 - (4 << 20)
    assert b"\n[... %d bytes left out ...]\n" % left_out in text


# ---- through a whole trial --------------------------------------------------------------------------------------


FLOOD = b"[    1.000000] nvme1n1: operation not supported error, dev nvme1n1, sector 2055\n" * 800


def alone(watches: tuple[Watch, ...]) -> float:
    """Seconds of a processor for nothing but looking for the watches' expressions in as many lines, here and now."""
    expressions = [re.compile(watch.pattern) for watch in watches]
    begin = time.process_time()
    for _ in range(300):
        for line in FLOOD.decode().splitlines():
            for expression in expressions:
                expression.search(line)
    return 5 * (time.process_time() - begin)


def test_a_console_is_read_in_four_times_what_its_watches_take_alone(log: BoundedLog) -> None:
    ours, theirs = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(ours)
        for _ in range(1500):
            os.write(theirs, FLOOD)
        os._exit(0)
    os.close(theirs)
    watches = (Watch("a/0", "vm", r"LBA \d+, 0 blocks", True), Watch("b/0", "vm", r"(foo|bar)\d+ baz", True))
    console = Console(ours, log, watches, token="TOKEN", began=time.monotonic())
    begin = time.process_time()  # not the clock on the wall: the machine may be busy with other things
    while not console.eof:
        console.read(1.0)
    seconds = time.process_time() - begin
    os.waitpid(writer, 0)
    os.close(ours)
    log.close()
    assert seconds < 4 * alone(watches)


def test_a_flood_does_not_cost_the_clock(setup) -> None:
    setup.play("""
        begin()
        chunk = b'[    1.000000] nvme1n1: operation not supported error, dev nvme1n1, sector 2055\\n' * 800
        while True:
            os.write(2, chunk)
    """)
    watches = (Watch("a/0", "vm", r"LBA \d+, 0 blocks", True), Watch("b/0", "vm", r"(foo|bar)\d+ baz", True))
    observation = setup.run(Plan(steps=(), deadline=1.0, watches=watches))
    assert observation.ending is Ending.DEADLINE
    assert 6 < observation.timing.total < 12
    assert (setup.folder / "console.log").stat().st_size < 5 << 20
    left_out = re.search(r"\[\.\.\. (\d+) bytes left out", setup.log)
    assert left_out is not None and int(left_out[1]) > 10e6, "that was no flood"
    assert setup.clean()


def test_a_decisive_line_is_found_in_a_flood(setup) -> None:
    setup.play("""
        begin()
        chunk = b'[    1.000000] nvme1n1: operation not supported error, dev nvme1n1, sector 2055\\n' * 800
        for _ in range(1000): os.write(2, chunk)
        say('[    2.0] nvme1n1: I/O Cmd(0x2) @ LBA 2055, 0 blocks, I/O Error (sct 0x0 / sc 0x2)')
        while True: os.write(2, chunk)
    """)
    observation = setup.run(Plan(steps=(), watches=(Watch("a/0", "vm", r"LBA \d+, 0 blocks", True),)))
    assert observation.ending is Ending.DECISIVE
    assert observation.console[0].text.endswith("(sct 0x0 / sc 0x2)")


def test_a_line_that_never_ends_does_not_cost_the_clock(setup) -> None:
    setup.play("""
        begin()
        for _ in range(64): os.write(2, b'x' * 65536)
        time.sleep(600)
    """)
    observation = setup.run(Plan(steps=(), deadline=0.5))
    assert observation.ending is Ending.DEADLINE
    assert observation.timing.total < 12


# ---- crashes ----------------------------------------------------------------------------------------------------

CRASHES = [
    ("[    0.764753] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "panic"),
    ("[   12.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008", "oops"),
    ("[   12.000001] BUG: unable to handle page fault for address: ffffc90000000000", "oops"),
    ("[   12.000001][  T123] Oops: Oops: 0000 [#1] SMP NOPTI", "oops"),
    ("[   12.1] Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000", "oops"),
    ("[   12.1] general protection fault: 0000 [#1] SMP", "oops"),
    ("[   12.1] kernel BUG at drivers/md/raid1.c:123!", "bug"),
    ("[   12.1] BUG: KASAN: slab-use-after-free in foo+0x1/0x2", "bug"),
    ("[   12.1] BUG: scheduling while atomic: swapper/0/0/0x00000002", "bug"),
    ("kernel BUG at mm/slub.c:1!", "bug"),  # CONFIG_PRINTK_TIME is not set
    ("[   60.1] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/0:1:12]", "lockup"),
    ("[   60.1] watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1", "lockup"),
    ("[   60.1] NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", "lockup"),
    ("[  242.1] INFO: task mdX_resync:77 blocked for more than 120 seconds.", "hung"),
]


@pytest.mark.parametrize(("line", "kind"), CRASHES)
def test_kinds_of_crash(line: str, kind: str) -> None:
    assert crash_kind(line) == kind
    assert any(hint in line for hint in HINTS), "the cheap search must not miss it"


@pytest.mark.parametrize(
    "line",
    [
        "[    5.1] WARNING: CPU: 0 PID: 1 at block/blk-core.c:1 foo+0x1/0x2",
        "[    5.1] traps: a.out[99] general protection fault ip:55 sp:7f error:0 in a.out",
        "[    5.1] a.out[99]: segfault at 0 ip 0 sp 0 error 14",
        "[    5.1] bisector TOKEN guest x [ 1.0] Kernel panic - not syncing: of the inner guest",
        "[    5.1] EXT4-fs error (device vda): some BUG: in a text",
        "[    5.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[    5.1] printk: DEBUG: x",
        "",
    ],
)
def test_what_is_no_crash(line: str) -> None:
    assert crash_kind(line) == ""


def test_a_recorded_crash_has_its_fingerprint() -> None:
    lines = (DATA / "sysrq-crash-6.18.5.log").read_text().splitlines()
    assert fingerprint(lines) == "panic: sysrq_handle_crash < __handle_sysrq < write_sysrq_trigger"
    assert fingerprint((DATA / "raid1-leg-failed-6.18.5.log").read_text().splitlines()) == ""


def test_a_fingerprint_does_not_hang_on_addresses_or_the_compiler() -> None:
    def trace(offset: str, suffix: str) -> list[str]:
        return [
            f"[ 9.{offset}] BUG: unable to handle page fault for address: ffffc90000{offset}",
            f"[ 9.{offset}] RIP: 0010:raid1_read_request{suffix}+0x{offset}/0x300 [raid1]",
            f"[ 9.{offset}]  ? asm_exc_page_fault+0x{offset}/0x30",
            f"[ 9.{offset}]  raid1_make_request{suffix}+0x{offset}/0x100",
            f"[ 9.{offset}]  md_handle_request+0x{offset}/0x200",
        ]

    expected = "oops: raid1_read_request < raid1_make_request < md_handle_request"
    assert fingerprint(trace("12", "")) == fingerprint(trace("99", ".isra.0.cold")) == expected
