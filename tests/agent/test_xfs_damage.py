# SPDX-License-Identifier: GPL-2.0-only
"""Damage to a real XFS, as xfsprogs' own verifiers see it: they are the kernel's, built as a library."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bisector.agent import xfs
from bisector.agent.command import Halt

SHIFT = 1 << 20  # where an array's data begins on its leg

pytestmark = pytest.mark.skipif(not shutil.which("mkfs.xfs", path="/usr/sbin:/sbin:/usr/bin"), reason="needs xfsprogs")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "xfs.img"
    subprocess.run(["/usr/sbin/mkfs.xfs", "-q", "-d", f"file,name={path},size=300m"], check=True)
    return path


def xfs_db(image: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    ran = subprocess.run(["/usr/sbin/xfs_db", "-r", *words, str(image)], capture_output=True, text=True, check=True)
    return ran.stdout + ran.stderr


def test_crc32c_is_the_one_of_the_standard() -> None:
    assert xfs.crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert xfs.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_fresh_file_system_is_whole(image: Path) -> None:
    seen = xfs_db(image, "agi 0", "p unlinked[0]")
    assert "detected" not in seen
    assert seen.split("=")[1].strip() == ""  # all ones is shown as nothing


def test_field_changed_with_its_checksum_is_error_117(image: Path) -> None:
    described = xfs.damage(str(image), 0, "xfs-metadata")
    assert "its checksum recomputed" in described
    seen = xfs_db(image, "agi 0", "crc", "p unlinked[0]")
    assert "Metadata corruption detected" in seen
    assert "(117)" in seen
    assert "CRC error" not in seen
    assert f"unlinked[0] = {0xFEFFFFFF}" in seen


def test_bit_flipped_below_its_checksum_is_error_74(image: Path) -> None:
    described = xfs.damage(str(image), 0, "xfs-flip")
    assert "its checksum as it was" in described
    seen = xfs_db(image, "agi 0", "p unlinked[0]")
    assert "Metadata CRC error detected" in seen
    assert "(74)" in seen
    assert f"unlinked[0] = {0xFEFFFFFF}" in seen


def test_damage_touches_nothing_but_the_one_sector(image: Path) -> None:
    before = image.read_bytes()
    xfs.damage(str(image), 0, "xfs-flip")
    after = image.read_bytes()
    differing = [at for at in range(4096) if before[at] != after[at]]
    assert differing == [2 * 512 + 40]
    assert before[4096:] == after[4096:]


def test_file_system_that_begins_within_a_leg_is_found(image: Path, tmp_path: Path) -> None:
    leg = tmp_path / "leg.img"
    with leg.open("wb") as file:
        file.write(bytes(SHIFT) + image.read_bytes()[: 1 << 20])
    xfs.damage(str(leg), SHIFT, "xfs-metadata")
    xfs.damage(str(image), 0, "xfs-metadata")
    assert leg.read_bytes()[SHIFT:] == image.read_bytes()[: 1 << 20]
    assert not any(leg.read_bytes()[:SHIFT])


def test_what_is_no_xfs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "none.img"
    path.write_bytes(bytes(1 << 20))
    with pytest.raises(Halt, match="no XFS"):
        xfs.damage(str(path), 0, "xfs-flip")
    assert not any(path.read_bytes())


def test_damage_is_done_once(image: Path) -> None:
    xfs.damage(str(image), 0, "xfs-flip")
    with pytest.raises(Halt, match="not whole"):
        xfs.damage(str(image), 0, "xfs-flip")


def test_number_that_may_be_an_inode_is_no_damage() -> None:
    agi = bytearray(512)
    agi[:4], agi[40:44] = b"XAGI", b"\xff" * 4
    agi[312:316] = xfs.crc32c(bytes(agi)).to_bytes(4, "little")
    assert xfs.damaged(bytes(agi), 18, 4, recompute=False)[40:44] == b"\xfe\xff\xff\xff"
    with pytest.raises(Halt, match="may be an inode"):
        xfs.damaged(bytes(agi), 31, 4, recompute=False)
