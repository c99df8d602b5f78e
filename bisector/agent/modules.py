# SPDX-License-Identifier: GPL-2.0-only
"""Modules of the kernel under test for its inner guest, where that kernel keeps its drivers in modules.

A distribution's kernel does; one of our own configs has none, and then there is nothing to do. What the recipe needs
was unpacked by the target, so all that lies there goes along.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from ..layers.device import DEVICES, TRANSPORT
from .initramfs import Entry
from .plan import Guest, Layer

ORDER = "modules-to-load"
"""File in the guest's root that names what its init loads, on one line."""


def devices_of(guest: Guest, layers: Sequence[Layer]) -> list[str]:
    """Devices behind which the guest sees disks: of its drives, and of the disks of the VM that it is passed."""
    passed = [layer.type for layer in layers if layer.name in guest.passthrough]
    return [*(drive.device for drive in guest.drives), *passed]


def modules(devices: Iterable[str], folder: str) -> list[Entry]:
    """Files for the guest's root, none when the kernel keeps nothing in modules.

    Args:
        devices: of the guest, by their names (bisector/layers/device.py).
        folder: of the running kernel: /lib/modules and its release.
    """
    found = [path for path in _below(folder) if path.endswith(".ko") or _is_index(path)]
    if not any(path.endswith(".ko") for path in found):
        return []
    rows = [DEVICES[device] for device in dict.fromkeys(devices) if device in DEVICES]
    wanted = [*TRANSPORT, *(name for row in rows for name in row.modules)]
    entries = [Entry("sbin", stat.S_IFDIR | 0o755), Entry("sbin/modprobe", stat.S_IFLNK | 0o777, b"/bin/busybox")]
    entries.append(Entry(ORDER, stat.S_IFREG | 0o644, (" ".join(dict.fromkeys(wanted)) + "\n").encode()))
    base = f"lib/modules/{os.path.basename(folder)}"
    parents = {os.path.dirname(f"{base}/{path}") for path in found}
    for parent in sorted({up for path in parents for up in _and_above(path)}):
        entries.append(Entry(parent, stat.S_IFDIR | 0o755))
    for path in found:
        with open(f"{folder}/{path}", "rb") as file:
            entries.append(Entry(f"{base}/{path}", stat.S_IFREG | 0o644, file.read()))
    return entries


def folder_of_modules(parent: str, *, vm: bool) -> str:
    """Modules of the kernel that the guest boots: the VM's own, or the one folder below ``parent`` (else "")."""
    if vm:
        return f"/lib/modules/{os.uname().release}"
    try:
        return next((entry.path for entry in os.scandir(parent) if entry.is_dir()), "")
    except OSError:
        return ""


def _is_index(path: str) -> bool:
    """The indexes that busybox's modprobe reads."""
    return path in ("modules.dep", "modules.alias", "modules.symbols", "modules.builtin")


def _below(folder: str) -> list[str]:
    found = []
    for parent, _, names in os.walk(folder):
        found += [os.path.relpath(f"{parent}/{name}", folder) for name in names]
    return sorted(found)


def _and_above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
