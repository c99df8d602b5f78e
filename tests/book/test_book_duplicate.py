# SPDX-License-Identifier: GPL-2.0-only
"""Duplicate 4K blocks: nothing is found where nothing is, and neighbours put underneath are found on the medium."""

import pytest
from booking import needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
SMALL = "steps.write.size=32M"
BLOCKS = 8192


def test_healthy_storage_is_good_and_duplicates_underneath_are_bad() -> None:
    seen = page("duplicate-4k-blocks", "--controls", "--cell", SMALL)
    assert (seen.verdict(SMALL), seen.condition(SMALL)) == ("good", "same"), seen.table()
    for name in ("inside", "outside"):
        assert (seen.step(SMALL, name)["blocks"], seen.step(SMALL, name)["count"]) == (["clean"], BLOCKS)
    assert (seen.verdict("oracle"), seen.condition("oracle")) == ("bad", "media"), seen.table()
    for name in ("inside", "outside"):  # host and guest agree: it is on the medium
        assert (seen.step("oracle", name)["blocks"], seen.step("oracle", name)["failed"]) == (["duplicate"], 5)
        assert "duplicate, holds block" in seen.step("oracle", name)["detail"]
    assert seen.exit_code == 0
