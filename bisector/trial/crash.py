# SPDX-License-Identifier: GPL-2.0-only
"""Crashes of a Linux kernel as its console shows them. Pure.

The words are the kernel's own, of x86 and arm64, from 5.4 to 7.0; tests/trial/test_crash_table.py names for each the
file that prints it. No crash, because the machine goes on, is a WARNING, list corruption or a refcount that became a
WARNING, a report of UBSAN, and a stall that RCU noticed (a starved host makes those, too): a recipe that means one of
them asks for its line (``console:``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bisector.agent.plan import MARKER

HINTS = (
    *("Kernel panic", "Oops", "BUG:", "kernel BUG at", "general protection fault", "LOCKUP", "lockup", "blocked"),
    *(" [#", "Internal error", "Unable to handle kernel", "double fault", "Insufficient stack", "SError"),
)
"""One of these stands in each line that ``crash_kind`` knows; looking for them first is cheap."""

STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])?(?: |$)")
"""What printk puts before a message: level, time, caller (CONFIG_PRINTK_CALLER)."""

_CRASH = re.compile(
    r"(?P<lockup>(?:NMI )?watchdog: (?:BUG: soft lockup|(?:CPU ?\d+: )?Watchdog detected hard LOCKUP)"
    r"|BUG: (?:soft|workqueue) lockup)"
    r"|(?P<hung>INFO: task .{1,200} blocked (?:in I/O wait )?for more than \d+ seconds)"
    r"|(?P<panic>Kernel panic - not syncing)"
    r"|(?P<oops>BUG: kernel NULL pointer|BUG: unable to handle|Oops: |general protection fault[,:]"
    # user programs die of "traps: NAME[PID] general protection fault ip:", which is none of ours
    r"|(?:traps: )?PANIC: double fault|Unable to handle kernel |Internal error: |Insufficient stack space to handle"
    r"|SError Interrupt on CPU)"
    r"|(?P<bug>kernel BUG at |BUG: )"
)
# Distinct enough to be looked for without a stamp and anywhere in a line: behind a program's text, say.
_ANYWHERE = re.compile(
    r"(?P<panic>(?<!end )Kernel panic - not syncing)"
    # "divide error: 0000 [#1] SMP": die() of x86 before 6.10 has no "Oops: " in front
    r"|(?P<oops>[\w)]: [0-9a-f]{4,16} \[#\d+\])"
)
_NOISE = re.compile(r"(?:\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x20]|<\d+>)*")  # a terminal's codes, and a level
_INNER = re.compile(rf"\b{MARKER} \S+ guest .*")  # a line of the inner guest's, as our agent passes it on
_FRAME = re.compile(r"(?:RIP: \w+:|\s)(?P<unsure>\? )?(?P<name>[A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_SUFFIX = re.compile(r"\.(?:isra|cold|part|constprop|llvm|lto_priv)(?:\.\d+)*")
_REPORTERS = re.compile(
    r"^(?:dump_stack|show_stack|print_|v?panic|oops_|die|__die|page_fault_oops|__warn|report_|kasan_|asm_|exc_|do_error_trap"
    r"|check_panic|watchdog|__schedule$|schedule$|schedule_timeout|io_schedule)"
)
DEPTH = 3  # functions that make a fingerprint


def crash_kind(line: str) -> str:
    """Kind of crash that a console line holds: panic, oops, bug, lockup, hung; "" for any other line."""
    line = _INNER.sub("", line)
    for part in parts(line):
        if match := _CRASH.match(part):
            return match.lastgroup or ""
    match = _ANYWHERE.search(line)
    return (match.lastgroup or "") if match else ""


def parts(line: str) -> list[str]:
    """The messages in a console line, without their stamps: a second one may begin where the first has not ended."""
    return [part[_length_of_noise(part) :] for part in STAMP.split(line)]


def _length_of_noise(text: str) -> int:
    match = _NOISE.match(text)
    return match.end() if match else 0


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
