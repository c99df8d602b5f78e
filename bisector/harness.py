# SPDX-License-Identifier: GPL-2.0-only
"""Trials that the harness failed: whose failure was it, the candidate's or the host's? Pure (law 7).

A run of such failures at one candidate is followed by a trial of another one, stored under CHECK. Where that fails too,
the host is broken, and the run says nothing of the candidate. Else the failures are the candidate's, and are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bisector.model import Signal, Trial
from bisector.verdict.hiding import Sample

CHECK = "harness-check"
"""Stage of the trials that are run to see whether the harness works at all. They are evidence of no candidate."""


def failed(trial: Trial) -> bool:
    """Whether the harness failed the trial."""
    return trial.reading.signal is Signal.INFRA


def counted(trials: Sequence[Trial], checks: Iterable[Trial]) -> list[Trial]:
    """One series of a candidate's trials in order, without the failures that were the host's.

    Args:
        checks: the campaign's trials of stage CHECK, in order.
    """
    kept: list[Trial] = []
    broken = [check.number for check in checks if failed(check)]
    for trial in trials:
        while broken and broken[0] < trial.number:
            _drop_last_run(kept)
            broken.pop(0)
        kept.append(trial)
    if broken:
        _drop_last_run(kept)
    return kept


def in_a_row(trials: Sequence[Trial]) -> int:
    """How many of the last trials the harness failed."""
    return next((count for count, trial in enumerate(reversed(trials)) if not failed(trial)), len(trials))


def elsewhere(trials: Sequence[Trial], last: Trial) -> Sample:
    """(trials that the harness failed, all trials) of other images than that of ``last``, run before it.

    Args:
        trials: of one campaign and question, in order.
    """
    checks = [trial for trial in trials if trial.stage == CHECK]
    series: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if trial.image != last.image and trial.number < last.number and trial.stage != CHECK:
            series.setdefault((trial.image, trial.stage), []).append(trial)
    others = [trial for each in series.values() for trial in counted(each, checks)]
    return sum(map(failed, others)), len(others)


def fails_least(trials: Iterable[Trial], image: str) -> Trial | None:
    """A trial of that other image than ``image`` at which the harness failed the smallest part of the trials; None
    where it never worked at another one. Of equals it is the one with the most trials, then the first."""
    others: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.image != image:
            others.setdefault(trial.image, []).append(trial)
    best = max(others.values(), key=lambda each: (-sum(map(failed, each)) / len(each), len(each)), default=[])
    return next((trial for trial in best if not failed(trial)), None)


def _drop_last_run(trials: list[Trial]) -> None:
    while trials and failed(trials[-1]):
        trials.pop()
