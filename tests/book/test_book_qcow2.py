# SPDX-License-Identifier: GPL-2.0-only
"""The qcow2 race on the installed QEMU: whatever that answers, the oracle sees a corrupt image and no other."""

import shutil

import pytest
from booking import page

pytestmark = [pytest.mark.book, pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")]


def test_the_oracle_sees_a_corrupt_image_and_an_intact_one() -> None:
    seen = page("qcow2-discard-race", "--controls", "--trials", "1", option="")
    assert seen.verdict("") in ("good", "bad"), seen.table()
    assert seen.condition("") in ("intact", "freed-cluster-in-use")
    assert (seen.verdict("no-frees"), seen.verdict("refcounts-cleared")) == ("good", "bad"), seen.table()
    assert seen.condition("refcounts-cleared") == "freed-cluster-in-use"
