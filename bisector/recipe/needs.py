# SPDX-License-Identifier: GPL-2.0-only
"""``needs:``: what a recipe's own scripts use, which the tool cannot see in them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator

from bisector.recipe.base import Base
from bisector.recipe.values import Flag, shown, text, wrong


def program(value: object) -> str:
    """The name of a program, as it is looked for in PATH."""
    found = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", found):
        raise wrong(f"{shown(found)} is no name of a program; write it as fio or mkfs.btrfs")
    return found


def module(value: object) -> str:
    """The name of a kernel's module, with ``_`` for ``-`` (modprobe(8))."""
    found = text(value)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", found):
        raise wrong(f"{shown(found)} is no name of a module; write it as scsi_debug or dm-thin-pool")
    return found.replace("-", "_")


class Needs(Base):
    """What the steps' own programs use.

    Args:
        programs: in PATH, seen to by ``doctor`` and before anything is tried.
        modules: of a packaged kernel, unpacked with what they depend on; a script loads them itself (modprobe).
        udev: the VM's udevd lives, and LVM, device-mapper and md wait for it.
        cgroups: controllers of cgroup2 that groups of a script's own may have.
    """

    programs: tuple[Annotated[str, BeforeValidator(program)], ...] = ()
    modules: tuple[Annotated[str, BeforeValidator(module)], ...] = ()
    udev: Flag = False
    cgroups: tuple[Literal["io", "memory"], ...] = ()
