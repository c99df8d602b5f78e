# SPDX-License-Identifier: GPL-2.0-only
"""How long a workload must last."""

import math
import random

from bisector.verdict.duration import stretch


def trials(mean: float, lasting: float, count: int, seed: int) -> tuple[list[float], list[float]]:
    chance = random.Random(seed)
    times = [chance.expovariate(1 / mean) for _ in range(count)]
    return [t for t in times if t < lasting], [lasting for t in times if t >= lasting]


def test_a_bug_that_shows_after_40_s_on_average_gets_more_than_20() -> None:
    long_enough = 0
    for seed in range(200):
        shown, clean = trials(40.0, 20.0, 16, seed)
        found = stretch(shown, clean, 20.0, ceiling=600.0)
        long_enough += found.seconds >= 0.9 * -math.log(0.1) * 40.0
    assert long_enough >= 180  # nine of ten: what error=0.1 promises


def test_a_bug_that_shows_at_once_keeps_the_recipes_time() -> None:
    found = stretch([0.4, 0.9, 0.2, 0.6, 1.0, 0.5], [], 20.0, ceiling=600.0)
    assert found.seconds == 20.0
    assert found.mean < 1.0


def test_a_fixed_time_near_the_end_of_the_workload_is_left_behind() -> None:
    assert stretch([19.0] * 6, [], 20.0, ceiling=600.0).seconds > 2 * 19.0


def test_clean_trials_speak_for_a_longer_time() -> None:
    few = stretch([5.0] * 4, [20.0] * 2, 20.0, ceiling=6000.0)
    many = stretch([5.0] * 4, [20.0] * 20, 20.0, ceiling=6000.0)
    assert many.seconds > few.seconds


def test_the_ceiling_holds_and_is_said() -> None:
    found = stretch([15.0], [20.0] * 20, 20.0, ceiling=100.0)
    assert (found.seconds, found.capped) == (100.0, True)
    assert stretch([15.0], [20.0] * 20, 200.0, ceiling=100.0).seconds == 200.0  # never shorter than the recipe's


def test_nothing_reproduced_nothing_learnt() -> None:
    found = stretch([], [20.0] * 5, 20.0, ceiling=600.0)
    assert (found.seconds, math.isinf(found.mean)) == (20.0, True)
