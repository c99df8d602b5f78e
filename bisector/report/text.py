# SPDX-License-Identifier: GPL-2.0-only
"""A campaign for people at a terminal: at most 80 columns wherever the words allow. Pure."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from bisector.direction import Direction, direction, of_outcome
from bisector.model import Judgement, Outcome, OutcomeKind, ReleaseFacts, Verdict
from bisector.printable import printable_line
from bisector.report import printed, single, table, time_spent
from bisector.report.facts import Facts
from bisector.report.stages import ahead_line, unchecked
from bisector.stage import Stage

WIDTH = 80
LABEL = 12


def render(facts: Facts) -> str:
    """The whole report as text that ends in a newline."""
    outcome = facts.outcome
    lines = [_wrap(f"{facts.campaign.recipe}: {facts.campaign.title}", ""), ""]
    if single.is_test(facts):
        lines += _test(facts)
        noted = _said("Assumed:", (facts.note,) if facts.note else ())
        ahead = [*_ahead(facts), ""] if facts.ahead else []
        return "\n".join([*lines, *ahead, *_environment(facts), *_others(facts), *noted, *_where(facts)]) + "\n"
    lines += headline(outcome) if outcome else [f"campaign {facts.campaign.id} is {facts.campaign.state}"]
    releases_only = outcome is not None and outcome.releases is not None and not outcome.bisect_log
    lines += ["", *(_trials(facts) if releases_only else _table(facts)), *_ahead(facts), "", *_environment(facts)]
    lines += _others(facts)
    if outcome:
        lines += _said("Assumed:", outcome.assumptions) + _said("Not checked:", unchecked(facts))
        if outcome.bisect_log:
            lines += ["", "git bisect log:", *_log(outcome.bisect_log)]
    return "\n".join([*lines, *_where(facts)]) + "\n"


def _test(facts: Facts) -> list[str]:
    """A test of one candidate: its cells, each with its verdict."""
    found = single.answer(facts)
    rows = ["", *table.rows(found)] if found else []
    return [*textwrap.wrap(single.headline(found), WIDTH, break_on_hyphens=False), *rows, ""]


def _others(facts: Facts) -> list[str]:
    lines = ["", "Other failures seen (they say nothing about any candidate):"] if facts.others else []
    for other in facts.others:
        lines.append(_wrap(f"{other.count} × {other.reason} (first at {other.first})", "  - "))
        if other.command:
            lines += ["    a campaign on it:", *("  " + line for line in _command(other.command))]
    return lines


def _where(facts: Facts) -> list[str]:
    time = [_field("time", time_spent.line(facts.time))] if facts.time else []
    return ["", *time, _field("campaign", facts.campaign.id), _field("files", facts.folder)]


def _log(log: str) -> list[str]:
    """git's log on lines that fit, and that 'git bisect replay' still takes once they are copied."""
    lines: list[str] = []
    for line in log.rstrip().split("\n"):  # splitlines() also breaks at what a subject may hold
        if len(line) + 2 <= WIDTH or line.startswith("#"):
            lines.append(f"  {line}" if len(line) + 2 <= WIDTH else f"  {line[: WIDTH - 5]}...")
        else:
            lines += _command(line)
    return lines


def headline(outcome: Outcome) -> list[str]:
    """The outcome in a few lines: what it is, what proves it."""
    words = of_outcome(outcome)
    lines = [_field(words.kind(outcome.kind), outcome.summary)]
    if outcome.kind is OutcomeKind.NARROWED:
        lines += [_field("", str(suspect)) for suspect in outcome.suspects]
    lines += [_field("proof", _one(judgement, words)) for judgement in outcome.proof]
    good, bad = ("good end", "bad end") if outcome.kind is not OutcomeKind.RANGE else _names_of_range(outcome)
    if outcome.good:
        lines.append(_field(good, _one(outcome.good, words)))
    if outcome.bad:
        lines.append(_field(bad, _one(outcome.bad, words)))
    if outcome.cell:
        lines.append(_field("cell", outcome.cell))
    lines += [_field("numbers", one.summary) for one in outcome.numbers]
    lines += printed_lines(printed.of_outcome(outcome))
    return lines + (_releases(outcome.releases) if outcome.releases else [])


def printed_lines(steps: Sequence[printed.StepOutput]) -> list[str]:
    """What steps of trials printed, each line cut at the terminal's width."""
    lines = ["", "What the steps printed last:"] if steps else []
    for step in steps:
        lines.append(_wrap(step.head, "  - "))
        lines += [f"    | {line}"[:WIDTH] for line in step.lines or ("(nothing)",)]
    return lines


