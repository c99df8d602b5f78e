# SPDX-License-Identifier: GPL-2.0-only
"""What people do today, on the same histories and the same chance: a fixed number of trials a step; git_bayesect."""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.calibration.git_model import Found, next_commit
from bench.calibration.history import History
from bench.calibration.target import Target
from bisector.model import Signal
from bisector.verdict.sequential import OTHER_CAP, Evidence


@dataclass(frozen=True)
class FixedEnded:
    """``trials``: of the search, stopping a candidate at its first reproduction; ``whole``: never stopping early."""

    suspects: frozenset[int]
    trials: int
    whole: int
    ends: int  # trials that the same rule takes at both ends, stopping early


def fixed(target: Target, count: int) -> FixedEnded:
    """git bisect with ``count`` trials a step: one reproduction is bad. Ends believed, no proof."""
    history = target.history
    goods, bad, skips = [0], len(history) - 1, frozenset[int]()
    trials = whole = 0
    while not isinstance(choice := next_commit(history, bad, goods, skips), Found):
        verdict, used, unstopped = _ask(target, choice, count)
        trials, whole = trials + used, whole + unstopped
        if verdict == "bad":
            bad = choice
        elif verdict == "good":
            goods.append(choice)
        else:
            skips |= {choice}
    ends = _ask(target, 0, count)[1] + _ask(target, len(history) - 1, count)[1]
    return FixedEnded(choice.suspects, trials, whole, ends)


def _ask(target: Target, commit: int, count: int) -> tuple[str, int, int]:
    """(verdict, trials until it, trials without stopping early)."""
    if commit in target.unbuildable:
        return "skip", 0, 0
    evidence, used = Evidence(), 0
    while evidence.conclusive < count and evidence.other < OTHER_CAP + 2 * evidence.conclusive:
        signal = target.trial(commit, "search")
        if signal is Signal.INFRA:
            continue
        evidence = evidence.plus(signal)
        used += 1
        if signal is Signal.REPRODUCED:
            rest = round((count - evidence.conclusive) / (1 - target.world.other))
            return "bad", used, used + rest
    return ("good" if evidence.conclusive >= count else "skip"), used, used


def bayesect(
    history: History, target: Target, chance: random.Random, *, confidence: float, most: int
) -> tuple[int, int]:
    """(culprit named, trials) of git_bayesect's own Bisector on a linear history, all commits building.

    Other crashes and infrastructure faults are drawn again for it, which it has no means to do itself.
    """
    from git_bayesect import Bisector  # type: ignore[import-not-found]  # installed for the bench alone

    size = len(history)
    bisector = Bisector([1.0] * size)  # its index 0 is the newest commit
    trials = 0
    while bisector.distribution.max() < confidence and trials < most:
        trials += 1
        index = bisector.select()
        bad = target.is_bad(size - 1 - index)
        bisector.record(index, bad and chance.random() < target.world.rate)
    return size - 1 - int(bisector.distribution.argmax()), trials
