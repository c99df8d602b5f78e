# SPDX-License-Identifier: GPL-2.0-only
"""The two ends of a search: in every cell of the recipe, until they differ in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from bisector.ahead import Scope, UpcomingTrial
from bisector.case import Case, stretched
from bisector.direction import Direction
from bisector.interfaces import Phase
from bisector.judge import Judge
from bisector.model import Candidate, Judgement, Outcome, OutcomeKind, Verdict
from bisector.search.measure import measure
from bisector.search.sampling import EndRounds, EndTrials, beside, draw_ends, first_of_ends
from bisector.stage import Stage
from bisector.verdict.ends import Difference, MoreEndTrials, NoDifference, UntestableEnd
from bisector.verdict.neither import NeverJudged, summary
from bisector.verdict.rule import Rule
from bisector.verdict.sequential import Evidence, More

NOTHING = Evidence()
ADVICE = "Try a longer workload, more I/O, another cell, or ends further apart"


@dataclass(frozen=True)
class Ends:
    """The cell in which the search runs, with what it starts from."""

    good: Judgement
    bad: Judgement
    case: Case
    stage: str = Stage.ENDS  # of the trials that they stand on
    drawings: int = 1  # of ends in the campaign so far: each has its share of the budget
    more: tuple[Evidence, Evidence] = field(default=(NOTHING, NOTHING))  # what proofs have seen of either end


def ends_in_cells(
    judge: Judge, good: Candidate, bad: Candidate, cases: Sequence[Case], direction: Direction
) -> Ends | Outcome:
    """Judge both ends in every cell; the search runs in the one in which they differ most.

    With a rule that learns, a cell that was chosen among several is judged again by fresh trials: what it was chosen
    for flatters it. Where the bug takes longer to show than the recipe gives it, the workload is stretched, and the
    ends are tried once more as the search will try. Gives the outcome when the ends differ in no cell.
    """
    able_cases, stopped = _measured(judge, good, bad, cases)
    if not able_cases:
        return replace(stopped[0], find_fix=direction.find_fix)
    cases = able_cases
    if not cases[0].rule.learns:
        return _each_by_itself(judge, good, bad, cases, direction)
    with judge.ahead() as scope:
        _want_first_trials(scope, judge, good, bad, cases)
        rounds = [_rounds(judge, good, bad, case, Stage.ENDS, number) for number, case in enumerate(cases, 1)]
        drawn = list(zip(cases, beside(rounds), strict=True))
    able = [(case, one) for case, one in drawn if isinstance(one.result, Difference)]
    if not able:
        return _stop(drawn[0][0], drawn[0][1], direction)
    case, chosen = max(able, key=lambda pair: pair[1].rate)
    stage, drawings = str(Stage.ENDS), len(cases)
    if len(cases) > 1:
        stage, drawings = Stage.ENDS.again("again"), len(cases) + 1
        chosen = _draw(judge, good, bad, case, stage, drawings)
    if not isinstance(chosen.result, Difference):
        return _stop(case, chosen, direction)
    ends = Ends(chosen.good, chosen.bad, replace(case, rule=case.rule.started(chosen.result)), stage, drawings)
    return _long_enough(judge, ends)


def _measured(judge: Judge, good: Candidate, bad: Candidate, cases: Sequence[Case]) -> tuple[list[Case], list[Outcome]]:
    """The cases in which the ends can be compared, and what the others ended with."""
    found = [measure(judge, good, bad, case) for case in cases]
    return [one for one in found if isinstance(one, Case)], [one for one in found if isinstance(one, Outcome)]


def _want_first_trials(scope: Scope, judge: Judge, good: Candidate, bad: Candidate, cases: Sequence[Case]) -> None:
    """Want what the ends need at once in each of the cells: first of the good end, which is tried while the bad one is
    built. A single cell of a rule that learns wants its trials itself."""
    if judge.tools.executor.count("trial") > 1 and (len(cases) > 1 or not cases[0].rule.learns):
        scope.want(_first_trials(judge, [good], cases))
        scope.want(_first_trials(judge, [good, bad], cases))


def _first_trials(judge: Judge, ends: Sequence[Candidate], cases: Sequence[Case]) -> Iterator[UpcomingTrial]:
    for end in ends:
        for number, case in enumerate(cases, 1):
            yield from judge.coming(end, case, Stage.ENDS, _first_count(case, number))


def _first_count(case: Case, number: int) -> int:
    """How many trials of each end a cell needs before anything is known of it."""
    step = case.rule.ends(NOTHING, NOTHING, number)
    if isinstance(step, MoreEndTrials):
        return max(step.good, step.bad)
    alone = case.rule.decide(NOTHING)
    return alone.count if isinstance(alone, More) else 0


def _long_enough(judge: Judge, ends: Ends) -> Ends:
    """The ends with a workload that gives the bug the time to show. Another length is another question, so its rate is
    learnt from trials of its own; where they do not tell the ends apart, the recipe's own length stays. A limit that
    the ends gave is one of that length, and stays with it."""
    if ends.case.numbers:
        return ends
    longer = stretched(ends.case, ends.bad.trials)
    if longer is ends.case:
        return ends
    stage, drawings = Stage.ENDS.again("longer"), ends.drawings + 1
    judge.report(Phase.STAGE, f"Ends with a longer workload: {longer.lasting}")
    drawn = _draw(judge, ends.good.candidate, ends.bad.candidate, longer, stage, drawings)
    if not isinstance(drawn.result, Difference):
        return replace(ends, drawings=drawings)
    return Ends(drawn.good, drawn.bad, replace(longer, rule=longer.rule.started(drawn.result)), stage, drawings)


def ends_anew(
    judge: Judge, ends: Ends, good: Evidence, bad: Evidence, rule: Rule, direction: Direction
) -> Ends | Outcome:
    """Both ends once more, after a proof saw that they, or good commits, reproduce otherwise than was thought.

    Args:
        good: fresh trials of the good end, or of good commits that reproduced now and then.
        bad: fresh trials of the bad end.
        rule: as the search and its proof left it; what it has spent stays spent.
    """
    case, drawings = ends.case, ends.drawings + 1
    more = ends.more[0] + good, ends.more[1] + bad
    at = ends.good.candidate, ends.bad.candidate
    have = _drawn(ends.good), _drawn(ends.bad)
    drawn = _draw(judge, *at, case, ends.stage, drawings, more, have)
    if isinstance(drawn.result, NoDifference):
        counted = replace(drawn.result, reason=drawn.result.reason + _counted_in(*more))
        return _stop(case, replace(drawn, result=counted), direction)
    if not isinstance(drawn.result, Difference):
        return _stop(case, drawn, direction)
    return Ends(drawn.good, drawn.bad, replace(case, rule=rule.started_anew(drawn.result)), ends.stage, drawings, more)


def _counted_in(good: Evidence, bad: Evidence) -> str:
    """What figures of both ends hold beside the ends' own trials, in words."""
    seen = ((good, "of good commits"), (bad, "of the bad end"))
    parts = [f"{each.figures} {whose}" for each, whose in seen if each.conclusive]
    return f", counting what proofs saw: {' and '.join(parts)}" if parts else ""


