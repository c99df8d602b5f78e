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


@pytest.mark.parametrize(
    ("error", "rate", "words"),
    [
        (0.00314, 0.584, "below 0.32 % for a bug that reproduces in at least 59 % of trials"),
        (0.01, 0.0044, "below 1 % for a bug that reproduces in at least 0.44 % of trials"),
        (0.00501, 0.0141, "below 0.51 % for a bug that reproduces in at least 1.5 % of trials"),
        (0.0999, 0.28, "below 10 % for a bug that reproduces in at least 28 % of trials"),
        (0.07, 1.0, "below 7 % for a bug that reproduces in at least 100 % of trials"),
    ],
)
def test_no_figure_promises_more_than_what_was_computed(error: float, rate: float, words: str) -> None:
    assert words in certainty(error, rate)


@pytest.mark.parametrize("summary", ["", "x: reproduced 6/6 at culprit", 'x ("y; chance of rain"): reproduced 1/1'])
def test_a_summary_without_it_has_none(summary: str) -> None:
    assert certainty_in(summary) is None
