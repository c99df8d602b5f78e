# SPDX-License-Identifier: GPL-2.0-only
"""Disks of NVMe over Fabrics, and how much a disk would like to be asked for: what a recipe may say of them."""

from __future__ import annotations

from typing import Any

import pytest
from test_words import disk, faults, qemu


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ({"x": {"disk": "nvmf"}}, "x: needs 'size' or 'of'"),
        ({"x": {"disk": "nvmf", "of": "a", "transport": "rdma"}}, "(allowed: loop, tcp)"),
        ({"x": {"disk": "nvmf", "of": "a", "errors": {"read": 8}}}, "a disk nvmf has no 'errors'"),
        ({"x": {"disk": "nvmf", "of": "a"}, "y": {"md": "raid1", "of": ["a", "b"]}}, "a is used by x already"),
        (
            {"x": {"file": "raw", "size": "8M"}, "y": {"disk": "nvmf", "of": "x"}},
            "lies on a disk or a partition or an lvm or an md or a dm, and x is of kind file",
        ),
        (
            {
                "x": {"disk": "nvmf", "of": "a", "transport": "tcp"},
                "y": {"disk": "nvmf", "size": "8M", "queues": 2, "queue_size": 64},
                "z": {"md": "raid1", "of": ["x", "y"]},
            },
            "",
        ),
        (disk("a", optimal_io=1000), "(allowed: a size from 4k to 16M, a multiple of 4k)"),
        (disk("b", optimal_io="64k"), "a disk nvme has no 'optimal_io'"),
        (disk("a", optimal_io="64k"), ""),
    ],
)
def test_what_may_be_said_of_them(storage: dict[str, Any], expected: str) -> None:
    found = faults(storage)
    assert expected in found if expected else found == ""


def test_the_optimal_size_is_a_property_of_the_device() -> None:
    assert "scsi-hd,bus=scsi.0,opt_io_size=65536," in qemu("x", "scsi", optimal_io="65536")
