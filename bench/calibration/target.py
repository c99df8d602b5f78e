# SPDX-License-Identifier: GPL-2.0-only
"""A simulated target: what trials of a commit of a generated history answer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.calibration.history import History
from bisector.model import Signal

INFRA_IN_A_ROW = 3  # as bisector/judge.py: then the campaign stops with exit 3 and is resumed


@dataclass(frozen=True)
class World:
    """How the planted bug and the faults around it behave.

    Args:
        rate: chance that a trial of a bad commit reproduces.
        background: chance that a trial of a good commit does.
        other: chance that a trial ends in another crash, whatever the commit.
        infra: chance that the harness fails during a trial.
        unbuildable: chance that a commit does not build; the ends always do.
        masked: what a second bug does over part of the range, from the commit that brought it to the one that repaired
            it: "" (there is none), "always" (each trial crashes otherwise), "instead" (just those that would
            reproduce crash otherwise), "harness" (those fail in the harness: the bug shows as such a failure there).
    """

    rate: float
    background: float = 0.0
    other: float = 0.05
    infra: float = 0.05
    unbuildable: float = 0.10
    masked: str = ""


class Target:
    """Answers trials; counts what it injected."""

    def __init__(self, history: History, world: World, seed: str) -> None:
        chance = random.Random(f"history {seed}")
        self.history = history
        self.world = world
        self.culprit = chance.randrange(1, len(history))
        last = len(history) - 1
        self.unbuildable = frozenset(c for c in range(1, last) if chance.random() < world.unbuildable)
        self._second = sorted(chance.sample(range(1, last), 2)) if last > 2 else [1, 1]
        self.infra = self.other = self.stops = 0
        self._seed = seed
        self._named = 0
        self._in_a_row = 0
        self._streams: dict[tuple[int, str], random.Random] = {}

    def is_bad(self, commit: int) -> bool:
        """The truth."""
        if commit < 0:
            return (commit == -2) is (self._named == self.culprit)
        return self.history.is_ancestor(self.culprit, commit)

    @property
    def provable(self) -> bool:
        """Whether the culprit and all its parents build."""
        return not ({self.culprit, *self.history.parents[self.culprit]} & self.unbuildable)

    def edited(self, culprit: int, kind: str) -> int:
        """The culprit's own edit over an end as a candidate of its own: -1 reverts it on the bad end, -2 applies it on
        the good one. The named commit is the culprit: a wrong one changes nothing. 0: the edit does not apply or build.
        A revert of the commit that ended the harness's failures brings them back, and that commit has nothing to apply
        on the good end.
        """
        self._named = culprit
        if self.world.masked == "harness" and culprit == self._second[1]:
            return -1 if kind == "revert" else 0
        chance = random.Random(f"{self._seed} {kind} {culprit}")
        return (-1 if kind == "revert" else -2) if chance.random() >= self.world.unbuildable else 0

    def trial(self, commit: int, stage: str) -> Signal:
        """One trial; each commit and stage has its own stream of chance, so that rules are compared on the same one."""
        stream = self._streams.get((commit, stage))
        if stream is None:
            stream = self._streams[commit, stage] = random.Random(f"{self._seed} {commit} {stage}")
        dice = stream.random()
        if dice < self.world.infra:
            return self._failed()
        self._in_a_row = 0
        if dice < self.world.infra + self.world.other:
            self.other += 1
            return Signal.OTHER_FAILURE
        rate = self.world.rate if self.is_bad(commit) else self.world.background
        reproduces = stream.random() < rate
        if self.world.masked and self._is_masked(commit) and (reproduces or self.world.masked == "always"):
            if self.world.masked == "harness":
                return self._failed()
            self.other += 1
            return Signal.OTHER_FAILURE
        return Signal.REPRODUCED if reproduces else Signal.CLEAN

    def _failed(self) -> Signal:
        self.infra += 1
        self._in_a_row += 1
        if self._in_a_row == INFRA_IN_A_ROW:
            self.stops, self._in_a_row = self.stops + 1, 0
        return Signal.INFRA

    def _is_masked(self, commit: int) -> bool:
        if commit < 0:  # the ends are on neither side of the second bug, but for a revert of what changed it
            return self.world.masked == "harness" and commit == -1 and self._named == self._second[1]
        brought, repaired = self._second
        is_ancestor = self.history.is_ancestor
        return is_ancestor(brought, commit) and not is_ancestor(repaired, commit)