def _draw(
    judge: Judge,
    good: Candidate,
    bad: Candidate,
    case: Case,
    stage: str,
    number: int,
    more: tuple[Evidence, Evidence] = (NOTHING, NOTHING),
    have: tuple[int, int] = (0, 0),
) -> EndTrials:
    return beside([_rounds(judge, good, bad, case, stage, number, more, have)])[0]


def _rounds(
    judge: Judge,
    good: Candidate,
    bad: Candidate,
    case: Case,
    stage: str,
    number: int,
    more: tuple[Evidence, Evidence] = (NOTHING, NOTHING),
    have: tuple[int, int] = (0, 0),
) -> EndRounds:
    """``have``: trials of each end that an earlier drawing of this stage took."""
    with judge.ahead() as scope:
        good_series = judge.series(good, case, stage, in_turns=True)
        good_series.take(have[0])
        step = case.rule.ends(good_series.evidence + more[0], more[1], number)
        if isinstance(step, MoreEndTrials):  # it is tried while the other end is built
            scope.want(good_series.coming(step.good))
        bad_series = judge.series(bad, case, stage, in_turns=True)
        bad_series.take(have[1])
        return (yield from draw_ends(good_series, bad_series, case.rule, number=number, more=more))


def _drawn(end: Judgement) -> int:
    """How many trials an end stands on, those that the harness failed among them."""
    return len(end.trials) + end.harness_failures


