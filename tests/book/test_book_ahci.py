# SPDX-License-Identifier: GPL-2.0-only
"""AHCI passthrough: clean inside and on both legs outside; an XFS that came to harm is seen, by the error's number."""

import re
from pathlib import Path

import pytest
from booking import RECIPES, needs_image, page

from bisector.recipe.load import load

SMALL = "steps.load.size=8M"
BLOCKS = 2048
IO_ERROR = r'XFS \(\w+\): metadata I/O error in "xfs_read_agi.*" at daddr 0x2 len 1 error {}$'

# What the report of 2013 has (Linux 3.8), and what 6.18 said of each damage.
SAID = """\
XFS (md0): Corruption detected. Unmount and run xfs_repair
XFS (md0): metadata I/O error: block 0x31214bd0 ("xfs_trans_read_buf_map") error 117 numblks 16
XFS (md0): xfs_imap_to_bp: xfs_trans_read_buf() returned error 117.
XFS (md0): Invalid inode number 0xfeffffffffffffff
XFS (md0): Internal error xfs_dir_ino_validate at line 160 of file fs/xfs/xfs_dir2.c.  Caller 0xffffffffa045cd96
XFS (vda): metadata I/O error in "xfs_read_agi+0x7e/0xe0" at daddr 0x2 len 1 error 117
XFS (vda): xfs_imap_lookup: xfs_ialloc_read_agi() returned error -117, agno 0
XFS (vda): Failed to read root inode 0x80, error 117
XFS (vda): metadata I/O error in "xfs_read_agi+0x7e/0xe0" at daddr 0x2 len 1 error 74"""
HEALTHY = """\
XFS (md0): Mounting V5 Filesystem e5cfec87-f4bb-403f-b0b0-a4edeb3b53c4
XFS (md0): Ending clean mount
XFS (vda): Unmounting Filesystem 8a610f4f-8507-44d3-8b9b-466ae2a73826"""

IN_THE_VM = """\
recipe: xfs-in-the-vm
title: the kernel under test tells what was done to an XFS
target: {{kernel: {{config: [base, xfs]}}}}
trials: 1
deadline: 20m
storage:
  disk: {{disk: virtio-blk, size: 512M}}
  data: {{fs: xfs, of: disk}}
steps:
  - load: {{stamp: data, size: 4M}}
  - off: {{run: [umount, '{{data}}']}}
  - damage: {{corrupt: disk, class: {damage}}}
  - mount: {{run: [mount, -t, xfs, '{{disk}}', '{{data}}']}}
bad_when:
  xfs: {{console: {{vm: '{pattern}'}}}}
good_when:
  mounted: {{exit: {{mount: 0}}}}
"""
TO_AND_FRO = """\
recipe: to-and-fro
title: a controller goes to the inner QEMU and comes back
target: {kernel: {config: [base, vfio]}}
trials: 1
deadline: 20m
storage:
  s0: {disk: ahci, size: 8M}
  s1: {disk: ahci, size: 8M}
guest:
  os: none
  passthrough: [s0, s1]
steps:
  - write: {stamp: s0, size: 4M}
  - take: {start: guest}
  - back: {stop: guest}
  - read: {verify: s0, direct: true}
  - again: {restart: guest}
  - end: {stop: guest}
  - other: {io: s1, read: 4k, direct: true}
bad_when:
  lost: {blocks: {read: {not: clean}}}
good_when:
  back: {exit: {take: 0, back: 0, again: 0, other: 0}, blocks: {read: clean}}
"""


@pytest.mark.book
@pytest.mark.vm
@needs_image
@pytest.mark.minutes(12)
def test_passed_controller_is_good_and_damaged_metadata_is_bad_by_its_error() -> None:
    seen = page("ahci-passthrough-xfs", "--controls", "--cell", SMALL)
    assert (seen.verdict(SMALL), seen.condition(SMALL)) == ("good", "same"), seen.table()
    assert (seen.step(SMALL, "inside")["blocks"], seen.step(SMALL, "inside")["count"]) == (["clean"], BLOCKS)
    assert (seen.step(SMALL, "outside")["blocks"], seen.step(SMALL, "outside")["count"]) == (["clean"], 2 * BLOCKS)
    for control, error in (("oracle", 117), ("flip", 74)):
        assert (seen.verdict(control), seen.condition(control)) == ("bad", "xfs"), seen.table()
        assert re.search(IO_ERROR.format(error), seen.said(control)[-1])
    assert seen.exit_code == 0


@pytest.mark.book
@pytest.mark.vm
@needs_image
@pytest.mark.parametrize(("damage", "error"), [("xfs-metadata", 117), ("xfs-flip", 74)])
def test_kernel_tells_each_damage_by_its_number(damage: str, error: int, tmp_path: Path) -> None:
    (tmp_path / "xfs-in-the-vm.yaml").write_text(IN_THE_VM.format(damage=damage, pattern=_pattern()))
    seen = page(str(tmp_path / "xfs-in-the-vm"))
    assert (seen.verdict(""), seen.condition("")) == ("bad", "xfs"), seen.table()
    assert re.search(IO_ERROR.format(error), seen.said("")[-1])


@pytest.mark.book
@pytest.mark.vm
@needs_image
def test_controller_goes_to_the_inner_qemu_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "to-and-fro.yaml").write_text(TO_AND_FRO)
    seen = page(str(tmp_path / "to-and-fro"))
    assert (seen.verdict(""), seen.condition("")) == ("good", "back"), seen.table()


@pytest.mark.parametrize("line", SAID.splitlines())
def test_condition_knows_the_messages_of_then_and_of_now(line: str) -> None:
    assert re.search(_pattern(), line)


@pytest.mark.parametrize("line", HEALTHY.splitlines())
def test_condition_is_silent_about_a_healthy_file_system(line: str) -> None:
    assert not re.search(_pattern(), line)


def _pattern() -> str:
    recipe = load(str(RECIPES / "ahci-passthrough-xfs.yaml"))
    return str(recipe.bad_when["xfs"].console["guest"].values[0])
