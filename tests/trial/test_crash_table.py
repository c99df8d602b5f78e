# SPDX-License-Identifier: GPL-2.0-only
"""What kernels from 5.4 to 7.0 print when they crash, by the place that prints it, and what is no crash."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bisector.model import ConsoleEvent, EventKind
from bisector.trial.console import Console
from bisector.trial.crash import HINTS, crash_kind, fingerprint
from bisector.trial.logfile import BoundedLog

TABLE = [
    # x86: die(), die_addr(): arch/x86/kernel/dumpstack.c, __die_header(); before 6.10 without "Oops: " in front.
    # The words: arch/x86/kernel/traps.c (exc_divide_error and the others, do_int3, math_error, exc_double_fault).
    ("divide error: 0000 [#1] SMP PTI", "oops"),
    ("divide error: 0000 [#1] PREEMPT SMP KASAN NOPTI", "oops"),
    ("invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", "oops"),
    ("stack segment: 0000 [#1] SMP", "oops"),
    ("segment not present: 0000 [#1] SMP", "oops"),
    ("invalid TSS: 0000 [#1] SMP", "oops"),
    ("int3: 0000 [#1] SMP", "oops"),
    ("overflow: 0000 [#1] SMP", "oops"),
    ("bounds: 0000 [#1] SMP", "oops"),
    ("alignment check: 0000 [#1] SMP", "oops"),
    ("coprocessor segment overrun: 0000 [#1] SMP", "oops"),
    ("simd exception: 0000 [#1] SMP", "oops"),
    ("fpu exception: 0000 [#1] SMP", "oops"),
    ("iret exception: 0000 [#1] SMP", "oops"),
    ("control protection: 0003 [#1] PREEMPT SMP", "oops"),
    ("double fault: 0000 [#1] SMP", "oops"),
    ("traps: PANIC: double fault, error_code: 0x0", "oops"),
    ("PANIC: double fault, error_code: 0x0", "oops"),
    ("general protection fault: 0000 [#1] SMP", "oops"),
    ("general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#2] SMP PTI", "oops"),
    ("Oops: 0000 [#1] SMP PTI", "oops"),
    ("Oops: 0002 [#3] PREEMPT_RT SMP DEBUG_PAGEALLOC NOPTI", "oops"),
    ("Oops: Oops: 0000 [#1] SMP NOPTI", "oops"),
    ("Oops: divide error: 0000 [#1] SMP", "oops"),
    ("Oops: invalid opcode: 0000 [#1] SMP NOPTI", "oops"),
    ("Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP", "oops"),
    # x86: arch/x86/mm/fault.c, show_fault_oops()
    ("BUG: kernel NULL pointer dereference, address: 0000000000000008", "oops"),
    ("BUG: unable to handle page fault for address: ffffc90000000000", "oops"),
    ("BUG: unable to handle kernel paging request at ffffc90000000000", "oops"),  # before 5.1
    ("BUG: TASK stack guard page was hit at 00000000e5a1ffff (stack is 0..1)", "bug"),
    # arm64: arch/arm64/kernel/traps.c, __die(); err has 8 digits at most before 5.18, then 16
    ("Internal error: Oops: 96000004 [#1] SMP", "oops"),
    ("Internal error: Oops: 0000000096000004 [#1] PREEMPT SMP", "oops"),
    ("Internal error: Oops - BUG: 00000000f2000800 [#1] SMP", "oops"),
    ("Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP", "oops"),
    ("Internal error: Oops - CFI: 00000000f2008228 [#1] PREEMPT SMP", "oops"),
    ("Internal error: KASAN: 00000000f2000900 [#1] SMP", "oops"),
    ("Internal error: UBSAN: array index out of bounds: 00000000f2005512 [#1] SMP", "oops"),
    ("Internal error: synchronous external abort: 0000000096000010 [#1] SMP", "oops"),
    ("Internal error: SP/PC alignment exception: 8a000000 [#1] SMP", "oops"),
    ("SError Interrupt on CPU0, code 0x00000000be000011 -- SError", "oops"),
    ("Insufficient stack space to handle exception!", "oops"),
    # arm64: arch/arm64/mm/fault.c, die_kernel_fault()
    ("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008", "oops"),
    ("Unable to handle kernel paging request at virtual address ffff800010000000", "oops"),
    ("Unable to handle kernel write to read-only memory at virtual address ffff800010000000", "oops"),
    ("Unable to handle kernel execute from non-executable memory at virtual address ffff800010000000", "oops"),
    ("Unable to handle kernel access to user memory outside uaccess routines at virtual address 0008", "oops"),
    # lib/bug.c, report_bug(); arch/x86/kernel/traps.c says invalid opcode, or Oops, after it
    ("kernel BUG at drivers/md/raid1.c:123!", "bug"),
    ("kernel BUG at lib/list_debug.c:53!", "bug"),  # CONFIG_BUG_ON_DATA_CORRUPTION
    # mm/kasan/report.c, mm/kfence/report.c, kernel/sched/core.c, mm/page_alloc.c, mm/slub.c
    ("BUG: KASAN: slab-use-after-free in raid1_end_read_request+0x1/0x2 [raid1]", "bug"),
    ("BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143", "bug"),
    ("BUG: sleeping function called from invalid context at mm/slab.h:413", "bug"),
    ("BUG: scheduling while atomic: swapper/0/0/0x00000002", "bug"),
    ("BUG: Bad page state in process kworker/0:1  pfn:12345", "bug"),
    ("BUG kmalloc-64 (Not tainted): Poison overwritten", ""),  # of SLUB's own report, which repairs and goes on
    # kernel/watchdog.c, kernel/watchdog_hld.c, kernel/workqueue.c, kernel/hung_task.c
    ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/0:1:12]", "lockup"),
    ("NMI watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/0:1:12]", "lockup"),
    ("watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1", "lockup"),
    ("watchdog: Watchdog detected hard LOCKUP on cpu 1", "lockup"),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", "lockup"),
    ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 34s!", "lockup"),
    ("INFO: task mdX_resync:77 blocked for more than 120 seconds.", "hung"),
    ("INFO: task kworker/0:1:12 blocked in I/O wait for more than 120 seconds.", "hung"),
    # kernel/panic.c
    ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "panic"),
    ("Kernel panic - not syncing: UBSAN: panic_on_warn set ...", "panic"),
    ("Kernel panic - not syncing: Fatal exception in interrupt", "panic"),
    ("Kernel panic - not syncing: hung_task: blocked tasks", "panic"),
    # the machine goes on, or another line follows that tells of the crash
    ("---[ end Kernel panic - not syncing: sysrq triggered crash ]---", ""),
    ("WARNING: CPU: 0 PID: 1 at block/blk-core.c:1 foo+0x1/0x2", ""),
    ("list_add corruption. prev->next should be next (0), but was 1. (prev=2).", ""),  # lib/list_debug.c
    ("refcount_t: underflow; use-after-free.", ""),  # lib/refcount.c
    ("UBSAN: array-index-out-of-bounds in drivers/md/raid1.c:12:3", ""),  # lib/ubsan.c
    ("kernel tried to execute NX-protected page - exploit attempt? (uid: 0)", ""),  # BUG: unable to handle follows
    ("rcu: INFO: rcu_preempt self-detected stall on CPU", ""),  # kernel/rcu/tree_stall.h: a starved host's, too
    ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", ""),
    ("INFO: task kworker/0:1:12 is blocked on a mutex likely owned by task a:1.", ""),
    ("unchecked MSR access error: RDMSR from 0x10a", ""),
    # user programs: arch/x86/kernel/traps.c, show_signal(); arch/x86/mm/fault.c, show_signal_msg()
    ("traps: a.out[99] general protection fault ip:55 sp:7f error:0 in a.out", ""),
    ("traps: a.out[99] trap divide error ip:55 sp:7f error:0 in a.out", ""),
    ("traps: a.out[99] trap invalid opcode ip:55 sp:7f error:0 in a.out", ""),
    ("a.out[99]: segfault at 0 ip 0 sp 0 error 14", ""),
    ("a.out[99]: unhandled exception: undefined instruction, ESR 0x2000000", ""),
    ("EXT4-fs error (device vda): some BUG: in a text", ""),
    ("a program says Oops: and blocked for more than it likes, Internal error: none", ""),
]  # fmt: skip
BEFORE = {
    "time": "[   12.345678] {}",
    "caller": "[   12.345678][  T123] {}",
    "level": "<0>[   12.345678] {}",
    "no time": "{}",  # CONFIG_PRINTK_TIME is not set
    "terminal": "\x1b[0m[   12.345678] {}",
    "terminal, no time": "\x1b[0;1m{}",
    "carriage return": "\r[   12.345678] {}",
    "prompt": "# [   12.345678] {}",
    "another message": "[   12.3] nvme nvme0: I/O 5 QID 1 timeout, reset controller[   12.345678] {}",
    "a program": "progress: 17 %, [3/4] written[   12.345678][    C1] {}",
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("text", "kind"), TABLE)
def test_what_kernels_print(text: str, kind: str, before: str) -> None:
    line = BEFORE[before].format(text)
    assert crash_kind(line) == kind
    if kind:
        assert any(hint in line for hint in HINTS), "the cheap search must not miss it"


@pytest.mark.parametrize("text", ["Kernel panic - not syncing: x", "divide error: 0000 [#1] SMP PTI"])
def test_the_clearest_are_seen_behind_any_text(text: str) -> None:
    assert crash_kind(f"a program that ended no line {text}")


def test_a_crash_of_the_inner_guest_is_none_of_the_vm() -> None:
    assert crash_kind("[    5.1] bisector TOKEN guest x [ 1.0] Kernel panic - not syncing: of the inner guest") == ""


def seen(data: bytes, tmp_path: Path) -> tuple[list, str]:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    assert os.write(theirs, data) == len(data)
    os.close(theirs)
    console = Console(ours, BoundedLog(tmp_path / "log"), (), token="TOKEN", began=time.monotonic())
    events = []
    while not console.eof:
        events += console.read(0.1)
    crashes = [event for event in events if isinstance(event, ConsoleEvent) and event.kind is EventKind.CRASH]
    return events, " ".join(crash.name for crash in crashes)


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 20_000 + b"[   12.3] Kernel panic - not syncing: x\r\n",
        b"x" * 20_000 + b"[   12.3] Kernel panic - not syncing: x",
        b"x" * 50_000 + b"[   12.3] nvme: reset controller[   12.3] BUG: kernel NULL pointer dereference, address: 0\n",
        b"\xff\xfe[\n[   12.3] Kernel panic - not syncing\n",
        b"[   12.3] Kernel panic - not syncing: x\r\r\n",
        b"[   12.3] bisector TOKEN step probe begin[   12.4] Kernel panic - not syncing: x\n",
        b"[   12.3] BUG: kernel NULL pointer dereference, address: 0[   12.3] bisector TOKEN step probe begin\n",
    ],
)
def test_wherever_in_the_stream_it_stands(data: bytes, tmp_path: Path) -> None:
    assert seen(data, tmp_path)[1] in ("panic", "oops")


def test_a_marker_beside_a_crash_is_read_too(tmp_path: Path) -> None:
    text = b"[   12.3] bisector TOKEN step probe begin[   12.4] Kernel panic - not syncing: x\n"
    events, _ = seen(text, tmp_path)
    assert [event.words for event in events if not isinstance(event, ConsoleEvent)] == [("step", "probe", "begin")]


RECORDED = """\
[   12.301234] divide error: 0000 [#1] PREEMPT SMP PTI
[   12.301235] CPU: 0 PID: 9 Comm: mdX_raid10 Not tainted 6.6.8 #1
[   12.301236] RIP: 0010:raid10_sync_request+0x12/0x40 [raid10]
[   12.301237] Call Trace:
[   12.301238]  <TASK>
[   12.301239]  ? die+0x36/0x90
[   12.301240]  ? do_trap+0xda/0x100
[   12.301241]  md_do_sync+0x8c1/0xfd0
[   12.301242]  md_thread+0xab/0x190
"""
RECORDED_ARM = """\
[   12.301234] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
[   12.301235] Internal error: Oops: 0000000096000004 [#1] SMP
[   12.301236] pc : raid1_read_request+0x1c/0x300 [raid1]
[   12.301237] Call trace:
[   12.301238]  raid1_read_request+0x1c/0x300 [raid1] (P)
[   12.301239]  raid1_make_request+0x44/0x90 [raid1]
[   12.301240]  md_handle_request+0x10/0x100
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (RECORDED, "oops: raid10_sync_request < md_do_sync < md_thread"),
        (RECORDED_ARM, "oops: raid1_read_request < raid1_make_request < md_handle_request"),
    ],
)
def test_the_fingerprint_of_a_whole_trace(log: str, expected: str) -> None:
    assert fingerprint(log.splitlines()) == expected
