# SPDX-License-Identifier: GPL-2.0-only
"""Where things stand in the pictures of the HTML page: the search as a funnel, the shares of the time. Pure geometry.

Places across are per cent of the width, so that one drawing fits every screen; places down are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bisector.direction import Direction, of_outcome
from bisector.model import Candidate, EditKind, Judgement, Outcome, Signal, Verdict
from bisector.report.facts import Facts
from bisector.report.spans import SpanKind
from bisector.stage import Stage

LEFT, RIGHT = 5.0, 95.0
ROW = 60  # pixels of one candidate's row
MARKS = 14  # trials drawn one by one
MARK = 9  # pixels from one trial's mark to the next
NAME = 26  # characters of a candidate's name, beside a stage of at most SHORT_STAGE
SHORT_STAGE = 6


@dataclass(frozen=True)
class Row:
    """One candidate tried. ``low`` to ``high``: what was left of the history before it; ``at``: where it stands."""

    number: int
    name: str
    stage: str
    verdict: str
    counts: str
    reason: str
    low: float
    high: float
    at: float
    marks: tuple[str, ...]  # signals of its trials
    more: int  # trials beyond those drawn
    leftward: bool  # marks run to the left, for there is more room
    culprit: bool = False


@dataclass(frozen=True)
class Share:
    """Seconds that one kind of work took, and its part of all work in per cent."""

    name: str
    seconds: float
    percent: float
    x: float


# ---- the search ----------------------------------------------------------------------------------------------------


def funnel(facts: Facts) -> tuple[Row, ...]:
    """The candidates in the order in which they were tried, each halving what the ones before it left.

    The places are those of a bisection, not of a calendar: at the scale of a real history, the last steps of a search
    would all be one dot.
    """
    outcome = facts.outcome
    rows: list[Row] = []
    low, high = 0.0, 1.0
    placed: dict[str, float] = {}
    for stage, judgement in facts.judgements:
        if Stage.of(stage) is Stage.ENDS and outcome and judgement.cell != outcome.cell:
            continue
        key = judgement.candidate.revision + "".join(edit.kind + edit.commit for edit in judgement.candidate.edits)
        if key not in placed:
            placed[key] = _place(stage, judgement, low, high, outcome)
        at = placed[key]
        rows.append(_row(len(rows), stage, judgement, (low, high, at), facts))
        if Stage.of(stage) not in (Stage.PROOF, Stage.FIXED) and low <= at <= high:
            low, high = _left(judgement.verdict, at, low, high, of_outcome(outcome))
    return tuple(rows)


def _place(stage: str, judgement: Judgement, low: float, high: float, outcome: Outcome | None) -> float:
    search, part = of_outcome(outcome), Stage.of(stage)
    if part is Stage.ENDS:
        if outcome and outcome.good and outcome.bad:
            good, bad = search.good_bad(0.0, 1.0)
            return good if judgement.candidate == outcome.good.candidate else bad
        return 0.0 if judgement.verdict is search.old else 1.0
    if part is Stage.FIXED:  # newer than the newer end
        return 1.0
    if any(
        edit.kind is not EditKind.FIXUP for edit in judgement.candidate.edits
    ):  # the culprit's own, on one of the ends
        end = search.old_new(outcome.good, outcome.bad)[0] if outcome else None
        return 0.0 if end and judgement.candidate.revision == end.candidate.revision else 1.0
    if part is Stage.PROOF:
        return low
    step = {Verdict.SKIP: 0.38, Verdict.WEAK: 0.62}.get(judgement.verdict, 0.5)
    return low + (high - low) * step


def _left(verdict: Verdict, at: float, low: float, high: float, search: Direction) -> tuple[float, float]:
    if verdict is search.old:
        return max(low, at), high
    if verdict is search.new:
        return low, min(high, at)
    return low, high


def _row(number: int, stage: str, judgement: Judgement, place: tuple[float, float, float], facts: Facts) -> Row:
    trials = facts.trials_of(stage, judgement)
    reproduced = sum(trial.reading.signal is Signal.REPRODUCED for trial in trials)
    conclusive = reproduced + sum(trial.reading.signal is Signal.CLEAN for trial in trials)
    signals = tuple(trial.reading.signal.value for trial in trials)
    low, high, at = (across(part) for part in place)
    culprit = facts.outcome.culprit if facts.outcome else None
    return Row(
        number=number + 1,
        name=short(_name(judgement.candidate), NAME - max(0, len(stage) - SHORT_STAGE)),
        stage=stage,
        verdict=judgement.verdict.value,
        counts=f"{reproduced}/{conclusive}" if conclusive else "",
        reason=judgement.reason,
        low=low,
        high=high,
        at=at,
        marks=signals[:MARKS],
        more=max(0, len(signals) - MARKS),
        leftward=place[2] > 0.5,
        culprit=bool(culprit and culprit.oid == judgement.candidate.revision and not judgement.candidate.edits),
    )


def _name(candidate: Candidate) -> str:
    """What a candidate is called: of an end with the culprit's edit, which end and which edit."""
    words = {EditKind.REVERT: "less", EditKind.APPLY: "plus"}
    edits = [f" {words[edit.kind]} {edit.commit[:12]}" for edit in candidate.edits if edit.kind in words]
    if not edits:
        return str(candidate)
    return (candidate.label.removeprefix("the ") or candidate.revision[:12]) + "".join(edits)


def across(part: float) -> float:
    """0 to 1 as per cent of the width, within the margins."""
    return round(LEFT + (RIGHT - LEFT) * part, 2)


def short(text: str, limit: int) -> str:
    """``text``, its middle left out where it is longer than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit // 2 - 1] + "…" + text[-(limit - limit // 2) :]


# ---- time ----------------------------------------------------------------------------------------------------------


def shares(facts: Facts) -> tuple[Share, ...]:
    """What the time was spent on, by kind of work."""
    timings = [trial.observation.timing for trial in facts.trials]
    building = sum(span.end - span.begin for span in facts.spans if span.kind is SpanKind.BUILD)
    boot = sum(timing.boot for timing in timings)
    storage = sum(timing.storage for timing in timings)
    workload = sum(timing.workload for timing in timings)
    rest = max(0.0, sum(timing.total for timing in timings) - boot - storage - workload)
    named = [("build", building), ("boot", boot), ("storage", storage), ("workload", workload), ("other", rest)]
    return tuple(_cumulated([(name, seconds) for name, seconds in named if seconds >= 0.5]))


def _cumulated(named: Sequence[tuple[str, float]]) -> Iterator[Share]:
    whole = sum(seconds for _, seconds in named)
    x = 0.0
    for name, seconds in named:
        percent = 100 * seconds / whole
        yield Share(name, seconds, round(percent, 2), round(x, 2))
        x += percent
