# SPDX-License-Identifier: GPL-2.0-only
"""Commands for the guest's shell, and what their answers say."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from .machine import dd_records, errno_in
from .outcome import Outcome
from .plan import Guest
from .qemu import LOST, Qemu


def added(seen: Outcome, code: int | None, text: str) -> Outcome:
    """``seen`` with one more dd in it."""
    if code is None:
        return replace(seen, exit=None, detail=text)
    records = dd_records(text)
    if code == 0:
        return replace(seen, count=seen.count + records, detail=seen.detail or text)
    name = seen.errno or errno_in(text)
    return replace(seen, exit=code, errno=name, count=seen.count + records, failed=seen.failed + 1, detail=text)


def command_outcome(code: int, text: str) -> Outcome:
    """What a command in the guest saw, by its error's words."""
    return Outcome(exit=code, errno=errno_in(text) if code else "", detail=text)


def unanswered(qemu: Qemu, seen: Outcome) -> Outcome:
    """What a step ``seen`` so far comes to, whose command the guest did not answer."""
    if seen.detail == LOST or seen.detail.endswith(f"; {LOST}"):
        return replace(seen, exit=None)
    if qemu.paused:
        return replace(seen, exit=None, detail=f"the guest paused; {seen.detail}")
    if qemu.exit is not None:
        return replace(seen, done=False, exit=qemu.exit, detail=f"QEMU has ended: {qemu.output}")
    return replace(seen, done=False, exit=None, detail=f"no answer from the guest; {seen.detail}")


def booted(qemu: Qemu, is_up: Callable[[], bool], until: float, guest: Guest) -> Outcome:
    """What a boot came to: the guest is up before ``until`` (by the monotonic clock), or not."""
    if qemu.wait(until - time.monotonic(), is_up):
        return Outcome(exit=0, count=len(guest.drives))
    if qemu.exit is None:
        where = "its init" if guest.os == "linux" else "the console line that it is waited for"
        return Outcome(done=False, detail=f"the inner guest did not reach {where} in time")
    # Refused options are an observation; a guest that panicked ends QEMU with 0, and that is no start.
    return Outcome(done=qemu.exit != 0, exit=qemu.exit, errno=errno_in(qemu.output), detail=qemu.output)


def quote(word: str) -> str:
    """``word`` as the shell takes it for itself."""
    return "'" + word.replace("'", "'\\''") + "'"
