# SPDX-License-Identifier: GPL-2.0-only
"""A suspend of the inner guest: to RAM (ACPI S3), from which QEMU's monitor wakes it, or as far as a test level."""

from __future__ import annotations

import re
import time

from .answers import command_outcome, unanswered
from .command import Halt
from .outcome import Outcome
from .qemu import Qemu
from .suspend import ASLEEP, DELAY, LEVELS, STATE

LOOK = 60.0  # seconds in which a guest answers what it can do; it may be emulated in an emulated VM
SLEEP = "/sys/power/mem_sleep"
# A wake-up is a reset of QEMU's board. On q35 that takes the registers of ACPI away from where the kernel knows them
# (the ISA bridge's PMBASE and ACPI_CNTL, which firmware sets at a boot alone): a guest would be suspended once and
# never again.
BRIDGE, KEPT = "/sys/bus/pci/devices/0000:00:1f.0/config", "/tmp/bridge"
TO_RAM = (
    f"dd if={BRIDGE} of={KEPT} bs=1 skip=64 count=8 2>/dev/null; echo mem >{STATE}; code=$?; "
    f"dd if={KEPT} of={BRIDGE} bs=1 seek=64 count=8 conv=notrunc 2>/dev/null; exit $code"
)
WAKE = '{"execute": "system_wakeup"}'


def suspend(qemu: Qemu, kernel: str, level: str, seconds: float) -> Outcome:
    """Suspend the guest, wake it a second later, and wait until it has come back, within ``seconds``.

    ``kernel``: the file that QEMU booted; ``level``: as far as this one of LEVELS (the guest comes back by itself), ""
    for all the way, to RAM. A refusal is an error: EBUSY where a task would not freeze.

    Raises Halt(tools) for a guest's kernel that cannot.
    """
    if not level and _is_elf(kernel):
        # Seen on 6.18.5 with QEMU 7.2: one build comes back as a bzImage, and not as the vmlinux in it.
        why = "QEMU writes a kernel that is booted as it is linked into memory anew at a wake-up"
        raise Halt("tools", f"{why}; '# CONFIG_PVH is not set' (the fragment suspend-ram) builds one that comes back")
    until = time.monotonic() + seconds
    told = f"echo deep >{SLEEP}; echo {level or 'none'} >{LEVELS}; echo {ASLEEP} >{DELAY}"
    code, text = qemu.run_command(f"{told}; grep -s . {STATE} {SLEEP} {LEVELS}", min(LOOK, seconds))
    if code is None:
        return unanswered(qemu, Outcome(detail=text))
    _demand(text, level)
    before = dict(qemu.changes)
    number = qemu.send(f"echo mem >{STATE}" if level else TO_RAM, alone=True)

    def seen(event: str) -> bool:
        return qemu.changes[event] > before[event]

    qemu.wait(until - time.monotonic(), lambda: qemu.answered(number) or seen("SUSPEND"))
    if seen("SUSPEND"):
        time.sleep(float(ASLEEP))
        qemu.execute(WAKE)
    code, text = qemu.answer(number, until - time.monotonic())
    if code is None:
        where = "was woken, and did not come back" if seen("WAKEUP") else "did not come to its end"
        return unanswered(qemu, Outcome(detail=f"the suspend {where}; {text}"))
    if code == 0 and not level and not seen("WAKEUP"):
        return Outcome(exit=1, failed=1, detail="the guest says that it was suspended, and QEMU saw nothing of it")
    return command_outcome(code, text)


def _is_elf(kernel: str) -> bool:
    with open(kernel, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _demand(text: str, level: str) -> None:
    """Raise Halt(tools) unless the guest's files, as grep shows them, offer what is wanted."""
    can = {
        path: re.sub(r"[\[\]]", "", words).split() for path, _, words in (n.partition(":") for n in text.split("\n"))
    }
    if "mem" not in can.get(STATE, ()) or "deep" not in can.get(SLEEP, ()):
        raise Halt("tools", "the guest's kernel cannot suspend to RAM (CONFIG_SUSPEND, CONFIG_ACPI)")
    if level and level not in can.get(LEVELS, ()):
        options = "CONFIG_PM_DEBUG, CONFIG_PM_SLEEP_DEBUG"
        raise Halt("tools", f"the guest's kernel has no test of suspend called {level} ({options})")
