# SPDX-License-Identifier: GPL-2.0-only
"""Some of the generated histories; histories.py says how to run any number of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.histories import judged

QUICK = 20


@pytest.mark.parametrize("seed", range(QUICK))
def test_a_campaign_names_no_wrong_commit_and_resumed_decides_as_unbroken(seed: int, tmp_path: Path) -> None:
    wrong, _ = judged(seed, tmp_path)
    assert not wrong
