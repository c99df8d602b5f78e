# SPDX-License-Identifier: GPL-2.0-only
"""A campaign for machines: one JSON object with a ``schema`` version, and the JSON Schema it follows. Pure.

Within one version fields are only added.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from bisector.direction import direction
from bisector.model import Commit, Judgement, Outcome, Trial
from bisector.report import printed, single, table
from bisector.report.facts import Facts, OtherFailure, Side
from bisector.report.printed import StepOutput
from bisector.report.spans import Span
from bisector.report.time_spent import TimeSpent

SCHEMA = "bisector.campaign/1"


@dataclass(frozen=True)
class About:
    """The campaign: what was requested. ``created``: seconds since 1970."""

    id: str
    recipe: str
    title: str
    repo: str
    good: str
    bad: str
    find_fix: bool
    cell: str
    created: float
    state: str


@dataclass(frozen=True)
class StagedJudgement(Judgement):
    """A verdict and the stage that it is of: ends, search, proof.

    ``side``: in a search for a fix, whether the candidate has the bug still ("still there") or no more ("gone").
    """

    stage: str = ""
    side: str = ""


@dataclass(frozen=True)
class Evidence:
    """One side: the candidate, the trial that shows it best, and the lines of its log that matter."""

    candidate: str
    trial: int | None
    log: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class UnusedTrial:
    """A trial that ran before it was needed, and then was not. No verdict and no figure stands on it.

    ``folder``: of its files, relative to the campaign's.
    """

    candidate: str
    stage: str
    signal: str
    folder: str


@dataclass(frozen=True)
class Document:
    """A campaign's report, as ``bisector report --format json`` and ``bisector run --json`` print it."""

    schema: Literal["bisector.campaign/1"]
    campaign: About
    outcome: Outcome | None
    judgements: tuple[StagedJudgement, ...]
    trials: tuple[Trial, ...]
    other_failures: tuple[OtherFailure, ...]
    tools: dict[str, str]
    alignment: tuple[str, ...]
    folder: str
    bad: Evidence | None = None
    good: Evidence | None = None
    spans: tuple[Span, ...] = ()
    time: TimeSpent | None = None
    printed: tuple[StepOutput, ...] = ()
    ahead: tuple[UnusedTrial, ...] = ()
    fix: Commit | None = None  # what a search for a fix found; the outcome has it as its culprit, too


def document(facts: Facts) -> Document:
    """The report as an object."""
    row, outcome = facts.campaign, facts.outcome
    words = direction(row.find_fix)
    return Document(
        schema="bisector.campaign/1",
        campaign=About(**{field.name: getattr(row, field.name) for field in dataclasses.fields(About)}),
        outcome=facts.outcome,
        judgements=tuple(
            StagedJudgement(**_shallow(judgement), stage=stage, side=words.side(judgement.verdict))
            for stage, judgement in facts.judgements
        ),
        trials=facts.trials,
        other_failures=facts.others,
        tools=dict(facts.tools),
        alignment=facts.alignment,
        folder=facts.folder,
        bad=_evidence(facts.bad),
        good=_evidence(facts.good),
        spans=facts.spans,
        time=facts.time,
        printed=_printed(facts),
        ahead=tuple(UnusedTrial(str(t.candidate), t.stage, t.reading.signal.value, t.folder) for t in facts.ahead),
        fix=outcome.culprit if outcome and outcome.find_fix else None,
    )


def render(facts: Facts) -> str:
    """The whole report as one JSON object, indented, that ends in a newline."""
    return json.dumps(dataclasses.asdict(document(facts)), indent=2) + "\n"


def schema_text() -> str:
    """The JSON Schema of the report; docs/report.schema.json is this."""
    from pydantic import TypeAdapter  # loading it takes longer than writing a report

    schema = TypeAdapter(Document).json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def _printed(facts: Facts) -> tuple[StepOutput, ...]:
    """Of ends that do not differ, and of a test's cells that cannot be judged, what the steps of a trial printed."""
    answer = single.answer(facts) if single.is_test(facts) else None
    return printed.of_test(table.judgements(answer)) if answer else printed.of_outcome(facts.outcome)


def _shallow(judgement: Judgement) -> dict[str, Any]:
    return {field.name: getattr(judgement, field.name) for field in dataclasses.fields(Judgement)}


def _evidence(side: Side | None) -> Evidence | None:
    if side is None:
        return None
    number = side.trial.number if side.trial else None
    return Evidence(str(side.judgement.candidate), number, side.excerpt.name, side.excerpt.lines)
