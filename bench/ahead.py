# SPDX-License-Identifier: GPL-2.0-only
"""What builds ahead save: a search of 16 steps, simulated in small time with the real scheduler of builds."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from bisector.builds import BuildsAhead
from bisector.errors import Interrupted
from bisector.execute.local import LocalExecutor
from bisector.interfaces import CancelToken, Listener, ignore
from bisector.model import Candidate, Image, TargetKind

STEPS = 16
BUILD, TRIAL = 180.0, 60.0  # seconds
SCALE = 60.0
"""So many simulated seconds pass in one."""
BUILDERS = (1, 2, 4, 8)
CULPRITS = (12_345, 40_000, 61_111)


@dataclass
class _Builder:
    """A revision's image takes BUILD; one that was made is there."""

    made: set[str]

    def key(self, candidate: Candidate) -> str:
        return candidate.revision

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image:
        end = time.monotonic() + BUILD / SCALE
        while candidate.revision not in self.made and time.monotonic() < end:
            if cancel.cancelled():
                raise Interrupted("stopped")
            time.sleep(min(0.01, max(0.0, end - time.monotonic())))
        self.made.add(candidate.revision)
        return Image(candidate.revision, "/dev/null")


def _candidate(place: int) -> Candidate:
    return Candidate(TargetKind.KERNEL_SOURCE, str(place))


def _likely(low: int, high: int) -> Iterator[Candidate]:
    """What a bisection between two commits asks for: now, then after one answer, after two, and so on."""
    spans = [(low, high)]
    while spans:
        old, new = spans.pop(0)
        if new - old > 1:
            middle = (old + new) // 2
            yield _candidate(middle)
            spans += [(old, middle), (middle, new)]


def search(builders: int, culprit: int) -> float:
    """Simulated seconds of one search; one trial decides."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-ahead-") as folder,
        LocalExecutor(builds=1, trials=1, ahead=max(1, builders - 1)) as pool,
    ):
        target, token = _Builder(set()), CancelToken(str(Path(folder) / "cancel"))
        ahead = BuildsAhead(builders - 1, target, pool, token)
        low, high, began = 0, 2**STEPS, time.monotonic()
        while high - low > 1:
            middle = (low + high) // 2
            later = partial(islice, _likely(low, high), 1, 1 + max(2, builders - 1))
            ahead.want(later, now=_candidate(middle))
            with ahead.needed(str(middle)):
                pool.submit("build", target.image, _candidate(middle), listener=ignore, cancel=token).result()
            time.sleep(TRIAL / SCALE)
            low, high = (low, middle) if middle >= culprit else (middle, high)
        took = (time.monotonic() - began) * SCALE
        token.cancel()
    return took


def main() -> None:
    """Print the figures."""
    print(f"{STEPS} steps, builds of {BUILD:g} s, trials of {TRIAL:g} s; {SCALE:g} simulated seconds in one")
    alone = 0.0
    for builders in BUILDERS:
        took = sum(search(builders, culprit) for culprit in CULPRITS) / len(CULPRITS)
        alone = alone or took
        bound = 1 / math.log2(builders + 1)
        print(f"{builders} builders: {took / 60:5.1f} min, {took / alone:.2f} of one; bound 1/log2(k+1) {bound:.2f}")
