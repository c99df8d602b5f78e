# SPDX-License-Identifier: GPL-2.0-only
"""What export and replay say, for people and as JSON. Pure. An export's text is made printable: it is not ours."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap

from bisector.model import Trial
from bisector.pack.export import ExportResult
from bisector.pack.replay import ReplayResult
from bisector.pack.source import Source
from bisector.report.excerpt import printable
from bisector.report.stages import candidate_name

WIDTH = 26  # columns of one trial's side of a comparison
SCREEN = 80
SAME = "the same"
HASH = 20  # digits shown of a hash; the JSON has it whole


def exported_text(done: ExportResult) -> str:
    """The path first, for a script; then what is in it."""
    lines = [str(done.path), f"{done.members} files, {done.images} whole images, {done.size / 1e6:.1f} MB"]
    lines += [f"left out: {each}" for each in done.left_out]
    return "".join(printable(line) + "\n" for line in lines)


def exported_object(done: ExportResult) -> dict[str, object]:
    """For --json."""
    return dataclasses.asdict(done) | {"path": str(done.path)}


# ---- the trials that can be repeated -------------------------------------------------------------------------------


def steps_text(source: Source) -> str:
    """A line for each trial: what ``replay`` calls it, what it was, whether its image is at hand."""
    lines = [f"{'step':>6}  {'stage':<12} {'signal':<14} {'condition':<22} {'seconds':>7}  candidate"]
    lines += [line for trial in source.record.trials for line in _step(trial)]
    if not source.record.trials:
        lines = ["this campaign has no trials"]
    return "".join(printable(line) + "\n" for line in lines)


def _step(trial: Trial) -> list[str]:
    seconds = trial.observation.timing.total
    cell = f" [{trial.cell}]" if trial.cell else ""
    reading = trial.reading
    head = f"{trial.number:>6}  {trial.stage:<12} {reading.signal.value:<14} {reading.condition or '-':<22} "
    head, name = f"{head}{seconds:>7.0f}", f"{candidate_name(trial.candidate)}{cell}"
    if len(head) + 2 + len(name) <= SCREEN:
        return [f"{head}  {name}"]
    return [head, *_wrapped(name, " " * 8)]


def steps_object(source: Source) -> list[dict[str, object]]:
    """For --json."""
    return [
        {
            "step": trial.number,
            "stage": trial.stage,
            "candidate": str(trial.candidate),
            "cell": trial.cell,
            "image": trial.image,
            "signal": trial.reading.signal.value,
            "condition": trial.reading.condition,
            "seconds": trial.observation.timing.total,
        }
        for trial in source.record.trials
    ]


# ---- a comparison --------------------------------------------------------------------------------------------------


def replayed_text(done: ReplayResult) -> str:
    """Both trials side by side; what differs is marked, and named again in the last line."""
    first = done.first
    lines = [*_wrapped(f"trial {first.number} ({first.stage}, {first.candidate}) of {done.source}"), ""]
    lines.append(f"  {'':<22} {'the first time':<{WIDTH}} now")
    for line in done.lines:
        mark = " " if line.same else "*"
        now = None if line.first == line.now else _short(line.now)
        lines += _row(f"{mark} {line.name:<22} ", _short(line.first), now)
    differing = [line.name for line in done.lines if not line.same]
    lines += ["", "the same answer" if done.same else "ANOTHER ANSWER than the first time"]
    said = f"differs (*): {', '.join(differing)}" if differing else "nothing differs but the times"
    lines += _wrapped(said, more="  ")
    lines.append(f"logs: {done.folder}")
    return "".join(printable(line) + "\n" for line in lines)


def _row(head: str, first: str, other: str | None) -> list[str]:
    """``other``: what the second trial has, None where it is the same."""
    now = SAME if other is None else other
    if len(first) <= WIDTH and len(head) + WIDTH + 1 + len(now) <= SCREEN:
        return [f"{head}{first:<{WIDTH}} {now}"]
    if other is None and len(head) + len(first) + 2 + len(now) <= SCREEN:
        return [f"{head}{first}  {now}"]
    below = " " * len(head)
    return [*_wrapped(first, head, below), *_wrapped(now, f"{'now':>{len(head) - 1}} ", below)]


def _wrapped(said: str, head: str = "", more: str = "") -> list[str]:
    return textwrap.wrap(
        said, SCREEN, initial_indent=head, subsequent_indent=more or " " * len(head), break_on_hyphens=False
    )


def _short(value: str) -> str:
    return value[:HASH] if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", value) else value


def replayed_json(done: ReplayResult) -> str:
    """One JSON object with a ``schema`` version."""
    document = {
        "schema": "bisector.replay/1",
        "source": done.source,
        "step": done.first.number,
        "same": done.same,
        "exit_code": int(done.exit_code),
        "lines": [dataclasses.asdict(line) | {"same": line.same} for line in done.lines],
        "campaign": done.campaign,
        "folder": done.folder,
    }
    return json.dumps(document, indent=2) + "\n"
