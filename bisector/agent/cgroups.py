# SPDX-License-Identifier: GPL-2.0-only
"""Control groups for a recipe's own scripts (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..layers.machine import read_text
from .command import Halt, demand

ROOT = "/sys/fs/cgroup"
OPTIONS = {"io": "CONFIG_BLK_CGROUP", "memory": "CONFIG_MEMCG"}


def provide(controllers: Sequence[str]) -> None:
    """Let groups below ROOT, which a script makes, have the controllers: cgroup2 is mounted, and hands them down.

    Raises Halt(tools) where the kernel has one of them not: that says nothing of what is tried.
    """
    if "cgroup2" not in read_text("/proc/filesystems").split():
        raise Halt("tools", "the kernel has no cgroups (CONFIG_CGROUPS), and the recipe needs them")
    if not os.path.exists(f"{ROOT}/cgroup.controllers"):  # virtme mounts it, or the old hierarchies
        demand(["mount", "-t", "cgroup2", "cgroup2", ROOT], stage="tools", timeout=20.0)
    offered = read_text(f"{ROOT}/cgroup.controllers").split()
    for name in controllers:
        if name not in offered:
            why = f"offers no controller {name} to cgroup2 ({OPTIONS[name]}; options of the VM may take it away)"
            raise Halt("tools", f"the kernel {why}, and the recipe needs it")
    try:
        with open(f"{ROOT}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write(" ".join(f"+{name}" for name in controllers))
    except OSError as error:
        raise Halt("tools", f"{ROOT}: {' and '.join(controllers)} cannot be handed down: {error}") from None
