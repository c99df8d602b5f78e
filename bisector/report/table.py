# SPDX-License-Identifier: GPL-2.0-only
"""The answer of ``bisector test`` as a table and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Sequence

from bisector.answer import Answer, CellAnswer
from bisector.model import Judgement, Signal
from bisector.report import axes, printed
from bisector.verdict import neither

SCHEMA = "bisector.test/1"
WIDTH = 42  # columns of a cell's name


def as_text(answer: Answer) -> str:
    """A row per cell: verdict, outcome by condition name, trials, seconds of the last trial."""
    lines = [f"{answer.recipe} on {answer.candidate}", "", *rows(answer), "", f"logs: {answer.folder}"]
    return "\n".join(lines) + "\n"


def rows(answer: Answer) -> list[str]:
    """The table itself, and below it the axes that the verdict turns on."""
    called, legend = names(answer.rows)
    width = min(WIDTH, max(len(name) for name in called))
    lines = [*legend, f"{'cell':<{width}}  {'verdict':<8}{'reproduced':<11}outcome"]
    for name, row in zip(called, answer.rows, strict=True):
        lines += _row(name, row, width)
    if turns := axes.as_text(points(answer)):
        lines += ["", *(part for line in turns for part in _wrapped(line))]
    return [*lines, *_why(answer)]


def _why(answer: Answer) -> list[str]:
    """Of cells that could not be judged what their steps printed, and what to do about a recipe that says nothing."""
    steps = printed.of_test(judgements(answer))
    lines = ["", "What the steps printed last:"] if steps else []
    for step in steps:
        cell = f" ({step.cell})" if step.cell and len(answer.rows) > 1 else ""
        lines += textwrap.wrap(step.head + cell, 80, initial_indent="  - ", subsequent_indent="    ")
        lines += [f"    | {line}"[:80] for line in step.lines or ("(nothing)",)]
    if hint(answer):
        lines += ["", *textwrap.wrap(f"hint: {hint(answer)}", 80, subsequent_indent="  ", break_on_hyphens=False)]
    return lines


def hint(answer: Answer) -> str:
    """What to do where every trial was neither bad nor good for one reason; else ""."""
    if not neither.stops([trial for one in judgements(answer) for trial in one.trials]):
        return ""
    return neither.COMPARED if answer.compares else neither.HINT


def judgements(answer: Answer) -> list[Judgement]:
    """The verdicts of the cells that were tried."""
    return [row.judgement for row in answer.rows if row.judgement]


def names(rows: Sequence[CellAnswer]) -> tuple[list[str], list[str]]:
    """What each row is called, and the lines that explain it: of many or long axes the values alone stand in a row."""
    whole = [row.cell.name or "(the recipe as it is)" for row in rows]
    values = [", ".join(axes.short(value) for _, value in row.cell.overrides) for row in rows]
    brief = [name if row.cell.expect else value or name for name, value, row in zip(whole, values, rows, strict=True)]
    if max(map(len, whole)) <= WIDTH or len(set(brief)) < len(brief):
        return whole, []
    if not any(values):  # one cell, called by what the command line said, and perhaps controls
        named = [name if row.cell.expect else "(as given)" for name, row in zip(whole, rows, strict=True)]
        return named, [*_wrapped(f"given: {whole[0]}"), ""]
    paths = dict.fromkeys(path for row in rows if not row.cell.expect for path, _ in row.cell.overrides)
    heading = f"cells by {', '.join(paths)}"
    return brief, [*_wrapped(heading), ""]


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, 80, subsequent_indent="  ", break_on_hyphens=False)


def points(answer: Answer) -> list[axes.Point]:
    """The matrix's own cells; a control changes what it likes."""
    return [
        axes.Point(row.cell.overrides, row.judgement.verdict if row.judgement else None, _condition(row))
        for row in answer.rows
        if row.cell.overrides and not row.cell.expect
    ]


def _condition(row: CellAnswer) -> str:
    """The last condition that was seen, "" when none was."""
    named = [trial.reading.condition for trial in row.judgement.trials] if row.judgement else []
    return next((name for name in reversed(named) if name), "")


def _row(name: str, row: CellAnswer, width: int) -> list[str]:
    if row.judgement is None:
        why = textwrap.wrap(row.cell.not_applicable or "", 80, initial_indent="    ", subsequent_indent="    ")
        return [f"{name:<{width}}  {'-':<8}{'-':<11}not applicable", *why]
    reproduced, conclusive = row.judgement.counts
    head = f"{name:<{width}}  {row.judgement.verdict:<8}{f'{reproduced}/{conclusive}':<11}"
    outcome = _outcome(row)
    lines = [head + outcome]
    if len(lines[0]) > 80:  # below it, so that a condition's name stays whole
        lines = [head.rstrip(), *textwrap.wrap(outcome, 80, initial_indent="    ", subsequent_indent="    ")]
    if row.cell.expect:
        lines.append(f"{'':<{width}}  control, must be {row.cell.expect}: {'yes' if row.as_expected else 'NO'}")
    if row.judgement.trials:
        reason = row.judgement.trials[-1].reading.reason
        lines += textwrap.wrap(reason, 78, initial_indent="    ", subsequent_indent="    ")
    if failed := row.judgement.harness_failures:
        words = "1 trial failed" if failed == 1 else f"{failed} trials failed"
        lines.append(f"    {words} in the harness and {'was' if failed == 1 else 'were'} repeated")
    return lines


def _outcome(row: CellAnswer) -> str:
    judgement = row.judgement
    if judgement is None or not judgement.trials:
        return judgement.reason if judgement else ""
    named = [trial.reading.condition for trial in judgement.trials if trial.reading.condition]
    last = judgement.trials[-1]
    accel = last.observation.accel if last.observation.accel not in ("", "none") else "no VM"
    seconds = f" ({last.observation.timing.total:.0f} s a trial, {accel})"
    if named:
        return named[-1] + seconds
    return ("other failure" if last.reading.signal is Signal.OTHER_FAILURE else str(last.reading.signal)) + seconds


def _as_object(row: CellAnswer) -> dict[str, object]:
    """A row as JSON has it, where "" stands for what there is not."""
    cell = dataclasses.asdict(row.cell)
    cell |= {"expect": row.cell.expect or "", "not_applicable": row.cell.not_applicable or ""}
    return dataclasses.asdict(row) | {"cell": cell, "as_expected": row.as_expected}


def as_json(answer: Answer) -> str:
    """One JSON object with a ``schema`` version."""
    document = {
        "schema": SCHEMA,
        "recipe": answer.recipe,
        "candidate": dataclasses.asdict(answer.candidate),
        "campaign": answer.campaign,
        "folder": answer.folder,
        "exit_code": int(answer.exit_code),
        "cells": [_as_object(row) for row in answer.rows],
        "axes": [dataclasses.asdict(axis) for axis in axes.axes(points(answer))],
        "printed": [dataclasses.asdict(step) for step in printed.of_test(judgements(answer))],
        "hint": hint(answer),
    }
    return json.dumps(document, indent=2) + "\n"
