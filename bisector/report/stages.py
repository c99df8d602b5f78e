# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's verdicts grouped as machines read them: stage by stage, in the order they were reached in. Pure."""

from __future__ import annotations

from bisector.model import Candidate, Judgement, Verdict
from bisector.report.facts import Facts

FIXED = "fixed"
"""Stage of the trials that come after the outcome: of the newest mainline at hand, and of a fix."""

NEWER = "whether a newer "
"""How the line of an outcome's ``unchecked`` begins that a test of the newest kernel answers."""


def stages(facts: Facts) -> tuple[tuple[str, tuple[Judgement, ...]], ...]:
    """(stage, its judgements) in order of the stages' first ones."""
    grouped: dict[str, list[Judgement]] = {}
    for stage, judgement in facts.judgements:
        grouped.setdefault(stage, []).append(judgement)
    return tuple((stage, tuple(judgements)) for stage, judgements in grouped.items())


def case_name(judgement: Judgement) -> str:
    """Candidate and cell: a name that is the same in every report of this question."""
    name = candidate_name(judgement.candidate)
    return f"{name} [{judgement.cell}]" if judgement.cell else name


def candidate_name(candidate: Candidate) -> str:
    """A candidate's name; of the culprit and its parents with their ids, for each campaign has others."""
    name = str(candidate)
    return f"{name} ({candidate.revision[:12]})" if candidate.label.startswith("culprit") else name


def unchecked(facts: Facts) -> tuple[str, ...]:
    """What the outcome says it left open, less the newest kernel where that was tried since."""
    told = facts.outcome.unchecked if facts.outcome else ()
    tried = [judged for stage, judged in facts.judgements if stage == FIXED and not judged.candidate.edits]
    # A fix at its own place has no label; the newest kernel carries its name.
    answered = any(judged.candidate.label and judged.verdict in (Verdict.GOOD, Verdict.BAD) for judged in tried)
    return tuple(line for line in told if not (answered and line.startswith(NEWER)))
