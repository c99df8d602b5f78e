# SPDX-License-Identifier: GPL-2.0-only
"""What a verdict answers: the recipe in one of its cells. A cell's name as words, and whether two verdicts answer the
same question. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bisector.errors import BisectorError
from bisector.model import Judgement, Trial
from bisector.recipe import matrix, text
from bisector.recipe.model import Recipe
from bisector.recipe.parse import parse

PARTS = ("target", "vm", "storage", "guest", "steps", "bad_when", "good_when")
"""Of a recipe what makes up its question; the rest says how to search, how sure to be, and what to call it."""

_NEXT = re.compile(rf",\s*(?=(?:{'|'.join(matrix.ROOTS)})(?:\.[^=]*)?=)")


def words(cell: str) -> tuple[str, ...]:
    """A cell's name as the words that ``--cell`` takes, one for each override; none of a control, which has a name of
    its own. A comma inside a value ends no word.
    """
    return tuple(word for word in _NEXT.split(cell) if "=" in word) if cell else ()


def options(cell: str) -> tuple[str, ...]:
    """The command line's words that ask for a cell."""
    return tuple(part for word in words(cell) for part in ("--cell", word))


def question(source: str, cell: str) -> object:
    """The question of a recipe, as resolved, in a cell: equal for two of the same one, whatever it is called.

    A recipe that cannot be read any more is equal to itself alone.
    """
    recipe = recipe_in(source, cell)
    return (source, cell) if recipe is None else question_of(recipe)


def question_of(recipe: Recipe) -> object:
    """The same of a recipe that is in its cell already."""
    data = matrix.plain(recipe)
    return {name: data.get(name) for name in PARTS}


def recipe_in(source: str, cell: str) -> Recipe | None:
    """A recipe, as resolved, in a cell; None where it cannot be read any more."""
    try:
        recipe, _ = parse(text.read(source.encode("utf-8", "surrogatepass")).data)
        return None if recipe is None else matrix.apply(recipe, matrix.cell_named(recipe, cell))
    except (BisectorError, text.TextError):
        return None


def trials_of(trials: Iterable[Trial], stage: str, judgement: Judgement) -> tuple[Trial, ...]:
    """The trials that a stored judgement stands on. A cell that asks the same as another one has no trials of its own:
    they carry the other's name, and the question's identity says whose they are.
    """
    if judgement.trials or not judgement.image:
        return judgement.trials
    found = (trial for trial in trials if (trial.image, trial.stage) == (judgement.image, stage))
    if judgement.plan:
        return tuple(trial for trial in found if trial.plan == judgement.plan)
    return tuple(trial for trial in found if trial.cell == judgement.cell)
