# SPDX-License-Identifier: GPL-2.0-only
"""Whether this host has what a recipe's steps start. A VM's root is this host's, so what is not here is not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bisector.errors import InfraError
from bisector.recipe.model import Recipe
from bisector.recipe.programs import StepProgram, of_steps
from bisector.system.distribution import install
from bisector.system.proc import Processes, ProcessFailed
from bisector.system.sandbox import HOST

TOOL_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where the agent looks behind PATH (agent/command.py, which is not imported here)."""

_PACKED = ("mdadm", "mkfs.ext4", "mkfs.xfs", "filefrag")
"""What comes into the inner guest besides its busybox, where its storage needs it (agent/packing.py)."""

_PACKAGES = {
    **dict.fromkeys(("qemu-img", "qemu-io", "qemu-nbd"), "qemu-utils"),
    **dict.fromkeys(("debugfs", "dumpe2fs", "e2fsck", "mkfs.ext2", "resize2fs", "tune2fs"), "e2fsprogs"),
    **dict.fromkeys(("blkdiscard", "blockdev", "fallocate", "wipefs"), "util-linux"),
    **dict.fromkeys(("xfs_bmap", "xfs_db", "xfs_io", "xfs_repair"), "xfsprogs"),
    **dict.fromkeys(("getfattr", "setfattr"), "attr"),
    **dict.fromkeys(("losetup", "mount", "umount"), "mount"),
    "btrfs": "btrfs-progs",
    "cmp": "diffutils",
    "dmsetup": "dmsetup",
    "fio": "fio",
    "lvm": "lvm2",
    "mdadm": "mdadm",
    "mksquashfs": "squashfs-tools",
    "sfdisk": "fdisk",
    "udevadm": "udev",
}
"""The Debian package of what steps often start, as ``dpkg -S`` says."""


@dataclass(frozen=True)
class MissingProgram:
    """A program that a step needs and that would not be found. ``what``: said of it, ``hint``: what to do."""

    program: StepProgram
    what: str
    hint: str


def missing(recipe: Recipe, environ: Mapping[str, str], processes: Processes) -> tuple[MissingProgram, ...]:
    """What would not be found in a trial; ``recipe`` has a cell's overrides applied. Raises InfraError."""
    applets = _applets(processes, environ) if any(wanted.in_guest for wanted in of_steps(recipe)) else frozenset()
    return tuple(_missing(recipe, environ, applets))


def require(recipe: Recipe, environ: Mapping[str, str], processes: Processes) -> None:
    """Raises InfraError when a step's program is not on this host: no trial could say anything of a candidate."""
    for one in missing(recipe, environ, processes):
        raise InfraError(one.what, hint=one.hint)


def _missing(recipe: Recipe, environ: Mapping[str, str], applets: frozenset[str]) -> Iterator[MissingProgram]:
    host = "this host" if recipe.vm is None else "this host, whose programs the VM sees,"
    for wanted in of_steps(recipe):
        base = wanted.name.rpartition("/")[2]
        if wanted.in_guest:
            if not _in_guest(wanted.name, applets):
                what = f"{_subject(wanted)}, which the inner guest does not have: its root is a busybox"
                hint = f"use what 'busybox --list' names, or put it beside the recipe: ./{base}"
                yield MissingProgram(wanted, what, hint)
        elif wanted.name not in recipe.programs and not _here(wanted.name, _path(recipe, environ)):
            package = _PACKAGES.get(base)
            how = install(package) if package else f"install the package that has {base}"
            hint = f"{how}, or put it beside the recipe: ./{base}"
            yield MissingProgram(wanted, f"{_subject(wanted)}, which {host} does not have", hint)


def _subject(wanted: StepProgram) -> str:
    if not wanted.step:
        return f"the recipe needs {wanted.name}"
    if wanted.script:
        return f"step {wanted.step} runs {wanted.script}, a script for {wanted.name}"
    return f"step {wanted.step} runs {wanted.name}"


def _here(name: str, path: str) -> bool:
    return os.access(name, os.X_OK) if "/" in name else shutil.which(name, path=path) is not None


def _path(recipe: Recipe, environ: Mapping[str, str]) -> str:
    """Where a step's program is looked for: without a VM in the caller's PATH, too (agent/command.py, sandbox.py)."""
    own = environ.get("PATH", os.defpath) if recipe.vm is None else ""
    return ":".join(filter(None, (own, *TOOL_FOLDERS)))


def _in_guest(name: str, applets: frozenset[str]) -> bool:
    folder, _, base = name.rpartition("/")
    return not applets or (base in applets and folder in ("", "/bin"))


def _applets(processes: Processes, environ: Mapping[str, str]) -> frozenset[str]:
    """What the inner guest's busybox can do; nothing when there is no busybox, which is said elsewhere."""
    busybox = shutil.which("busybox", path=":".join((environ.get("PATH", os.defpath), *TOOL_FOLDERS)))
    if not busybox:
        return frozenset()
    try:
        said = processes.run([busybox, "--list"], access=HOST, timeout=60).stdout.split()
    except ProcessFailed:
        return frozenset()
    return frozenset((*said, "busybox", *_PACKED))
