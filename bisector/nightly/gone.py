# SPDX-License-Identifier: GPL-2.0-only
"""How many clean trials in a row show that a regression is gone. Pure."""

from __future__ import annotations

import math

from bisector.verdict.budget import even
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import Evidence

RAREST = 0.01
"""Rate of the rarest regression that the clean trials speak for, where its own is not known."""


def trials_to_call_gone(known: Evidence, max_error: float, check: int) -> int:
    """Clean trials in a row after which a regression is gone.

    Half of ``max_error`` pays for the test by its rate (Fisher's, exact at any rate, since trials are drawn until one
    reproduces); half for ``trials_without_rate``, needed where it takes fewer trials and the rate is not known to be
    lower. Test ``check`` (from 1) has a share of each half, and the shares sum to 1.
    """
    most, share = trials_without_rate(max_error, check), max_error / 2 * even(check)
    if not known.reproduced:
        return most
    rate = Rate(known.reproduced, known.conclusive)
    if known.reproduced >= RAREST * known.conclusive and rate.missed(most) > share:
        return most
    return rate.clean_needed(share)


def trials_without_rate(max_error: float, check: int) -> int:
    """Clean trials in a row that a regression of the rate RAREST would show with a share of ``max_error`` as chance."""
    return math.ceil(math.log(max_error / 2 * even(check)) / math.log1p(-RAREST))
