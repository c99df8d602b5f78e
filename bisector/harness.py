# SPDX-License-Identifier: GPL-2.0-only
"""Trials that the harness failed: whose failure was it, the candidate's or the host's? Pure (law 7).

A run of such failures at one candidate is followed by a trial of another one, stored under Stage.CHECK. Where that
fails too, the host is broken, and what it failed since it last worked says nothing of any candidate. Else the failures
are the candidate's, and are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bisector.causes import Cause
from bisector.model import BuildFailure, Signal, Trial, Verdict
from bisector.stage import Stage
from bisector.verdict.hiding import Sample
from bisector.verdict.sequential import Evidence
from bisector.verdict.signature import reached_agent


def failed(trial: Trial) -> bool:
    """Whether the harness failed the trial."""
    return trial.reading.signal is Signal.INFRA


@dataclass(frozen=True)
class Breakdown:
    """A check that failed: the host was broken. ``number``: the check's; ``since``: that of the last trial before it
    which the harness did not fail, 0 where there was none."""

    number: int
    since: int


def breakdowns(trials: Iterable[Trial]) -> list[Breakdown]:
    """The times that the host was broken. ``trials``: all of a campaign, or of a question, in order."""
    found, worked = [], 0
    for trial in trials:
        if not failed(trial):
            worked = trial.number
        elif trial.stage == Stage.CHECK:
            found.append(Breakdown(trial.number, worked))
    return found


class Tally:
    """A series of trials with its counts, so that reading them costs the same however long it is."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.evidence = Evidence()
        self.conclusive = 0  # trials that the harness did not fail
        self.booted = 0  # of these, those whose VM reached its agent

    def add(self, trial: Trial) -> None:
        """Append one trial."""
        self.trials.append(trial)
        self._count(trial, +1)

    def drop_last_failures(self, since: int) -> None:
        """Take the trials off the end that the harness failed after the trial of the number ``since``."""
        while self.trials and failed(self.trials[-1]) and self.trials[-1].number > since:
            self._count(self.trials.pop(), -1)

    def _count(self, trial: Trial, by: int) -> None:
        self.evidence = self.evidence.plus(trial.reading.signal, by)
        if not failed(trial):
            self.conclusive += by
            self.booted += by * reached_agent(trial.observation)


class CountedSeries:
    """One series of a candidate's trials in order, without the failures that were the host's.

    Args:
        broke: when the host was broken, in order; the list may grow.
    """

    def __init__(self, broke: Sequence[Breakdown]) -> None:
        self._broke = broke
        self._seen = 0
        self._tally = Tally()

    def add(self, trial: Trial) -> None:
        """Append one trial, as it was stored."""
        self._drop_before(trial.number)
        self._tally.add(trial)

    @property
    def tally(self) -> Tally:
        """What counts, up to now."""
        for broke in self._broke[self._seen :]:
            self._tally.drop_last_failures(broke.since)
        return self._tally

    def _drop_before(self, number: int) -> None:
        while self._seen < len(self._broke) and self._broke[self._seen].number < number:
            self._tally.drop_last_failures(self._broke[self._seen].since)
            self._seen += 1


def counted(trials: Iterable[Trial], broke: Sequence[Breakdown]) -> list[Trial]:
    """The trials of one series that count: ``CountedSeries`` of all of them."""
    series = CountedSeries(broke)
    for trial in trials:
        series.add(trial)
    return series.tally.trials


def in_a_row(trials: Sequence[Trial]) -> int:
    """How many of the last trials the harness failed."""
    return next((count for count, trial in enumerate(reversed(trials)) if not failed(trial)), len(trials))


def elsewhere(trials: Sequence[Trial], last: Trial) -> Sample:
    """(trials that the harness failed, all trials) of other images than that of ``last``, run before it.

    Args:
        trials: of one campaign and question, in order.
    """
    broke = breakdowns(trials)
    series: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        if trial.image != last.image and trial.number < last.number and trial.stage != Stage.CHECK:
            series.setdefault((trial.image, trial.stage), []).append(trial)
    others = [trial for each in series.values() for trial in counted(each, broke)]
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


def cause(verdict: Verdict, failure: BuildFailure | None, no_boot: str, evidence: Evidence) -> Cause:
    """Why a candidate has no verdict that a search can use; ``no_boot``: why it has no conclusive trials, else ""."""
    if verdict is Verdict.WEAK:
        return Cause.UNDECIDED
    if verdict is not Verdict.SKIP:
        return Cause.NONE
    if failure:
        return Cause.NOT_BUILT
    if no_boot:
        return Cause.NO_BOOT
    return Cause.HARNESS if evidence.infra > evidence.other else Cause.OTHER_FAILURES


def common_failure(evidence: Evidence) -> tuple[Signal, ...]:
    """What to name of a candidate that is skipped: the more common of its failures."""
    return (Signal.INFRA,) if evidence.infra > evidence.other else (Signal.OTHER_FAILURE,)
