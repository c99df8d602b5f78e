# SPDX-License-Identifier: GPL-2.0-only
"""What work costs, whatever the host: against a loop that is timed in the same moment."""

from __future__ import annotations

import time

LOOP = 1_000_000
USUAL = 0.05  # seconds of a processor for the loop, where nobody else works


def usual(seconds: float) -> float:
    """Seconds of a processor as they were on a usual host: less than were spent here where this one is slower now."""
    return seconds / slowness()


def slowness() -> float:
    """How many times as long as on a usual host the loop takes here and now; 1 at least."""
    return max(1.0, min(_loop() for _ in range(3)) / USUAL)


def _loop() -> float:
    began, total = time.process_time(), 0
    for number in range(LOOP):
        total += number
    return time.process_time() - began
