# SPDX-License-Identifier: GPL-2.0-only
"""Duplicate 4K blocks: nothing is found where nothing is; neighbours put underneath are found on the medium, and as a
fault of reading when they are gone before the host looks."""

import pytest
from booking import needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
SMALL = "steps.write.size=16M"
BLOCKS = 4096


@pytest.mark.minutes(11)
def test_healthy_storage_is_good_and_duplicates_are_recognised_by_where_they_are_seen() -> None:
    seen = page("duplicate-4k-blocks", "--controls", "--cell", SMALL)
    assert (seen.verdict(SMALL), seen.condition(SMALL)) == ("good", "same"), seen.table()
    for name in ("inside", "outside"):
        assert (seen.step(SMALL, name)["blocks"], seen.step(SMALL, name)["count"]) == (["clean"], BLOCKS)
    assert (seen.verdict("oracle"), seen.condition("oracle")) == ("bad", "media"), seen.table()
    for name in ("inside", "outside"):  # host and guest agree: it is on the medium
        assert (seen.step("oracle", name)["blocks"], seen.step("oracle", name)["failed"]) == (["duplicate"], 5)
        assert "duplicate, holds block" in seen.step("oracle", name)["detail"]
    assert (seen.verdict("fleeting"), seen.condition("fleeting")) == ("bad", "read-side"), seen.table()
    inside, outside = (seen.step("fleeting", name) for name in ("inside", "outside"))
    assert (inside["blocks"], inside["failed"]) == (["duplicate"], 5)
    assert (outside["blocks"], outside["failed"], outside["count"]) == (["clean"], 0, BLOCKS)  # they disagree
    assert seen.exit_code == 0
