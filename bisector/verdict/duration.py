# SPDX-License-Identifier: GPL-2.0-only
"""How long a workload must last: learnt from when reproductions came. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bisector.verdict.chance import mean_at_most

COVERED = 0.9
"""Part of the reproductions that a trial's workload is to be long enough for."""

METHOD = "exponential times, ended by reproduction or clock (Epstein and Sobel, 1953)"


@dataclass(frozen=True)
class Stretch:
    """What a ``for:`` step should last.

    Args:
        seconds: for the step; the recipe's own where that is enough.
        mean: of the time to reproduce, estimated; inf when nothing reproduced.
        mean_upper: its upper bound at the asked confidence.
        capped: whether the ceiling cut it short.
    """

    seconds: float
    mean: float
    mean_upper: float
    capped: bool = False


def stretch(
    reproduced_at: Sequence[float], clean_for: Sequence[float], asked: float, *, error: float = 0.1, ceiling: float
) -> Stretch:
    """Seconds that a ``for:`` step must last so that a bad candidate's bug has the time to show.

    Args:
        reproduced_at: seconds into the workload at which each reproduction of known bad candidates came.
        clean_for: seconds of workload of each of their trials that ended without one (clean, or another failure).
        asked: seconds that the recipe says.
        error: chance allowed that the mean is underestimated.
        ceiling: seconds that are never exceeded.

    Where trials were cut by the clock the mean lies above what they lasted, and the method sees it: three reproductions
    in ten trials of 20 s speak of a mean of 60 s. The step lasts until COVERED of the reproductions have come at the
    upper bound of the mean. A bug that shows at a fixed time is covered too, for its times lie near their mean. After
    a stretch the rate of reproduction is another one and is learnt from fresh trials.
    """
    events, watched = len(reproduced_at), sum(reproduced_at) + sum(clean_for)
    if not events:
        return Stretch(asked, math.inf, math.inf)
    upper = mean_at_most(watched, events, error)
    wanted = max(asked, -math.log(1.0 - COVERED) * upper)
    return Stretch(min(wanted, max(asked, ceiling)), watched / events, upper, capped=wanted > max(asked, ceiling))
