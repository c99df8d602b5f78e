# SPDX-License-Identifier: GPL-2.0-only
"""Crashes of a Linux kernel as its console shows them. Pure.

The words are the kernel's own: kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c, lib/bug.c, arch/x86/mm/fault.c,
arch/x86/kernel/traps.c and dumpstack.c, as of 6.18 and back to 5.10. A WARNING is no crash: the machine goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HINTS = ("Kernel panic", "Oops", "BUG:", "kernel BUG at", "general protection fault", "LOCKUP", "lockup", "blocked for")
"""One of these stands in each line that ``crash_kind`` knows; looking for them first is cheap."""

# What printk puts before a message: level, time, caller (CONFIG_PRINTK_CALLER).
_PREFIX = r"^(?:<\d+>)?(?:\[\s*\d+\.\d+\])?(?:\[\s*[TC]\d+\])?\s*"
_CRASH = re.compile(
    _PREFIX + r"(?:(?P<lockup>(?:NMI )?watchdog: (?:BUG: soft lockup|(?:CPU ?\d+: )?Watchdog detected hard LOCKUP)"
    r"|BUG: (?:soft|workqueue) lockup)"
    r"|(?P<hung>INFO: task .{1,200} blocked for more than \d+ seconds)"
    r"|(?P<panic>Kernel panic - not syncing)"
    r"|(?P<oops>BUG: kernel NULL pointer|BUG: unable to handle|Oops: |general protection fault[,:])"
    # user programs die of "traps: NAME[PID] general protection fault ip:", which is none of ours
    r"|(?P<bug>kernel BUG at |BUG: ))"
)
_FRAME = re.compile(r"(?:RIP: \w+:|\s)(?P<unsure>\? )?(?P<name>[A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_SUFFIX = re.compile(r"\.(?:isra|cold|part|constprop|llvm|lto_priv)(?:\.\d+)*")
_REPORTERS = re.compile(
    r"^(?:dump_stack|show_stack|print_|v?panic|oops_|die|__die|page_fault_oops|__warn|report_|kasan_|asm_|exc_|do_error_trap"
    r"|check_panic|watchdog|__schedule$|schedule$|schedule_timeout|io_schedule)"
)
DEPTH = 3  # functions that make a fingerprint


def crash_kind(line: str) -> str:
    """Kind of crash that a console line begins: panic, oops, bug, lockup, hung; "" for any other line."""
    match = _CRASH.match(line)
    return (match.lastgroup or "") if match else ""


def fingerprint(lines: Iterable[str]) -> str:
    """Kind and top functions of the first crash in a console log, such as ``oops: raid1_read_request < md_handle``.

    The functions that report crashes are left out, so that two ways of telling one cause look alike. "" without crash.
    """
    kind = ""
    functions: list[str] = []
    for line in lines:
        kind = kind or crash_kind(line)
        match = _FRAME.search(line) if kind else None
        if match and not match["unsure"]:
            name = _SUFFIX.sub("", match["name"])
            if not _REPORTERS.match(name) and name not in functions:
                functions.append(name)
        if len(functions) == DEPTH:
            break
    return f"{kind}: {' < '.join(functions)}" if functions else kind