def _each_by_itself(
    judge: Judge, good: Candidate, bad: Candidate, cases: Sequence[Case], direction: Direction
) -> Ends | Outcome:
    with judge.ahead() as scope:
        _want_first_trials(scope, judge, good, bad, cases)
        answers = [(case, _fixed(judge, good, bad, case)) for case in cases]
    for case, drawn in answers:
        if (drawn.good.verdict, drawn.bad.verdict) == (Verdict.GOOD, Verdict.BAD):
            return Ends(drawn.good, drawn.bad, case)
    return _stop(*answers[0], direction)


def _fixed(judge: Judge, good: Candidate, bad: Candidate, case: Case) -> EndTrials:
    """Both ends in one cell by a fixed number of trials; a few where none is good or bad."""
    first = first_of_ends(
        judge.series(good, case, Stage.ENDS, in_turns=True), lambda: judge.series(bad, case, Stage.ENDS, in_turns=True)
    )
    return first or EndTrials(None, judge.ask(good, case, Stage.ENDS), judge.ask(bad, case, Stage.ENDS))


def _stop(case: Case, drawn: EndTrials, direction: Direction) -> Outcome:
    """The outcome of a campaign that ends at its ends, in words."""
    good, bad = drawn.good, drawn.bad
    kind = OutcomeKind.ENDS_ALIKE
    swap = "swap --good and --bad" + ("" if direction.find_fix else ", and add --find-fix to search for the fix")
    unjudged = next((one for one in _most_tried(good, bad) if one.verdict in (Verdict.SKIP, Verdict.WEAK)), None)
    if isinstance(drawn.result, NeverJudged):
        kind = OutcomeKind.UNRESOLVED
        what = summary(drawn.result)
    elif unjudged or isinstance(drawn.result, UntestableEnd):
        kind = OutcomeKind.UNRESOLVED
        one = unjudged or (bad if isinstance(drawn.result, UntestableEnd) and drawn.result.bad else good)
        what = f"the end {one.candidate} cannot be judged: {one.reason}"
    elif isinstance(drawn.result, NoDifference):  # one that reproduced once need not be bad
        reason, swapped = drawn.result.reason, f"the ends are the other way round: {drawn.result.reason}; {swap}"
        what = swapped if drawn.result.reversed else f"the ends do not differ: {reason}. {ADVICE}"
    elif (good.verdict, bad.verdict) == (Verdict.BAD, Verdict.GOOD):
        what = f"the ends are the other way round: {good.candidate} is bad and {bad.candidate} is good; {swap}"
    else:
        what = (
            f"both ends are {bad.verdict}: {good.candidate} ({good.reason}), {bad.candidate} ({bad.reason}). {ADVICE}"
        )
    return Outcome(
        kind, what, good=good, bad=bad, cell=case.cell.name, find_fix=direction.find_fix, numbers=case.numbers
    )


def _most_tried(good: Judgement, bad: Judgement) -> tuple[Judgement, Judgement]:
    """Both, the one first that says why it cannot be judged: the other may not have been tried for its sake."""
    return (bad, good) if bad.failure and not good.failure else (good, bad)
