# SPDX-License-Identifier: GPL-2.0-only
"""How sure a proof is, as it stands at the end of an outcome's summary. What a store keeps is that text alone."""

from __future__ import annotations

import re

_CERTAINTY = re.compile(r"; (chance of error below [^;]*)$")


def certainty(error: float, rate: float) -> str:
    """The end of a sentence: the chance of an error, for a bug that reproduces in ``rate`` of its trials or more."""
    return (
        f"; chance of error below {max(error, 0.0001) * 100:.2g} % for a bug that reproduces in at least "
        f"{rate * 100:.0f} % of trials"
    )


def certainty_in(summary: str) -> str | None:
    """What ``certainty`` has put at the end of a summary, without the semicolon; None where no rate was learnt."""
    found = _CERTAINTY.search(summary)
    return found[1] if found else None
