# SPDX-License-Identifier: GPL-2.0-only
"""AHCI passthrough: clean inside and on both legs outside; an XFS that came to harm is seen, by the error's number."""

import re

import pytest
from booking import RECIPES, needs_image, page

from bisector.recipe.load import load

BLOCKS = 4096  # of 16 MiB

SAID = {
    # the report of 2013, Linux 3.8
    "2013": """\
XFS (md0): Corruption detected. Unmount and run xfs_repair
XFS (md0): metadata I/O error: block 0x31214bd0 ("xfs_trans_read_buf_map") error 117 numblks 16
XFS (md0): xfs_imap_to_bp: xfs_trans_read_buf() returned error 117.
XFS (md0): Invalid inode number 0xfeffffffffffffff
XFS (md0): Internal error xfs_dir_ino_validate at line 160 of file fs/xfs/xfs_dir2.c.  Caller 0xffffffffa045cd96""",
}


@pytest.mark.book
@pytest.mark.vm
@needs_image
def test_passed_controller_is_good_and_damaged_metadata_is_bad_by_its_error() -> None:
    seen = page("ahci-passthrough-xfs", "--controls")
    assert (seen.verdict(""), seen.condition("")) == ("good", "same"), seen.table()
    assert (seen.step("", "inside")["blocks"], seen.step("", "inside")["count"]) == (["clean"], BLOCKS)
    assert (seen.step("", "outside")["blocks"], seen.step("", "outside")["count"]) == (["clean"], 2 * BLOCKS)
    for control, error in (("oracle", 117), ("flip", 74)):
        assert (seen.verdict(control), seen.condition(control)) == ("bad", "xfs"), seen.table()
        assert re.search(rf"XFS \(md0\): metadata I/O error .* error {error}$", seen.said(control)[-1])
    assert seen.exit_code == 0


@pytest.mark.parametrize("line", SAID["2013"].splitlines())
def test_condition_knows_the_messages_of_2013(line: str) -> None:
    assert re.search(_pattern(), line)


def _pattern() -> str:
    recipe = load(str(RECIPES / "ahci-passthrough-xfs.yaml"))
    return str(recipe.bad_when["xfs"].console["guest"].values[0])
