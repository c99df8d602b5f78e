# SPDX-License-Identifier: GPL-2.0-only
"""Simulated campaigns by a number: a few seeds of what docs/trust.md has a thousand of."""

from __future__ import annotations

import pytest

from bench.calibration.numbers import NOISES, Noise, campaigns

COUNT = 20


@pytest.mark.parametrize("effect", [0.20, 0.08])
@pytest.mark.parametrize("noise", [NOISES[0], NOISES[1], NOISES[3]])
def test_the_culprit_is_named_whatever_the_numbers_scatter(effect: float, noise: Noise) -> None:
    tally = campaigns(effect, 1.0 - effect, noise, COUNT)
    assert tally.wrong == 0
    assert tally.provable_kinds["culprit"] == tally.provable > COUNT / 2


def test_where_nothing_differs_nothing_is_named() -> None:
    tally = campaigns(0.0, 0.92, Noise(0.5), COUNT)
    assert set(tally.kinds) <= {"cannot tell", "ends_alike"}


def test_ends_that_differ_by_less_than_was_asked_for_are_told_after_eighteen_trials() -> None:
    tally = campaigns(0.03, 0.8, Noise(0.5), COUNT)
    assert dict(tally.kinds) == {"cannot tell": COUNT}
    assert tally.mean("numbers", "ends", "search", "proof") == 18
