# SPDX-License-Identifier: GPL-2.0-only
"""Whether a campaign that was broken and resumed lost a trial or counted one twice, by its store and its events."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from bisector.model import Signal, Trial


def wrong(before: tuple[Trial, ...], after: tuple[Trial, ...], events: Path) -> list[str]:
    """What is wrong, in words; nothing where all is right.

    Args:
        before: trials of the store when the campaign was broken off.
        after: at its end.
        events: the file that all its commands wrote.
    """
    found = []
    if after[: len(before)] != before:
        found.append("trials that were finished are not kept as they were")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    seen = Counter(line["number"] for line in lines if line["event"] == "trial" and "number" in line)
    stored = {trial.number for trial in after}
    found += [f"trial {number} was seen and is not stored" for number in set(seen) - stored]
    found += [f"trial {number} is stored and was not seen" for number in stored - set(seen)]
    found += [f"trial {number} ended {count} times" for number, count in seen.items() if count > 1]
    counted = Counter((t.stage, t.cell, t.image, t.plan, t.seed) for t in after if t.reading.signal is not Signal.INFRA)
    found += [f"{key} counts {count} times" for key, count in counted.items() if count > 1]
    return found
