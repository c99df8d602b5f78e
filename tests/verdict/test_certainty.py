# SPDX-License-Identifier: GPL-2.0-only
"""How sure a proof is goes into a summary, and a mail finds it there."""

from __future__ import annotations

import pytest

from bisector.verdict.certainty import certainty, certainty_in


@pytest.mark.parametrize(("error", "rate"), [(0.005, 0.4), (1e-9, 1.0), (0.01, 0.003)])
def test_what_a_summary_ends_with_is_found_in_it(error: float, rate: float) -> None:
    end = certainty(error, rate)
    assert certainty_in(f'0123456789ab ("x; y"): reproduced 6/6 at culprit{end}') == end.removeprefix("; ")


def test_a_chance_that_rounds_to_nothing_is_not_called_nothing() -> None:
    assert "below 0.01 %" in certainty(1e-9, 1.0)


@pytest.mark.parametrize("summary", ["", "x: reproduced 6/6 at culprit", 'x ("y; chance of rain"): reproduced 1/1'])
def test_a_summary_without_it_has_none(summary: str) -> None:
    assert certainty_in(summary) is None
