# SPDX-License-Identifier: GPL-2.0-only
"""Disks of the VM that are pulled out and put in again, by the kernel's own files.

Documentation/ABI/testing/sysfs-bus-pci (remove, rescan) and Documentation/scsi/scsi_mid_low_api.rst (scan); a SCSI disk
has ``delete`` in its folder. To the stack above this is a disk that is gone, whose driver had the time to go with it.
"""

from __future__ import annotations

import glob
import os
import time

from .command import Halt
from .passthrough import ADDRESS, Write, write_text
from .storage import Storage

APPEAR = 30.0  # seconds for a disk to go, or to come back
POLL = 0.05


class Plugs:
    """Pulls disks out and puts them in. ``sysfs`` and ``write`` are there so that tests can be the kernel."""

    def __init__(self, storage: Storage, sysfs: str = "/sys", write: Write = write_text) -> None:
        self._storage = storage
        self._sysfs = sysfs
        self._write = write

    def unplug(self, name: str, seconds: float) -> str:
        """Take the disk away; what went wrong, "" for nothing."""
        device = os.path.basename(self._storage.node(name))
        folder = f"{self._sysfs}/block/{device}"
        if not os.path.exists(folder):
            return f"{name}: there is no {device} to pull out"
        try:
            self._write(self._way_out(folder), "1")
        except OSError as error:
            return f"{name}: {device} was not let go: {error.strerror}"
        until = time.monotonic() + min(APPEAR, seconds)
        while os.path.exists(folder):
            if time.monotonic() > until:
                return f"{name}: {device} is still there"
            time.sleep(POLL)
        return ""

    def _way_out(self, folder: str) -> str:
        """The file that lets the disk go: its own on a bus of SCSI, else that of its PCI function."""
        if os.path.exists(f"{folder}/device/delete"):
            return f"{folder}/device/delete"
        steps = os.path.realpath(folder).split("/")
        last = next((at for at in reversed(range(len(steps))) if ADDRESS.fullmatch(steps[at])), 0)
        return "/".join((*steps[: last + 1], "remove"))

    def plug(self, name: str, seconds: float) -> str:
        """Have the buses looked through, and find the disk again; what went wrong, "" for nothing."""
        hosts = sorted(glob.glob(f"{self._sysfs}/class/scsi_host/*/scan"))
        looks = [(f"{self._sysfs}/bus/pci/rescan", "1"), *((scan, "- - -") for scan in hosts)]
        try:
            for path, text in looks:
                if os.path.exists(path):
                    self._write(path, text)
            self._storage.find_again((name,), min(APPEAR, seconds))
        except OSError as error:
            return f"{name}: {error}"
        except Halt as halt:
            if halt.fault.stage != "storage":
                raise
            return f"{name}: {halt.fault.message}"
        return ""
