# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's verdicts grouped as machines read them: stage by stage, in the order they were reached in. Pure."""

from __future__ import annotations

from collections import Counter

from bisector.direction import place_of
from bisector.model import Candidate, Judgement, Outcome, TargetKind, Verdict
from bisector.report.facts import Facts
from bisector.stage import Stage

FIXED = Stage.FIXED
"""Stage of the trials that come after the outcome: of the newest mainline at hand, and of a fix."""

NEWER = "whether a newer {} than the bad end has it fixed already"
"""What is left open until the newest one at hand was tried. Earlier versions wrote it into ``unchecked``."""


def stages(facts: Facts) -> tuple[tuple[str, tuple[Judgement, ...]], ...]:
    """(stage, its judgements) in order of the stages' first ones."""
    grouped: dict[str, list[Judgement]] = {}
    for stage, judgement in facts.judgements:
        grouped.setdefault(stage, []).append(judgement)
    return tuple((stage, tuple(judgements)) for stage, judgements in grouped.items())


def ahead_line(facts: Facts) -> str:
    """How many trials ran ahead and were not needed, and in which stages, as one sentence; "" for none."""
    if not facts.ahead:
        return ""
    stages = ", ".join(f"{count} in {stage}" for stage, count in Counter(trial.stage for trial in facts.ahead).items())
    verb = "trial that ran ahead was" if len(facts.ahead) == 1 else "trials that ran ahead were"
    return f"{len(facts.ahead)} {verb} not needed ({stages}): kept, not counted"


def case_name(judgement: Judgement) -> str:
    """Candidate and cell: a name that is the same in every report of this question."""
    name = candidate_name(judgement.candidate)
    return f"{name} [{judgement.cell}]" if judgement.cell else name


def candidate_name(candidate: Candidate) -> str:
    """A candidate's name; of the culprit (or fix) and its parents with their ids, for each campaign has others."""
    name = str(candidate)
    return f"{name} ({candidate.revision[:12]})" if place_of(candidate.label) is not None else name


def unchecked(facts: Facts) -> tuple[str, ...]:
    """What the outcome says it left open, less the newest kernel where that was tried since."""
    tried = [judged for stage, judged in facts.judgements if stage == FIXED and not judged.candidate.edits]
    # A fix at its own place has no label; the newest kernel carries its name.
    answered = any(judged.candidate.label and judged.verdict in (Verdict.GOOD, Verdict.BAD) for judged in tried)
    return left_open(facts.outcome, answered) if facts.outcome else ()


def left_open(outcome: Outcome, answered: bool) -> tuple[str, ...]:
    """What an outcome left open. ``answered``: the newest one at hand was tried since.

    A search for a fix says already whether a newer one has it.
    """
    written = {NEWER.format(each) for each in ("kernel", "QEMU")}
    lines = tuple(line for line in outcome.unchecked if line not in written)
    untested = outcome.newer_untested or len(lines) < len(outcome.unchecked)
    if not untested or answered or outcome.find_fix:
        return lines
    qemu = outcome.bad is not None and outcome.bad.candidate.target is TargetKind.QEMU_SOURCE
    return (*lines, NEWER.format("QEMU" if qemu else "kernel"))
