# SPDX-License-Identifier: GPL-2.0-only
"""A stored campaign of ``bisector test`` as the answer that the command gave: one candidate, its cells. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bisector.answer import Answer, CellAnswer
from bisector.model import Cell, Verdict
from bisector.recipe import matrix, text
from bisector.recipe.model import Recipe
from bisector.recipe.parse import parse
from bisector.recipe.plan import question_for
from bisector.report import axes, table
from bisector.report.facts import Facts
from bisector.stage import CampaignState

"""State of a campaign that judges one candidate and has no outcome; a trial that was repeated is stored so too."""


@dataclass(frozen=True)
class Row:
    """A cell as a page shows it. ``verdict``: "" where it cannot be tried; ``why``: what was seen, or why not."""

    name: str
    verdict: str
    counts: str
    why: str


def is_test(facts: Facts) -> bool:
    """Whether there is a candidate in cells to report, and no search."""
    return facts.campaign.state == CampaignState.TEST


def answer(facts: Facts) -> Answer | None:
    """What the test answered, each cell with its trials; None where it was stopped before its first verdict."""
    if not facts.judgements:
        return None
    recipe = _recipe(facts.campaign.source)
    known = {cell.name: cell for cell in (*matrix.cells(recipe), *matrix.controls(recipe))} if recipe else {}
    rows = [
        CellAnswer(known.get(judged.cell, Cell(judged.cell)), replace(judged, trials=facts.trials_of(stage, judged)))
        for stage, judged in facts.judgements
    ]
    rows += [CellAnswer(cell, None) for cell in known.values() if cell.not_applicable]
    place = {name: number for number, name in enumerate(known)}
    rows.sort(key=lambda row: place.get(row.cell.name, len(place)))
    candidate = facts.judgements[0][1].candidate
    compares = recipe is not None and bool(question_for(recipe).required)
    return Answer(facts.campaign.recipe, candidate, tuple(rows), facts.campaign.id, facts.folder, compares)


def _recipe(source: str) -> Recipe | None:
    """A recipe as resolved; None of one that cannot be read any more."""
    try:
        return parse(text.read(source.encode("utf-8", "surrogatepass")).data)[0]
    except text.TextError:
        return None


def headline(found: Answer | None) -> str:
    """``bzImage: bad in 2 cells, good in 1 cell``."""
    if found is None:
        return "no verdict yet"
    verdicts = Counter(row.judgement.verdict for row in found.rows if row.judgement)
    if sum(verdicts.values()) == 1:
        return f"{found.candidate}: {next(iter(verdicts))}"
    order = sorted(verdicts, key=[Verdict.BAD, Verdict.GOOD, Verdict.SKIP, Verdict.WEAK].index)
    counts = (f"{verdict} in {verdicts[verdict]} cell{'s' if verdicts[verdict] > 1 else ''}" for verdict in order)
    return f"{found.candidate}: {', '.join(counts)}"


def rows(found: Answer | None) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The cells, and lines that explain them: what their names stand for, and which axis the verdict turns on."""
    if found is None:
        return (), ()
    names, legend = table.names(found.rows)
    turns = axes.as_text(table.points(found))
    text = " ".join(line.strip() for line in legend if line)
    return tuple(_row(name, row) for name, row in zip(names, found.rows, strict=True)), tuple(
        filter(None, [text, *turns])
    )


def _row(name: str, row: CellAnswer) -> Row:
    judged = row.judgement
    if judged is None:
        return Row(name, "", "", f"not applicable: {row.cell.not_applicable}")
    reproduced, conclusive = judged.counts
    return Row(name, judged.verdict.value, f"{reproduced}/{conclusive}" if conclusive else "–", " ".join(_why(row)))


def _why(row: CellAnswer) -> Iterator[str]:
    assert row.judgement is not None
    yield f"{row.judgement.reason}."
    if row.judgement.trials and (said := row.judgement.trials[-1].reading.reason) not in row.judgement.reason:
        yield f"{said}."
    if row.cell.expect:
        yield f"Control, must be {row.cell.expect}: {'yes' if row.as_expected else 'NO'}."
