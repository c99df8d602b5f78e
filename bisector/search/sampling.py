# SPDX-License-Identifier: GPL-2.0-only
"""Trials of several candidates in turns, where one decision rests on all of them: the ends, and the proof.

The arithmetic is verdict/ends.py and verdict/confirm.py; here trials are drawn as they ask.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bisector.ahead import Scope, UpcomingTrial
from bisector.model import Image, Judgement, Signal, Verdict
from bisector.series import TrialSeries
from bisector.verdict.confirm import Draw, Step
from bisector.verdict.ends import Difference, MoreEndTrials, NoDifference, UntestableEnd
from bisector.verdict.hiding import Sample
from bisector.verdict.neither import ENOUGH, NeverJudged, always_neither, never_judged, stops
from bisector.verdict.rule import Rule
from bisector.verdict.sequential import Evidence, often_failed

NOTHING = Evidence()


@dataclass(frozen=True)
class EndTrials:
    """Both ends in one cell. ``result`` is None when one of them cannot be tried at all."""

    result: Difference | NoDifference | UntestableEnd | NeverJudged | None
    good: Judgement
    bad: Judgement

    @property
    def rate(self) -> float:
        """Part of the bad end's trials that reproduced."""
        reproduced, trials = self.bad.counts
        return reproduced / trials if trials else 0.0


EndRounds = Generator[None, None, EndTrials]
"""Rounds of trials of both ends: at each stop one is wanted and not drawn yet; what they came to is what it returns."""


def draw_ends(
    good: TrialSeries,
    bad: TrialSeries,
    rule: Rule,
    *,
    number: int,
    more: tuple[Evidence, Evidence] = (NOTHING, NOTHING),
) -> EndRounds:
    """Trials of both ends in growing rounds until they differ, are alike, or cannot be tried.

    Args:
        number: of this drawing in the campaign, from 1; each spends its share of the budget.
        more: what proofs have seen of the good end and its like, and of the bad end.
    """
    with good.judge.ahead() as scope:
        return (yield from _draw_ends(good, bad, rule, number, more, scope))


def beside(drawings: Sequence[EndRounds]) -> list[EndTrials]:
    """What several drawings came to, a round of each in turns: while one of them decides, trials of all others run.

    Whose turn it is goes by the rounds alone, however many trials run at once (law 9).
    """
    found: dict[int, EndTrials] = {}
    with ExitStack() as ending:
        for drawing in drawings:
            ending.callback(drawing.close)
        while len(found) < len(drawings):
            for place, drawing in enumerate(drawings):
                if place not in found:
                    try:
                        next(drawing)
                    except StopIteration as end:
                        found[place] = end.value
    return [found[place] for place in range(len(drawings))]


def _draw_ends(
    good: TrialSeries, bad: TrialSeries, rule: Rule, number: int, more: tuple[Evidence, Evidence], scope: Scope
) -> EndRounds:
    while not (good.untestable or bad.untestable):
        step = rule.ends(good.evidence + more[0], bad.evidence + more[1], number)
        if not isinstance(step, MoreEndTrials):
            if isinstance(step, Difference):
                return EndTrials(
                    step, good.judgement(Verdict.GOOD, _figures(good)), bad.judgement(Verdict.BAD, _figures(bad))
                )
            return EndTrials(step, _close_end(good, step), _close_end(bad, step, is_bad=True))
        wanted = ((good, step.good), (bad, step.bad))
        scope.want(_coming(wanted))
        yield
        _draw_in_turns(wanted, stop=(good,), first=(good, bad))
        if never := never_judged((*good.trials, *bad.trials)):
            return EndTrials(never, _close_end(good), _close_end(bad))
    return EndTrials(None, _close_end(good), _close_end(bad))


def first_of_ends(good: TrialSeries, bad: Callable[[], TrialSeries]) -> EndTrials | None:
    """A trial of each end in turns, while none is good or bad; the outcome where that never ends, else None.

    ``bad``: is made when its turn comes, for it may have to be built.
    """
    both = [good]
    for turn in range(2 * ENOUGH):  # ends that have one image share its trials
        both += [bad()] if turn == 1 else []
        series = both[turn % 2]
        if series.untestable:
            return None
        series.draw()
        drawn = [trial for each in both for trial in each.trials]
        if not always_neither(drawn):
            return None
        if never := never_judged(drawn):
            return EndTrials(never, *map(_close_end, both))
    return None


