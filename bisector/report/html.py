# SPDX-License-Identifier: GPL-2.0-only
"""A campaign as one HTML page that needs nothing else: no file, no network. Pure but for its template.

It has no script, unless it is written while the campaign runs (``live``): then one that loads it anew.

What a kernel under test wrote is escaped by the template engine, and stripped of what is not printable before that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bisector import __version__
from bisector.answer import Answer
from bisector.direction import direction, of_outcome
from bisector.model import Judgement, Outcome, OutcomeKind
from bisector.report import picture, printed, single, table, timeline
from bisector.report.excerpt import printable
from bisector.report.facts import NOT_DECODED, Facts, Side
from bisector.report.live import LiveStatus
from bisector.report.printed import StepOutput
from bisector.report.stages import ahead_line, candidate_name, unchecked
from bisector.stage import Stage

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "page.html.j2"
LOG_LINES = 1500  # of a folded log, its last ones


@dataclass(frozen=True)
class Evidence:
    """One side as the page shows it: a heading and pairs of name and value."""

    verdict: str
    name: str
    pairs: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    source: str
    log: tuple[str, ...]
    cut: int


@dataclass(frozen=True)
class End:
    """What an end answered in a cell. ``counts``: trials that reproduced of the conclusive ones."""

    verdict: str
    counts: str


@dataclass(frozen=True)
class CellRow:
    """A cell of the matrix: what both ends answered; None where it was not tried."""

    name: str
    good: End | None
    bad: End | None
    searched: bool


@cache
def template() -> Template:
    """The page's template, read once: loading what reads it takes longer than a page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    return environment.get_template(TEMPLATE)


def render(facts: Facts, live: LiveStatus | None = None) -> str:
    """The page. ``live``: what it has besides while the campaign runs."""
    test, words = (
        single.is_test(facts),
        direction(facts.campaign.find_fix or bool(facts.outcome and facts.outcome.find_fix)),
    )
    answer = single.answer(facts) if test else None
    tried, legend = single.rows(answer)
    page = template().render(
        facts=facts,
        live=live,
        outcome=facts.outcome,
        test=test,
        tried=tried,
        legend=legend,
        headline=single.headline(answer) if test else _headline(facts),
        sides=tuple(_evidence(side) for side in (facts.good, facts.bad) if side),
        rows=() if test else picture.funnel(facts),
        height=picture.ROW,
        marks=picture.MARK,
        cells=() if test else _cells(facts),
        timeline=timeline.timeline(facts.spans),
        ticks=timeline.ticks(timeline.length(facts.spans)),
        shares=picture.shares(facts),
        duration=timeline.duration,
        verdicts=tuple((stage, judgement, _counts(facts, stage, judgement)) for stage, judgement in facts.judgements),
        began=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts.campaign.created)),
        version=__version__,
        kind=words.kind(facts.outcome.kind).replace("_", " ") if facts.outcome else facts.campaign.state,
        side=words.side,
        unchecked=_unchecked(facts),
        ahead=ahead_line(facts),
        printed=_printed(facts, answer),
        hint=table.hint(answer) if answer else "",
        named=candidate_name,
    )
    return page + "\n"


def _printed(facts: Facts, answer: Answer | None) -> tuple[StepOutput, ...]:
    return printed.of_test(table.judgements(answer)) if answer else printed.of_outcome(facts.outcome)


def _unchecked(facts: Facts) -> tuple[str, ...]:
    said = unchecked(facts)
    return (*said, NOT_DECODED.format(facts.undecoded)) if facts.undecoded else said


def _clean(value: object) -> object:
    """Text without control characters and direction marks; markup of the template itself passes."""
    return printable(value) if type(value) is str else value


def _headline(facts: Facts) -> str:
    outcome = facts.outcome
    if outcome is None:
        return f"This campaign is {facts.campaign.state}; it has no outcome yet."
    lead = {
        OutcomeKind.CULPRIT: of_outcome(outcome).lead,
        OutcomeKind.NARROWED: f"One of {len(outcome.suspects)} commits: ",
    }.get(outcome.kind, "")
    return lead + outcome.summary


def _counts(facts: Facts, stage: str, judgement: Judgement) -> str:
    full = facts.trials_of(stage, judgement)
    reproduced, conclusive = Judgement(judgement.candidate, judgement.verdict, "", trials=full).counts
    return f"{reproduced}/{conclusive}" if conclusive else "–"


def _evidence(side: Side) -> Evidence:
    judgement, trial = side.judgement, side.trial
    pairs = [("verdict", f"{judgement.verdict}: {judgement.reason}")]
    if trial:
        pairs.append(
            ("trial", f"{trial.number}, stage {trial.stage}, {timeline.duration(trial.observation.timing.total)}")
        )
        pairs.append(("condition", f"{trial.reading.condition or '–'}: {trial.reading.reason}"))
    if side.image:
        pairs += [("kernel", side.image.release), ("build id", side.image.build_id)]
    result = trial.observation.result if trial else None
    if result:
        pairs.append(("taint", str(result.tested.taint) if result.tested.taint else "none"))
        pairs += [(f"step {step.name}", printed.ended(step)) for step in result.steps]
        pairs += [(f"layer {layer.name}", f"{layer.health} {layer.status}") for layer in result.layers if layer.health]
    shown = tuple((name, value) for name, value in pairs if value.strip())
    log = side.log[-LOG_LINES:]
    return Evidence(
        judgement.verdict.value,
        _name(side),
        shown,
        side.excerpt.lines,
        side.excerpt.name,
        log,
        len(side.log) - len(log),
    )


def _name(side: Side) -> str:
    """The candidate; of a test, which has but one, the cell as well."""
    judgement = side.judgement
    is_test = bool(side.trial and side.trial.stage == Stage.TEST and judgement.cell)
    return candidate_name(judgement.candidate) + (f", {judgement.cell}" if is_test else "")


def _cells(facts: Facts) -> tuple[CellRow, ...]:
    """The ends in every cell in which they were tried."""
    outcome = facts.outcome
    found: dict[str, dict[str, End]] = {}
    good = _end(outcome, "good", facts.campaign.good)
    for stage, judgement in facts.judgements:
        if stage == Stage.ENDS:
            place = "good" if judgement.candidate.revision == good else "bad"
            end = End(judgement.verdict.value, _counts(facts, stage, judgement))
            found.setdefault(judgement.cell, {})[place] = end
    return tuple(
        CellRow(
            name or "the recipe as it is",
            ends.get("good"),
            ends.get("bad"),
            bool(outcome and outcome.cell == name and len(found) > 1),
        )
        for name, ends in found.items()
    )


def _end(outcome: Outcome | None, name: str, default: str) -> str:
    judgement: Judgement | None = getattr(outcome, name) if outcome else None
    return judgement.candidate.revision if judgement else default
