# SPDX-License-Identifier: GPL-2.0-only
"""Other failures that hide the bug."""

import math

from bisector.verdict.hiding import hidden_odds


def test_crashes_as_common_as_everywhere_hide_nothing() -> None:
    assert hidden_odds(3, 57, (5, 95), 0.14) < math.log(0.1)


def test_crashes_in_place_of_reproductions_are_noticed() -> None:
    assert hidden_odds(14, 30, (2, 40), 0.21) > math.log(10)


def test_more_clean_trials_speak_against_hiding() -> None:
    odds = [hidden_odds(4, clean, (2, 40), 0.21) for clean in (10, 20, 40, 80)]
    assert odds == sorted(odds, reverse=True)


def test_one_or_two_crashes_are_no_matter() -> None:
    assert hidden_odds(2, 0, (0, 40), 0.35) == -math.inf


def test_an_overestimated_rate_does_not_blind() -> None:
    assert hidden_odds(43, 97, (2, 25), 0.29) > math.log(10)
