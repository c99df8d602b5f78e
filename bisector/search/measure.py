# SPDX-License-Identifier: GPL-2.0-only
"""Both ends measured, where a recipe compares numbers with the good end's: before anything is judged by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bisector.case import Case
from bisector.interfaces import Phase
from bisector.judge import Judge
from bisector.model import Candidate, Judgement, Outcome, OutcomeKind, Signal, Verdict
from bisector.series import TrialSeries
from bisector.stage import Stage
from bisector.verdict.numbers import SAMPLE, Place, measured, measuring, places, resolved, too_alike

STAGE = Stage.ENDS.again("numbers")
MOST = 2 * SAMPLE
"""Trials of an end in which it must have given its numbers."""


def measure(judge: Judge, good: Candidate, bad: Candidate, case: Case) -> Case | Outcome:
    """The case with its numbers: what is relative to the good end is compared with a limit from then on.

    The same case where nothing is relative, and where an end cannot be tried at all, which the next step finds out.
    The outcome where the ends give no numbers, or do not differ by as much as the recipe asks for.
    """
    wanted = places(case.question)
    if not wanted:
        return case
    judge.report(Phase.STAGE, f"Numbers of {good} (good) and {bad} (bad)")
    plain = replace(case, question=measuring(case.question))
    ends = judge.series(good, plain, STAGE), judge.series(bad, plain, STAGE)
    _draw(judge, ends, wanted)
    if any(series.untestable for series in ends):
        return case
    found, alike = [], []
    for place in wanted:
        numbers = [_numbers(series, place) for series in ends]
        if len(numbers[0]) < SAMPLE:
            return _stop(case, ends, OutcomeKind.UNRESOLVED, _not_measured(ends[0], place, len(numbers[0])))
        one = measured(place, *numbers)
        if one is None:
            what = f"{place.fact.where} {place.fact.name}".rstrip()
            words = f"{what} is not above 0 at the good end: no number is a part of it. Name a number instead"
            return _stop(case, ends, OutcomeKind.UNRESOLVED, words)
        judge.report(Phase.STAGE, one.summary)
        found.append(one)
        alike.append(too_alike(one, place.fact.values))
    numbers_of_case = tuple(found)
    if all(alike) and not any(trial.reading.signal is Signal.REPRODUCED for trial in ends[1].trials):
        asked = "; ".join(f"{place.condition.name} is {' or '.join(place.fact.values)}" for place in wanted)
        differ = "; ".join(one.differ for one in found)
        words = (
            f"the ends do not differ enough: {differ}; {asked}. Name a factor between the two, measure more of the "
            "work in each trial, or take ends further apart"
        )
        return _stop(replace(case, numbers=numbers_of_case), ends, OutcomeKind.ENDS_ALIKE, words)
    return replace(case, question=resolved(case.question, numbers_of_case), numbers=numbers_of_case)


def _draw(judge: Judge, ends: Sequence[TrialSeries], wanted: Sequence[Place]) -> None:
    """Trials of both ends in turns, so that what changes on this host meanwhile changes both alike."""
    with judge.ahead() as scope:
        while lacking := [series for series in ends if _lacks(series, wanted)]:
            for series in lacking:
                scope.want(series.coming(SAMPLE - min(len(_numbers(series, place)) for place in wanted)))
            for series in lacking:
                series.draw()


def _lacks(series: TrialSeries, wanted: Sequence[Place]) -> bool:
    if series.untestable or len(series.trials) >= MOST:
        return False
    return any(len(_numbers(series, place)) < SAMPLE for place in wanted)


def _numbers(series: TrialSeries, place: Place) -> list[float]:
    """The first numbers that a series gave. A trial that failed otherwise, or that the harness failed, gives none."""
    clean = (trial for trial in series.trials if trial.reading.signal is Signal.CLEAN)
    given = (place.number(trial.observation) for trial in clean)
    return [number for number in given if number is not None][:SAMPLE]


def _not_measured(series: TrialSeries, place: Place, count: int) -> str:
    last = next((trial for trial in reversed(series.trials) if trial.reading.signal is not Signal.CLEAN), None)
    what = f"{place.fact.where} {place.fact.name}".rstrip()
    why = f": {last.reading.reason}" if last else ""
    return f"the good end {series.candidate} gave {what} in {count} of {len(series.trials)} trials{why}"


def _stop(case: Case, ends: Sequence[TrialSeries], kind: OutcomeKind, words: str) -> Outcome:
    judged: list[Judgement] = [series.judgement(Verdict.SKIP, words) for series in ends]
    return Outcome(kind, words, good=judged[0], bad=judged[1], cell=case.cell.name, numbers=case.numbers)
