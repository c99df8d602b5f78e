# SPDX-License-Identifier: GPL-2.0-only
"""Facts of one condition that no trial shows together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bisector.model import Fact, FactKind
from bisector.recipe.conditions import Entry
from bisector.recipe.facts.row import Key
from bisector.recipe.model import Recipe
from bisector.recipe.text import Fault, Path

AT_THE_END = (FactKind.CONSOLE, FactKind.EVENT, FactKind.COUNT)
"""Facts whose absence is known when the trial has ended; a line may still come before."""


def faults(recipe: Recipe, section: str, facts: Sequence[Entry], path: Path) -> Iterator[Fault]:
    """Faults of the condition ``path``, whose facts have none of their own."""
    refused = [one.where for one in facts if one.row.explains_fault and _wanted(one, False)]
    for one in facts if refused else ():
        if one.row.key is Key.STEP:
            message = f"where {refused[0]} cannot be made no step begins, and {one.where} is one"
            yield Fault((*path, *one.path), message, at_key=True)
    hangs = [one for one in facts if one.row.names_hang and _wanted(one, True)]
    crashes = [one for one in facts if one.row.names_crash and not one.expect.negate]
    if section == "good_when":
        for one in (*hangs, *crashes):
            what = "hangs" if one in hangs else "ends in a crash"
            yield Fault((*path, *one.path), f"a trial that {what} is never good", at_key=True)
        return
    for hang in hangs:
        for one in facts:
            if message := _not_beside(recipe, hang, one):
                yield Fault((*path, *one.path), message, at_key=True)


def _wanted(one: Entry, value: bool) -> bool:
    """Whether it is that truth value and no other."""
    return one.expect.values == (value is not one.expect.negate,)


def _not_beside(recipe: Recipe, hang: Entry, one: Entry) -> str:
    """Why a trial that shows the hang does not show the other fact; "" where it may."""
    kind = one.row.kind
    if kind is FactKind.LEAK:
        return "leaks are looked for behind the last step, and a trial that hangs ends before"
    if kind in AT_THE_END and one.row.absence(Fact(kind, one.where, one.expect.values, one.expect.negate)):
        return "a trial that hangs has no end, and only then it is known what was not seen"
    steps = list(recipe.steps)
    if one.row.key is not Key.STEP or kind is FactKind.SECONDS or not {hang.where, one.where} <= set(steps):
        return ""
    if one.where == hang.where:
        return f"{hang.where} hangs in this condition, so nothing is known of how it ended"
    group = recipe.steps[hang.where].together
    if steps.index(one.where) > steps.index(hang.where) and not (group and group == recipe.steps[one.where].together):
        return f"{hang.where} hangs in this condition, so {one.where} behind it does not begin"
    return ""