def _names_of_range(outcome: Outcome) -> tuple[str, str]:
    search = of_outcome(outcome)
    return search.good_bad(f"last {search.old}", f"first {search.new}")


def _releases(facts: ReleaseFacts) -> list[str]:
    """How a search over releases was done, and the command that goes on."""
    most = f" of at most {facts.limit}" if facts.limit else ""
    series = f"{len(facts.series)} series ({', '.join(facts.series)})"
    lines = [_field("candidates", f"{facts.candidates}{most}, for {series}")]
    lines.append(_field("downloaded", f"{facts.downloaded / 1_000_000:.0f} MB"))
    lines += [_field("left out", words) for words in facts.left_out]
    return [*lines, "", "go on with:", *_command(facts.next_command)] if facts.next_command else lines


def _command(command: str) -> list[str]:
    """A command that can be copied as it stands, on lines that fit where its words do: no line ends inside quotes."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WIDTH - 6:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [f"  {line}" for line in " \\\n  ".join(lines).split("\n")]


def _trials(facts: Facts) -> list[str]:
    """A row for each trial of each release, and one for a release that had none."""
    words = direction(facts.campaign.find_fix)
    lines = [f"{'release':<10}{'package':<22}{'verdict':<9}{'trial':<15}{'seen':<14}seconds"]
    for _, judgement in facts.judgements:
        candidate = judgement.candidate
        head = f"{candidate!s:<9} {candidate.revision.rpartition('/')[2]:<21} {judgement.verdict:<9}"
        trials = [trial for trial in facts.trials if trial.candidate == candidate]
        for trial in trials:
            shown = words.side(trial.reading.signal) or trial.reading.signal.value
            seen = f"{shown:<14} {trial.reading.condition or '-':<13}"
            lines.append(f"{head}{seen} {trial.observation.timing.total:>4.0f}")
        if not trials or judgement.verdict is Verdict.SKIP:
            lines.append(_wrap(judgement.reason, f"{head if not trials else '':<41}", indent=12))
    lines.append(f"{len(facts.judgements)} candidates, {len(facts.trials)} trials")
    return lines


def _one(judgement: Judgement, words: Direction) -> str:
    reproduced, conclusive = judgement.counts
    shown = f"{reproduced}/{conclusive} reproduced" if conclusive else judgement.reason
    return f"{judgement.candidate}: {words.with_side(judgement.verdict)}, {shown}"


def _table(facts: Facts) -> list[str]:
    words = direction(facts.campaign.find_fix)
    lines = [f"{'stage':<7} {'verdict':<7} {'candidate':<24} why"]
    for stage, judgement in facts.judgements:
        cell = f" [{judgement.cell}]" if judgement.cell and stage == Stage.ENDS else ""
        head = f"{stage:<7} {judgement.verdict:<7} {str(judgement.candidate)[:24]:<24} "
        side = words.side(judgement.verdict)
        lines.append(_wrap(f"{f'{side}, ' if side else ''}{judgement.reason}{cell}", head, indent=len(head)))
    skipped = sum(judgement.verdict is Verdict.SKIP for _, judgement in facts.judgements)
    counted = f"{_several(len(facts.judgements), 'verdict')}, {_several(len(facts.trials), 'trial')}"
    extra = [f"{skipped} skipped"] * bool(skipped)
    extra += [_several(facts.infra_count, "harness failure")] * bool(facts.infra_count)
    extra += [f"{_several(facts.same_inputs, 'build')} not made (same inputs)"] * bool(facts.same_inputs)
    lines.append(", ".join([counted, *extra]))
    return lines


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _ahead(facts: Facts) -> list[str]:
    return [_wrap(ahead_line(facts), "")] if facts.ahead else []


def _environment(facts: Facts) -> list[str]:
    lines = [_field(name, value) for name, value in facts.tools]
    return lines + [_field("alignment", line) for line in facts.alignment]


def _said(title: str, lines: tuple[str, ...]) -> list[str]:
    return ["", title, *(_wrap(line, "  - ") for line in lines)] if lines else []


def _field(name: str, text: str) -> str:
    return _wrap(text, f"{name:<{LABEL - 1}} ", indent=LABEL)


def _wrap(text: str, head: str, indent: int = 4) -> str:
    return textwrap.fill(
        printable_line(text),
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
