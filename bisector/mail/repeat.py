# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign's trials asked, and the options with which ``bisector test`` asks the same of one candidate. Pure.

A recipe alone does not say it: the workload may have been stretched, and a trial may boot the kernel of an end, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from bisector.model import FROM_SOURCE, Candidate, Judgement, TargetKind
from bisector.recipe import matrix
from bisector.recipe.model import Recipe
from bisector.recipe.values import format_duration
from bisector.report import cells
from bisector.report.facts import Facts


def asks_the_same(facts: Facts, source: str, judged: Judgement) -> bool:
    """Whether a verdict answers what the campaign's trials asked.

    Args:
        source: the recipe of the verdict's campaign, as resolved.

    Where each trial boots the kernel of an end, too, the recipe does not say which kernel that was: only the plan does.
    """
    cell = _cell(facts)
    if facts.bad and judged.plan and judged.plan == facts.bad.judgement.plan:
        return True
    recipe = cells.recipe_in(facts.campaign.source, cell)
    if recipe is None:
        return (source, judged.cell) == (facts.campaign.source, cell)
    if recipe.kernels_beside:
        return False
    for _, word in _longer(facts, recipe):
        recipe = matrix.override(recipe, word)
    return cells.question(source, judged.cell) == cells.question_of(recipe)


def options(facts: Facts) -> tuple[tuple[str, str], ...]:
    """(option, value): the cell, the length of a workload that was stretched, and the kernels that each trial boots
    beside the one under test. Without one of them the command would ask another question.
    """
    cell = _cell(facts)
    found = [("--cell", word) for word in cells.words(cell)]
    recipe = cells.recipe_in(facts.campaign.source, cell)
    if recipe is not None:
        found += _longer(facts, recipe)
        found += _ends(facts, recipe)
    return tuple(found)


def _cell(facts: Facts) -> str:
    return facts.outcome.cell if facts.outcome else ""


def _longer(facts: Facts, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Steps that lasted longer in the trial that a report shows than the recipe says."""
    plan = facts.bad.plan if facts.bad else None
    for step in plan.steps if plan else ():
        own = recipe.steps.get(step.name)
        if own is not None and own.seconds and step.seconds > own.seconds:
            yield "--cell", f"steps.{step.name}.for={format_duration(step.seconds)}"


def _ends(facts: Facts, recipe: Recipe) -> Iterator[tuple[str, str]]:
    outcome = facts.outcome
    ends = {"good-end": outcome.good, "bad-end": outcome.bad} if outcome else {}
    for whose in recipe.kernels_beside:
        if end := ends.get(whose):
            yield f"--{whose.removesuffix('-end')}", named(end.candidate)


def named(candidate: Candidate) -> str:
    """A candidate as the command line takes it; a path of this machine says nothing to others."""
    if candidate.target in FROM_SOURCE:
        return candidate.revision[:12]
    return candidate.revision if candidate.target is TargetKind.KERNEL_PACKAGE else "IMAGE"
