# SPDX-License-Identifier: GPL-2.0-only
"""Drives of the inner guest that are put in and pulled out while it runs, through its QEMU's monitor.

device_add and device_del (QEMU's qapi/qdev.json, docs/pcie.txt); a device has gone when DEVICE_DELETED names it. What
``-drive`` made below it goes with virtio-blk and SCSI (blockdev_mark_auto_del) and not with NVMe, so it is made anew
where it is no more.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace

from ..layers.device import SERIAL_LENGTH
from .machine import device_values, drive_option
from .monitor import command
from .outcome import Outcome
from .plan import Guest, Step
from .qemu import Qemu

APPEAR = 60.0  # seconds for a disk to come, or to go: its guest has a word in it, and may be emulated in an emulated VM
POLL = 0.1
DELETED = "DEVICE_DELETED"
WORDS = ("write-cache", "serial")
"""Properties that are text to QMP whatever they look like (OnOffAuto is an enumeration); others are typed there."""


class GuestPlugs:
    """Drives in one life of the guest's QEMU. ``nodes``: layer of a drive → its path."""

    def __init__(self, guest: Guest, nodes: Mapping[str, str]) -> None:
        self._drives = {drive.name: drive for drive in guest.drives if "hotplug" in dict(drive.words)}
        self._devices = device_values(guest.drives)
        self._nodes = nodes
        self._out = {name for name, drive in self._drives.items() if dict(drive.words)["hotplug"] == "absent"}

    def missing(self, name: str) -> Outcome | None:
        """What a step on a drive sees that is not plugged in; None for all that are."""
        if name not in self._out:
            return None
        return Outcome(
            exit=1, errno="ENODEV", failed=1, detail=f"{name} is not plugged in, or the guest does not see it"
        )

    def act(self, qemu: Qemu, step: Step, seconds: float) -> Outcome:
        """Put the step's drives in, or pull them out, within ``seconds``; exit code 0 when all are where they belong.

        What QEMU refuses is its error (``errno`` where its words end with one); ``count`` and ``failed`` are drives.
        """
        until = time.monotonic() + seconds
        one = self._plug if step.verb == "plug" else self._unplug
        seen = Outcome(exit=0)
        for name in step.objects:
            each = one(qemu, name, until - time.monotonic())
            if qemu.exit is not None:  # a guest that panicked ends QEMU with 0, and that is no plugging
                return replace(each, done=qemu.exit != 0, exit=qemu.exit, detail=f"QEMU has ended: {qemu.output}")
            if not each.done:
                return each
            good = each.exit == 0
            seen = replace(seen, count=seen.count + good, failed=seen.failed + (not good))
            if not good:
                lines = filter(None, (seen.detail, f"{name}: {each.detail}"))
                seen = replace(seen, exit=1, errno=seen.errno or each.errno, detail="\n".join(lines))
        return seen

    def _plug(self, qemu: Qemu, name: str, seconds: float) -> Outcome:
        until = time.monotonic() + min(APPEAR, seconds)
        words = drive_option(self._drives[name], self._nodes[self._drives[name].of]).replace("\\", "\\\\")
        line = 'drive_add 0 "' + words.replace('"', '\\"') + '"'
        made = _ask(qemu, "human-monitor-command", until, **{"command-line": line})
        if made.exit != 0 or not re.search(r"OK|Duplicate ID", made.detail):  # it is there still, or from the start
            return replace(made, exit=made.exit or 1)
        seen = _ask(qemu, "device_add", until, **arguments(self._devices[name]))
        if seen.exit != 0:
            return seen
        if not _shows(qemu, name, until, wanted=True):
            return Outcome(exit=1, detail="the guest shows no such disk")
        self._out.discard(name)
        return seen

    def _unplug(self, qemu: Qemu, name: str, seconds: float) -> Outcome:
        until = time.monotonic() + min(APPEAR, seconds)
        with qemu.listening(DELETED, "DEVICE_UNPLUG_GUEST_ERROR") as events:
            seen = _ask(qemu, "device_del", until, id=name)
            if seen.exit != 0:
                return seen

            def ends() -> set[str]:
                return {event for event, data in events if json.loads(data or "{}").get("device") == name}

            qemu.wait(until - time.monotonic(), lambda: bool(ends()))
            gone = DELETED in ends()
        if not gone:
            return Outcome(exit=1, detail="the guest did not let it go")
        self._out.add(name)
        if not _shows(qemu, name, until, wanted=False):  # virtio-scsi hears of it afterwards
            return Outcome(exit=1, detail="the guest shows it still")
        return seen


def _shows(qemu: Qemu, name: str, until: float, *, wanted: bool) -> bool:
    """Wait until the guest shows a disk, or (not ``wanted``) no longer does; whether that came before its time."""
    while True:
        qemu.forget(name[:SERIAL_LENGTH])
        qemu.run_command("blocks", max(POLL, until - time.monotonic()))
        if bool(qemu.disk(name[:SERIAL_LENGTH])) is wanted:
            return True
        if time.monotonic() >= until or qemu.exit is not None or qemu.paused:
            return False
        time.sleep(POLL)


def _ask(qemu: Qemu, name: str, until: float, **given: object) -> Outcome:
    return command(qemu, json.dumps({"execute": name, "arguments": given}), "", max(0.1, until - time.monotonic()))


def arguments(value: str) -> dict[str, object]:
    """What ``-device`` takes as text, as QMP's device_add wants it: numbers and truth values as such."""
    driver, *words = value.split(",")
    return {"driver": driver, **{name: _typed(name, text) for name, _, text in (word.partition("=") for word in words)}}


def _typed(name: str, text: str) -> object:
    if name in WORDS:
        return text
    return {"on": True, "off": False}.get(text, int(text) if text.isdecimal() else text)
