# SPDX-License-Identifier: GPL-2.0-only
"""How many trials this host runs at once."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 1024
"""Trials at once that an option may name."""

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup/memory.max")
QEMU = 400 << 20
"""Bytes that the QEMU of a VM takes beside the VM's memory: translated code and its own."""


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Bytes that may be used now: what the kernel takes for available, at most what our cgroup is allowed."""
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="ascii").splitlines())
    available = int(fields["MemAvailable"].split()[0]) << 10
    try:
        return min(available, int(CGROUP.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return available


def automatic(vm_cpus: int, vm_memory: int, *, cpus: int, free: int) -> int:
    """Trials at once: as many VMs as have processors of their own, and as fit into three quarters of the free memory.

    With fewer processors than the VMs have together, emulated VMs wait for each other: two of two CPUs each on two
    processors took 25 s a trial where one alone takes 6 s (docs/performance.md).

    Args:
        vm_cpus, vm_memory: processors and bytes of the largest VM; 0 where trials run without one.
        cpus: processors of this host.
        free: bytes of memory that may be used.
    """
    fit = (free * 3 // 4) // (vm_memory + QEMU) if vm_memory else cpus
    return max(1, min(cpus // max(1, vm_cpus), fit))
