# SPDX-License-Identifier: GPL-2.0-only
"""The processors that kernels and VMs are made for: a row each. It travels into the VM, where the agent reads it too.

Facts of kbuild: the ARCH of its top Makefile and arch/*/Makefile; of QEMU: names of its targets; the console is that
of the machine that a VM is given.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One processor.

    Args:
        name: as `uname -m` says it.
        arch: what kbuild calls it (ARCH=).
        target: of make, which gives ``kernel``, a file below the object folder.
        direct: the config symbol with which QEMU boots the ELF file ``vmlinux`` itself; "": there is none.
        debian: what Debian calls it.
        qemu: its system emulator; ``softmmu``: what QEMU's configure and make call that.
        console: the serial port that a kernel in a VM prints to.
    """

    name: str
    arch: str
    target: str
    kernel: str
    direct: str
    debian: str
    qemu: str
    softmmu: str
    console: str


X86_64 = Architecture(
    name="x86_64",
    arch="x86",
    target="bzImage",
    kernel="arch/x86/boot/bzImage",
    direct="PVH",
    debian="amd64",
    qemu="qemu-system-x86_64",
    softmmu="x86_64-softmmu",
    console="ttyS0",
)
ARM64 = Architecture(
    name="aarch64",
    arch="arm64",
    target="Image",
    kernel="arch/arm64/boot/Image",
    direct="",
    debian="arm64",
    qemu="qemu-system-aarch64",
    softmmu="aarch64-softmmu",
    console="ttyAMA0",
)
ROWS = (X86_64, ARM64)

VM = X86_64
"""What VMs and inner guests are. Kernels of other rows are built and taken, but have no machine yet."""


def named(name: str) -> Architecture | None:
    """The row of a name, kbuild's or that of `uname -m`; None for one that has none. 32-bit x86 is built as x86."""
    names = {"i686": X86_64} | {key: row for row in ROWS for key in (row.name, row.arch)}
    return names.get(name)
