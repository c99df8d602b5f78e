# SPDX-License-Identifier: GPL-2.0-only
"""Commands for the guest's shell, and what their answers say. Pure."""

from __future__ import annotations

from dataclasses import replace

from .machine import dd_records, errno_in
from .outcome import Outcome
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


def quote(word: str) -> str:
    """``word`` as the shell takes it for itself."""
    return "'" + word.replace("'", "'\\''") + "'"
