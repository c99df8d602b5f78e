# SPDX-License-Identifier: GPL-2.0-only
"""The recipes of reports from the field are sound, shown, and each has its place in the pages about them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bisector.cli import plan_text
from bisector.recipe.load import load
from bisector.recipe.matrix import apply, cells, controls

ROOT = Path(__file__).parents[2]
FIELD = ROOT / "recipes" / "field"
RECIPES = sorted(FIELD.glob("*.yaml"))
REPORTS = (
    *(1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37, 38, 39),
    *(41, 42, 43, 45, 46, 47, 49, 50, 51, 53, 54, 55, 57, 58, 59, 61, 62, 63, 65, 66, 67, 68, 69),
)
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| (?:`([a-z0-9-]+)`|missing: [^|]+) \| ?([^|]*?) ?\|$", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_each_is_sound_and_shown_with_its_report_and_controls(path: Path) -> None:
    recipe = load(path)
    assert recipe.recipe == path.stem and recipe.title and recipe.links
    every = [*cells(recipe), *controls(recipe)]
    assert not [cell.name for cell in every if cell.not_applicable]
    assert all(apply(recipe, control) != recipe for control in controls(recipe))
    shown = plan_text.as_text(recipe, path.read_text(encoding="utf-8"), plan_text.Host(2, os.defpath))
    assert all(name in shown for name in recipe.steps)


def test_every_report_and_every_recipe_has_one_row() -> None:
    rows = ROW.findall(page("field.md"))
    assert tuple(int(number) for number, _, _ in rows) == REPORTS
    assert sorted(name for _, name, _ in rows if name) == [path.stem for path in RECIPES]
    assert all(bool(run) is bool(name) for _, name, run in rows)


def test_each_script_and_fragment_belongs_to_a_recipe() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in RECIPES)
    others = [path for path in FIELD.iterdir() if path.suffix != ".yaml" and path.is_file()]
    assert others and not [path.name for path in others if f"./{path.name}" not in texts]


def test_symptoms_point_at_recipes_that_are_shipped() -> None:
    named = set(re.findall(r"`((?:field/)?[a-z0-9]+(?:-[a-z0-9]+)+)`", page("symptoms.md")))
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / "recipes" / f"{name}.yaml").is_file()]
