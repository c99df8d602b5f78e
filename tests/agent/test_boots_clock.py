# SPDX-License-Identifier: GPL-2.0-only
"""How long a VM was down, by a clock that may be set meanwhile."""

from __future__ import annotations

import time

import pytest

from bisector.agent.boots import BootState
from bisector.agent.plan import StepFacts


@pytest.mark.parametrize(
    ("down", "now"),
    [
        (20, 23),
        (60, 63),  # late, and no more than that
        (-20, 3),  # a clock that went back
        (3600, 3),  # a host that was asleep: the trial's own clock, outside, stood meanwhile
    ],
)
def test_time_that_passed_on_the_wall_alone_is_none_of_the_trials(down: float, now: float) -> None:
    state = BootState(1, 2, StepFacts("off", 1.0, 1.0), 3.0, time.time() - down, False, (), ())
    assert state.now(60.0) == pytest.approx(now, abs=1)
