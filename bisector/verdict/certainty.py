# SPDX-License-Identifier: GPL-2.0-only
"""How sure a proof is, as it stands at the end of an outcome's summary. What a store keeps is that text alone."""

from __future__ import annotations

import math
import re

_CERTAINTY = re.compile(r"; (chance of error below [^;]*)$")


def certainty(error: float, rate: float) -> str:
    """The end of a sentence: the chance of an error, for a bug that reproduces in ``rate`` of its trials or more.

    Both figures are bounds and rounded up: what is printed holds wherever what was computed does.
    """
    return (
        f"; chance of error below {_percent(max(error, 0.0001))} % for a bug that reproduces in at least "
        f"{_percent(rate)} % of trials"
    )


def _percent(part: float) -> str:
    """A part of 1, above 0, in percent: rounded up to a whole one, below 10 to two digits."""
    value = 100.0 * part
    unit = 10.0 ** min(0, math.floor(math.log10(value)) - 1)
    rounded = math.ceil(value / unit * (1.0 - 1e-12)) * unit
    return f"{rounded:.0f}" if rounded >= 10.0 else f"{rounded:.2g}"


def certainty_in(summary: str) -> str | None:
    """What ``certainty`` has put at the end of a summary, without the semicolon; None where no rate was learnt."""
    found = _CERTAINTY.search(summary)
    return found[1] if found else None
