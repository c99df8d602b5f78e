# SPDX-License-Identifier: GPL-2.0-only
"""File systems, made on one layer and mounted."""

from __future__ import annotations

from .row import Kind, Program, Row

MIB = 1 << 20
KIND = Kind("fs", takes=frozenset({"of"}), needs=("of",), inside=True, whole=True)
ROWS = (
    Row(
        "fs", "ext4", smallest=2 * MIB, fragments=("ext4",), modules=("ext4",),
        programs=(Program("mkfs.ext4", "e2fsprogs", "makes ext4 layers"),),
    ),
    Row(
        "fs", "xfs", smallest=300 * MIB,  # mkfs.xfs since 5.19 refuses less than 300 MB
        fragments=("xfs",), modules=("xfs",), programs=(Program("mkfs.xfs", "xfsprogs", "makes xfs layers"),),
    ),
)  # fmt: skip

_FORCE = {"ext4": "-F", "xfs": "-f"}


def make(type_: str, device: str) -> list[str]:
    """The command that makes the file system, whatever the device held before."""
    return [f"mkfs.{type_}", "-q", _FORCE[type_], device]


def mount(type_: str, device: str, point: str) -> list[str]:
    """The command that mounts it."""
    return ["mount", "-t", type_, device, point]
