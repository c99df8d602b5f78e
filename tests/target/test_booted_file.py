# SPDX-License-Identifier: GPL-2.0-only
"""Which of the files that a build leaves is the kernel that VMs boot."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_setup import KernelSetup

from bisector.target.kernel_file import build_id_of_elf

KNOWS = ("BLOCK", "MODULES", "PVH", "DEBUG_INFO")
DIRECT = "CONFIG_BLOCK=y\nCONFIG_PVH=y # optional\n"


@pytest.mark.parametrize(
    ("fragment", "knows", "goal"),
    [
        (DIRECT, KNOWS, "vmlinux"),
        (DIRECT, ("BLOCK",), "bzImage"),  # an older kernel, which has no such symbol
        (f"{DIRECT}CONFIG_DEBUG_INFO=y\n", KNOWS, "bzImage"),  # hundreds of MiB
        (f"{DIRECT}# CONFIG_PVH is not set\n", KNOWS, "bzImage"),
    ],
)
def test_a_kernel_that_qemu_can_boot_as_it_is_linked_is_not_compressed(
    setup: KernelSetup, fragment: str, knows: tuple[str, ...], goal: str
) -> None:
    image = setup.build(setup.target(fragment=fragment), setup.candidate(kconfig=knows))
    assert image.commands[1].split()[-1] == goal
    vmlinux = (setup.build_dir() / "objects/vmlinux").read_bytes()
    assert (Path(image.kernel).read_bytes() == vmlinux) == (goal == "vmlinux")
    assert image.build_id == build_id_of_elf(vmlinux)


def test_what_is_booted_changes_with_the_config_of_a_candidate(setup: KernelSetup) -> None:
    """One build folder has built both; what the other left there is not taken."""
    target = setup.target(fragment=DIRECT)
    setup.build(target, setup.candidate("one", kconfig=KNOWS))
    later = setup.build(target, setup.candidate("two", {"drivers/disk.c": "disk 2\n"}, kconfig=("BLOCK",)))
    assert "disk 2" in Path(later.kernel).read_text()
    again = setup.build(target, setup.candidate("three", {"drivers/disk.c": "disk 3\n"}, kconfig=KNOWS))
    assert again.build_id == build_id_of_elf(Path(again.kernel).read_bytes())
    assert b"disk 3" in Path(again.kernel).read_bytes()
