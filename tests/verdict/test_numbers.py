# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of both ends: their ratio, and the limit at which a trial is bad."""

from __future__ import annotations

import random
from statistics import median

import pytest

from bisector.model import Condition, Fact, FactKind, Question
from bisector.verdict.numbers import SAMPLE, Place, measured, places, ratio_of, resolved, too_alike


def place(*wanted: str) -> Place:
    return Place(Condition("slow", (Fact(FactKind.VALUE, "load", wanted, name="us"),)), 0)


def around(middle: float, spread: float = 0.01) -> list[float]:
    return [middle * (1.0 + spread * (rank - SAMPLE // 2) / SAMPLE) for rank in range(SAMPLE)]


@pytest.mark.parametrize(("n", "m", "critical"), [(9, 9, 17), (5, 5, 2), (8, 10, 17), (7, 12, 18)])
def test_the_interval_is_cut_where_the_rank_test_s_tables_say(n: int, m: int, critical: int) -> None:
    good, bad = [1.0] * n, [1.0 + k for k in range(m)]  # so that the sorted ratios show their places
    _, low, _ = ratio_of(good, bad)
    assert low == sorted(one for one in bad for _ in good)[critical]


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    chance, inside = random.Random(1), 0
    for _ in range(2000):
        good = [chance.lognormvariate(0.0, 0.1) for _ in range(SAMPLE)]
        bad = [0.8 * chance.lognormvariate(0.0, 0.1) for _ in range(SAMPLE)]
        _, low, high = ratio_of(good, bad)
        inside += low <= 0.8 <= high
    assert 0.94 <= inside / 2000 <= 0.975  # 95.0 % or a little more: ranks are whole numbers


@pytest.mark.parametrize(
    ("wanted", "ratio", "expected"),
    [
        ("< 0.8 × good", 0.5, 0.8),  # the recipe's own
        ("< 0.8 × good", 0.8, 0.8944),  # half way: half of the bad end's trials would be clean
        ("< 0.8 × good", 0.9, 0.9487),
        ("> 1.25 × good", 2.0, 1.25),
        ("> 1.25 × good", 1.25, 1.118),
        ("> 1.25 × good", 0.5, 1.25),  # it went the other way: the recipe's own
        ("< 0.8 × good", 1.1, 0.8),
    ],
)
def test_the_limit_is_the_recipe_s_or_half_way_to_the_bad_end(wanted: str, ratio: float, expected: float) -> None:
    found = measured(place(wanted), around(100.0), around(100.0 * ratio))
    assert found is not None
    sign, number = found.limits[0][1].split()
    assert sign == wanted[0]
    assert float(number) == pytest.approx(100.0 * expected, rel=0.001)
    assert found.bad_median == pytest.approx(100.0 * ratio)


def test_a_bad_end_that_gave_too_few_numbers_moves_no_limit() -> None:
    found = measured(place("> 1.25 × good"), around(100.0), around(110.0)[:4])
    assert found is not None
    assert found.limits == (("> 1.25 × good", "> 125"),)
    assert found.ratio is None


def test_nothing_is_a_part_of_zero() -> None:
    assert measured(place("> 1.25 × good"), [0.0] * SAMPLE, [5.0] * SAMPLE) is None


@pytest.mark.parametrize(
    ("ratio", "odd", "alike"),
    [
        (0.82, None, False),  # its interval reaches 0.8
        (0.9, None, True),
        (1.0, None, True),
        (1.0, 60.0, False),  # now and then it is slow: trials have to say how often
        (0.5, None, False),
    ],
)
def test_ends_are_too_alike_where_their_whole_interval_says_so(ratio: float, odd: float | None, alike: bool) -> None:
    bad = around(100.0 * ratio, 0.08)
    bad[-1] = odd or bad[-1]
    found = measured(place("< 0.8 × good"), around(100.0, 0.08), bad)
    assert found is not None
    assert too_alike(found, ("< 0.8 × good",)) is alike


def test_a_question_is_resolved_where_it_is_relative_and_nowhere_else() -> None:
    other = Condition("late", (Fact(FactKind.SECONDS, "load", ("> 90",)), Fact(FactKind.EXIT, "load", ("0",))))
    one = place("> 1.1 × good", "< 5")
    question = Question((one.condition, other), (), (one.fact,))
    assert places(question) == (one,)
    numbers = measured(one, around(100.0), around(200.0))
    assert numbers is not None
    after = resolved(question, [numbers])
    assert after.bad[0].facts[0].values == ("> 110", "< 5")
    assert after.bad[1] == other
    assert after.required[0].values == ("> 110", "< 5")
    assert places(after) == ()
    assert median(numbers.good) == numbers.good_median