def draw_proof(
    bad: Sequence[TrialSeries],
    good: Sequence[TrialSeries],
    rule: Rule,
    number: int,
    edited: tuple[int, int] = (0, 0),
    culprit: Verdict | None = None,
    searched: Sequence[Evidence | None] = (),
) -> Step:
    """Fresh trials of those that must be bad against those that must be good, head to head.

    ``number``: of this proof in the campaign, from 1; ``edited``, ``culprit``, ``searched``: as of ``Rule.proof``.
    """
    with (*bad, *good)[0].judge.ahead() as scope:
        return _draw_proof(bad, good, rule, number, edited, culprit, searched, scope)


def _draw_proof(
    bad: Sequence[TrialSeries],
    good: Sequence[TrialSeries],
    rule: Rule,
    number: int,
    edited: tuple[int, int],
    culprit: Verdict | None,
    searched: Sequence[Evidence | None],
    scope: Scope,
) -> Step:
    def elsewhere(is_bad: bool, place: int) -> Sample:
        return (bad if is_bad else good)[place].failed_elsewhere()

    while True:
        tried = [_evidence(series, rule) for series in bad], [_evidence(series, rule) for series in good]
        step = rule.proof(*tried, number, edited, culprit, elsewhere, searched)
        if not isinstance(step, Draw):
            return step
        wanted = (*zip(bad, step.bad, strict=True), *zip(good, step.good, strict=True))
        expected = step.expected or (step.bad, step.good)
        scope.want(_coming((*zip(bad, expected[0], strict=True), *zip(good, expected[1], strict=True))))
        _draw_in_turns(wanted, stop=good)


@dataclass
class FirstTrials:
    """Wants the first trials of a proof's arms while further arms are still built. Called with each arm that is made.

    How many trials an arm needs is known when all arms are; here it is as many as with one arm a side.
    """

    scope: Scope
    rule: Rule
    number: int
    arms: list[TrialSeries] = field(default_factory=list)

    def __call__(self, arm: TrialSeries) -> None:
        """Want its trials, too."""
        if isinstance(arm.made, Image):
            self.arms.append(arm)
            step = self.rule.proof((NOTHING,), (NOTHING,), self.number, (0, 0), None, lambda *_: (0, 0))
            count = max(*step.bad, *step.good) if isinstance(step, Draw) else 1
            self.scope.want(_coming((each, count) for each in self.arms))


def _coming(wanted: Iterable[tuple[TrialSeries, int]]) -> Iterator[UpcomingTrial]:
    """The trials that several series want, in the turns in which they are drawn."""
    each = [tuple(series.coming(count)) for series, count in wanted if not series.untestable]
    return (one for turn in itertools.zip_longest(*each) for one in turn if one)


def _evidence(series: TrialSeries, rule: Rule) -> Evidence:
    """Counts of the series. One that boots no more gives no trials: it has as many other failures as end a series."""
    seen = series.evidence
    return replace(seen, other=rule.other_cap + 2 * seen.conclusive) if series.untestable else seen


def _draw_in_turns(
    wanted: Iterable[tuple[TrialSeries, int]], stop: Iterable[TrialSeries], first: Sequence[TrialSeries] = ()
) -> None:
    """Draw as many as wanted of each series, in turns.

    A reproduction at a series of ``stop`` ends it, and so do many failures of the harness at any of them: what either
    means is decided before more is drawn. The first trials of ``first`` end it where they say that no trial will ever
    be bad or good.
    """
    turns, watched = tuple(wanted), tuple(stop)
    for turn in range(max(count for _, count in turns)):
        for series, count in turns:
            if turn >= count or series.untestable:
                continue
            signal = series.draw().signal
            if signal is Signal.REPRODUCED and series in watched:
                return
            if signal is Signal.INFRA and often_failed(series.evidence):
                return
            if stops([trial for each in first for trial in each.trials]):
                return


def _close_end(
    series: TrialSeries, step: NoDifference | UntestableEnd | None = None, *, is_bad: bool = False
) -> Judgement:
    """``step``: what the ends' trials came to; the end that cannot be judged is not called good by what is left."""
    if series.untestable:
        return series.judgement(Verdict.SKIP, series.untestable)
    if isinstance(step, UntestableEnd) and step.bad is is_bad:
        return series.judgement(Verdict.SKIP, step.reason)
    evidence = series.evidence
    if not evidence.conclusive:
        what = "failed in the harness" if evidence.infra > evidence.other else "ended in another failure"
        return series.judgement(Verdict.SKIP, f"{max(evidence.infra, evidence.other)} trials {what}")
    return series.judgement(Verdict.BAD if evidence.reproduced else Verdict.GOOD, _figures(series))


def _figures(series: TrialSeries) -> str:
    return f"reproduced in {series.evidence.figures}"
