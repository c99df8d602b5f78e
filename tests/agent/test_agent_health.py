# SPDX-License-Identifier: GPL-2.0-only
"""Health read from status lines; the lines of 6.18.5 were recorded in a VM."""

import pytest

from bisector.layers import lvm, md
from bisector.layers.dm import DM_IOCTL, DM_TARGET, parse_status


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("0 65536 raid raid1 2 AA 65536/65536 idle 0 0 -", "healthy"),
        ("0 65536 raid raid1 2 DA 65536/65536 idle 0 0 -", "degraded"),
        ("0 65536 raid raid1 2 aa 12800/65536 resync 0 0 -", "syncing"),
        ("0 65536 raid raid1 2 AA 12800/65536 resync 0 0 -", "syncing"),
        ("0 65536 raid raid1 2 AA 65536/65536 resync 0 0 -", "syncing"),
        ("0 65536 raid raid1 2 A- 65536/65536 idle 0 0 -", "degraded"),
        ("0 65536 raid raid1 2 Da 0/65536 recover 0 0 -", "degraded"),
        ("0 131072 raid raid10 4 AAAA 131072/131072 idle 0 0 -", "healthy"),
        ("0 131072 raid raid10 4 DAAA 131072/131072 idle 0 0 -", "degraded"),
        ("0 65536 mirror 2 253:0 253:1 64/64 1 AA 1 core", "healthy"),
        ("0 65536 mirror 2 253:0 253:1 12/64 1 AA 1 core", "syncing"),
        ("0 65536 mirror 2 253:0 253:1 64/64 1 RA 1 core", "degraded"),
        ("0 65536 mirror 2 253:1 253:2 64/64 1 DA 3 disk 253:0 A", "degraded"),
        ("0 65536 mirror 2 253:1 253:2 64/64 1 AA 3 disk 253:0 A", "healthy"),
        ("0 65536 linear", "none"),
        ("", ""),
        ("0 65536 raid", ""),
        ("0 65536 mirror", ""),
    ],
)
def test_device_mapper_line_gives_health(status: str, health: str) -> None:
    assert lvm.health(status) == health


@pytest.mark.parametrize(
    ("degraded", "state", "resync_start", "action", "health"),
    [
        ("0", "clean", "none", "idle", "healthy"),
        ("0", "active", "none", "idle", "healthy"),
        ("0", "active", "0", "idle", "syncing"),  # just created, the sync's thread has not begun
        ("0", "active", "4096", "resync", "syncing"),
        ("1", "clean", "none", "idle", "degraded"),
        ("1", "active", "none", "recover", "degraded"),
        ("0", "broken", "none", "idle", "degraded"),
        ("", "", "", "", "degraded"),  # no array there at all
    ],
)
def test_md_files_give_health(degraded: str, state: str, resync_start: str, action: str, health: str) -> None:
    assert md.health(degraded, state, resync_start, action) == health


def test_status_answer_of_the_kernel_becomes_dmsetups_line() -> None:
    words = b"raid1 2 AA 65536/65536 idle 0 0 -\0"
    head = DM_IOCTL.pack(4, 0, 0, 16384, DM_IOCTL.size, 1, 1, 0, 0, 0, 0, b"bisector0-boot", b"")
    target = DM_TARGET.pack(0, 65536, 0, DM_TARGET.size + len(words), b"raid")
    assert parse_status(head + target + words) == "0 65536 raid raid1 2 AA 65536/65536 idle 0 0 -"


def test_status_answer_without_table_is_empty() -> None:
    head = DM_IOCTL.pack(4, 0, 0, 16384, DM_IOCTL.size, 0, 0, 0, 0, 0, 0, b"x", b"")
    assert parse_status(head) == ""


def test_ioctl_structures_have_the_kernels_sizes() -> None:
    assert (DM_IOCTL.size, DM_TARGET.size) == (312, 40)
