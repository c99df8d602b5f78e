# SPDX-License-Identifier: GPL-2.0-only
"""Errors of a disk as QEMU's block layer gives them: the words of ``-drive``, read by qemu-io. No VM is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bisector.layers import drive
from bisector.layers.device import DEVICES
from bisector.layers.option import Errors
from bisector.recipe import options

pytestmark = pytest.mark.skipif(not shutil.which("qemu-io"), reason="qemu-io is not installed")


def did(tmp_path: Path, errors: list[dict[str, object]], *commands: str) -> list[str]:
    """What qemu-io says of each command on a disk with these errors: the error, or "" for success."""
    image = tmp_path / "disk"
    image.write_bytes(bytes(1 << 20))
    word = Errors().word(errors)
    assert word is not None
    below = ",".join(["driver=raw", *drive.file_words(str(image), {"errors": word})])
    argv = ["qemu-io", *(part for command in commands for part in ("-c", command)), "--image-opts", below]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    lines = [
        line for line in (said.stdout + said.stderr).splitlines() if "failed: " in line or " bytes at offset" in line
    ]
    return [line.partition("failed: ")[2] for line in lines]


def test_a_read_of_the_sector_fails_always_and_one_beside_it_never(tmp_path: Path) -> None:
    seen = did(tmp_path, [{"read": 8}], "read 4k 4k", "read 4k 4k", "read 0 4k", "write 4k 4k")
    assert seen == ["Input/output error", "Input/output error", "", ""]


def test_a_counted_error_ends_after_its_count(tmp_path: Path) -> None:
    errors: list[dict[str, object]] = [{"write": 16, "errno": "ENOSPC", "count": 2}]
    seen = did(tmp_path, errors, "write 8k 4k", "write 8k 4k", "write 8k 4k", "read 8k 4k")
    assert seen == ["No space left on device", "No space left on device", "", ""]


def test_errors_anywhere_and_at_a_sector_beside_each_other(tmp_path: Path) -> None:
    errors: list[dict[str, object]] = [{"write": "any", "count": 1}, {"read": 8}]
    seen = did(tmp_path, errors, "write 64k 4k", "write 64k 4k", "read 4k 4k", "read 64k 4k")
    assert seen == ["Input/output error", "", "Input/output error", ""]


def test_errors_are_of_sectors_and_a_volatile_disk_has_them_elsewhere() -> None:
    known = drive.words(DEVICES["nvme"])
    given = {"volatile": True, "errors": [{"read": 8}]}
    (fault,) = options.faults_of_words("a disk nvme", known, given)
    assert fault[0] == "volatile" and "elsewhere" in fault[2]
    assert not [*options.faults_of_words("a disk nvme", known, {"volatile": True})]
    assert "volatile" not in drive.words(DEVICES["nvme"], guest=True)
