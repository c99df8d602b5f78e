# SPDX-License-Identifier: GPL-2.0-only
"""``python -m bench.calibration.numbers``: campaigns by a number relative to the good end, as the product decides them.

Trials give simulated numbers; limit, ends, search and proof are the product's own code. Prints the table of
docs/trust.md. A world is what numbers of one kernel scatter like, as parts of the effect that is searched for.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from dataclasses import dataclass

from bench.calibration.campaign import Campaign
from bench.calibration.figures import Tally, lower, table, upper
from bench.calibration.history import History, graph, linear
from bench.calibration.target import Target, World
from bisector.model import Condition, Fact, FactKind, OutcomeKind, Signal
from bisector.recipe.facts.comparison import Comparison
from bisector.verdict.budget import Budget
from bisector.verdict.numbers import SAMPLE, Place, measured, too_alike

EFFECTS = (0.20, 0.08)
WAVE = 150  # trials of one period of a drift
HALVED = 0.5  # part of its number that a disturbed trial gives


@dataclass(frozen=True)
class Noise:
    """How the numbers of one kernel scatter.

    Args:
        spread: standard deviation of their logarithm (lognormal), as a part of the effect.
        outliers: chance that a trial is disturbed.
        drift: amplitude of a slow wave over all trials, as a part of the effect.
    """

    spread: float
    outliers: float = 0.0
    drift: float = 0.0


NOISES = (
    Noise(0.05),
    Noise(0.25),
    Noise(0.5),
    Noise(0.25, outliers=0.02),
    Noise(0.25, drift=0.25),
    Noise(0.25, outliers=0.02, drift=0.25),
)


class NumberTarget(Target):
    """A target whose trials give a number: bad commits give ``1 - effect`` of it.

    Args:
        asked: the recipe's factor: a trial is bad below so many times the good end's number.
    """

    def __init__(self, history: History, effect: float, asked: float, noise: Noise, seed: str) -> None:
        super().__init__(history, World(0.0), seed)
        self._effect, self._noise = effect, noise
        self._numbers = random.Random(f"numbers {seed}")
        self._ran, self._phase = 0, self._numbers.uniform(0.0, 2 * math.pi)
        fact = Fact(FactKind.VALUE, "load", (f"< {asked!r} × good",), name="iops")
        pairs = [(self._number(0), self._number(len(history) - 1)) for _ in range(SAMPLE)]
        found = measured(Place(Condition("slow", (fact,)), 0), *zip(*pairs, strict=True))
        assert found is not None
        self.too_alike = too_alike(found, fact.values)
        self._limit = Comparison.read(found.limits[0][1])

    def _number(self, commit: int) -> float:
        self._ran += 1
        noise, chance = self._noise, self._numbers
        size = self._effect or EFFECTS[-1]
        number = math.exp(chance.gauss(0.0, noise.spread * size))
        number *= 1.0 + noise.drift * size * math.sin(self._phase + 2 * math.pi * self._ran / WAVE)
        number *= HALVED if chance.random() < noise.outliers else 1.0
        return number * (1.0 - self._effect) if self.is_bad(commit) else number

    def trial(self, commit: int, stage: str) -> Signal:
        """One trial, with the harness's and other failures of every target."""
        signal = super().trial(commit, stage)
        if signal is not Signal.CLEAN:
            return signal
        return Signal.REPRODUCED if self._limit.holds(self._number(commit)) else Signal.CLEAN


def history(number: int) -> History:
    """As ``bench.calibration`` makes them: 30 to 1000 commits, evenly spread on the logarithm."""
    chance = random.Random(f"history {number}")
    size = round(math.exp(chance.uniform(math.log(30), math.log(1000))))
    return linear(size, chance) if number % 2 else graph(size, chance)


def campaigns(effect: float, asked: float, noise: Noise, count: int) -> Tally:
    """So many campaigns."""
    tally, began = Tally(), time.monotonic()
    for number in range(count):
        target = NumberTarget(history(number), effect, asked, noise, str(number))
        tally.campaigns += 1
        tally.trials["numbers"] += 2 * SAMPLE
        if target.too_alike:
            tally.kinds["cannot tell"] += 1
            continue
        ended = Campaign(target, Budget(0.01)).run()
        named = ended.kind in (OutcomeKind.CULPRIT, OutcomeKind.NARROWED)
        tally.wrong += named and (not effect or target.culprit not in ended.suspects)
        tally.kinds[ended.kind.value] += 1
        if target.provable:
            tally.provable += 1
            tally.provable_kinds[ended.kind.value] += 1
        tally.trials += ended.trials
        tally.restarts += ended.restarts
    tally.seconds = time.monotonic() - began
    return tally


def row(effect: float, asked: float, noise: Noise, tally: Tally) -> tuple[object, ...]:
    """One world's line."""
    culprits, provable = tally.provable_kinds["culprit"], tally.provable or 1
    rest = {kind: n for kind, n in tally.kinds.items() if kind not in ("culprit", "narrowed")}
    return (
        f"{effect:.0%}", f"< {asked:g} × good", f"{noise.spread:g}", f"{noise.outliers:.0%}", f"{noise.drift:g}",
        tally.campaigns, tally.wrong, f"{upper(tally.wrong, tally.campaigns):.2%}",
        f"{culprits / provable:.1%} (≥ {lower(culprits, provable):.1%})", rest or "none",
        tally.mean("numbers"), tally.mean("ends"), tally.mean("search"), tally.mean("proof"),
    )  # fmt: skip


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.calibration.numbers", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1000, help="of each world")
    options = parser.parse_args()
    worlds = [(effect, round(1.0 - effect, 2), noise) for noise in NOISES for effect in EFFECTS]
    worlds += [(0.0, 0.92, Noise(0.5)), (0.0, 0.92, Noise(0.5, outliers=0.02)), (0.03, 0.8, Noise(0.5))]
    rows = []
    for world in worlds:
        rows.append(row(*world, campaigns(*world, options.campaigns)))
        print(rows[-1], flush=True)
    head = (
        "effect", "asked", "spread", "outliers", "drift", "campaigns", "wrong", "95 % bound", "culprit, of provable",
        "other outcomes", "numbers", "ends", "search", "proof",
    )  # fmt: skip
    print("\n" + table(head, rows))


if __name__ == "__main__":
    main()
