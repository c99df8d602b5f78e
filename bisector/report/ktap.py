# SPDX-License-Identifier: GPL-2.0-only
"""A campaign in the Kernel Test Anything Protocol, version 1 (Documentation/dev-tools/ktap.rst). Pure.

A test per stage with a subtest per verdict: good is ``ok``, bad ``not ok``, skip and weak are SKIP.
"""

from __future__ import annotations

from collections.abc import Iterator

from bisector.direction import direction, of_outcome
from bisector.model import Judgement, Verdict
from bisector.report.excerpt import printable
from bisector.report.facts import Facts
from bisector.report.stages import case_name, stages

INDENT = "  "


def render(facts: Facts) -> str:
    """The lines, each ended."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Facts) -> Iterator[str]:
    grouped = stages(facts)
    yield "KTAP version 1"
    yield f"1..{len(grouped)}"
    for number, (stage, judgements) in enumerate(grouped, start=1):
        yield f"{INDENT}KTAP version 1"
        yield f"{INDENT}# Subtest: {_plain(stage)}"  # names the group for kunit's parser, a remark to others
        yield f"{INDENT}1..{len(judgements)}"
        for place, judgement in enumerate(judgements, start=1):
            for line in _case(place, judgement, stage, facts):
                yield INDENT + line
        failed = any(judgement.verdict is Verdict.BAD for judgement in judgements)
        yield f"{'not ok' if failed else 'ok'} {number} {_plain(stage)}"
    if facts.note:
        yield f"# {_plain(facts.note)}"
    if facts.outcome:
        yield f"# {of_outcome(facts.outcome).kind(facts.outcome.kind)}: {_plain(facts.outcome.summary)}"


def _case(place: int, judgement: Judgement, stage: str, facts: Facts) -> Iterator[str]:
    words = direction(facts.campaign.find_fix)
    for trial in facts.trials_of(stage, judgement):
        yield f"# trial {trial.number}: {words.with_side(trial.reading.signal)}, {_plain(trial.reading.reason)}"
    name, reason = _plain(case_name(judgement)), _plain(judgement.reason)
    match judgement.verdict:
        case Verdict.GOOD:
            yield f"ok {place} {name}"
        case Verdict.BAD:
            yield f"not ok {place} {name} # {reason}"
        case _:
            yield f"ok {place} {name} # SKIP {judgement.verdict}: {reason}"


def _plain(text: str) -> str:
    """One line without ``#``, which begins a directive."""
    return " ".join(printable(text).replace("#", "").split())
