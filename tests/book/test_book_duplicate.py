# SPDX-License-Identifier: GPL-2.0-only
"""Duplicate 4K blocks: nothing is found where nothing is, and neighbours put underneath are found on the medium."""

import pytest
from booking import needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
BLOCKS = 16384  # of 64 MiB


def test_healthy_storage_is_good_and_duplicates_underneath_are_bad() -> None:
    seen = page("duplicate-4k-blocks", "--controls")
    assert (seen.verdict(""), seen.condition("")) == ("good", "same"), seen.table()
    for name in ("inside", "outside"):
        assert (seen.step("", name)["blocks"], seen.step("", name)["count"]) == (["clean"], BLOCKS)
    assert (seen.verdict("oracle"), seen.condition("oracle")) == ("bad", "media"), seen.table()
    for name in ("inside", "outside"):  # host and guest agree: it is on the medium
        assert (seen.step("oracle", name)["blocks"], seen.step("oracle", name)["failed"]) == (["duplicate"], 5)
    assert seen.exit_code == 0
