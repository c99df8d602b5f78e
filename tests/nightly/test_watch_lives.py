# SPDX-License-Identifier: GPL-2.0-only
"""Whole lives of a watch, by the code of the night and acted trials: only what is gone is called fixed, and soon."""

import pytest

from bench.watch_lives import FIXED_AFTER, KINDS, Life, live

LIVES = 8
"""The full table is python -m bench.watch_lives. Where clean nights before a sighting were no evidence, 42 % of the
lives at a rate of 0.02 were wrong."""


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_rare_regression_that_is_there_is_not_called_fixed(kind: str) -> None:
    life = Life(0.02, searched=KINDS[kind].searched, learns=KINDS[kind].learns, nights=60)
    assert [live(life, f"test {seed}") for seed in range(LIVES)] == [0] * LIVES


@pytest.mark.parametrize(("rate", "nights"), [(1.0, 2), (0.3, 4), (0.02, 40)])
def test_a_regression_that_is_gone_is_called_fixed_soon(rate: float, nights: int) -> None:
    called = [live(Life(rate, fixed=FIXED_AFTER), f"test {seed}") for seed in range(6)]
    assert min(called) >= FIXED_AFTER
    assert max(called) < FIXED_AFTER + nights
