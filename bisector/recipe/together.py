# SPDX-License-Identifier: GPL-2.0-only
"""``together: [STEP, STEP]``: steps that run beside each other.

In the file they stand inside a step. In the recipe they are steps like all others, each of which knows its group: a
condition, an override and a message speak of any step by its name alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bisector.recipe.text import Fault, Path
from bisector.recipe.values import shown

WORD = "together"
MOST = 16
"""Steps of one group: each has a thread of the agent's."""


def inner(body: object) -> list[Any]:
    """The steps inside of a step's body, [] of one that is no group."""
    found = body.get(WORD) if isinstance(body, dict) else None
    return found if isinstance(found, list) else []


def shape(steps: list[Any]) -> Iterator[Fault]:
    """Faults of a list of steps, and of the lists in it, as they stand in the file."""
    names: set[str] = set()
    for index, step in enumerate(steps):
        path: Path = ("steps", index)
        yield from _item(step, path, names)
        for name, body in step.items() if isinstance(step, dict) and len(step) == 1 else ():
            if isinstance(body, dict) and WORD in body:
                yield from _group(name, body, (*path, name), names)


def _item(step: object, path: Path, names: set[str]) -> Iterator[Fault]:
    if step is None:
        return  # said elsewhere
    if not isinstance(step, dict) or len(step) != 1:
        found = f"a mapping of {len(step)} keys" if isinstance(step, dict) else shown(step)
        yield Fault(path, f"expected one '- NAME: {{VERB: OBJECT}}', found {found}")
        return
    name = next(iter(step))
    if name in names:
        yield Fault(path, f"a second step {name!r}; names of steps are unique", at_key=True)
    names.add(name)


def _group(name: str, body: dict[str, Any], path: Path, names: set[str]) -> Iterator[Fault]:
    for key in body:
        if key != WORD:
            message = f"{name} is steps beside each other and takes no {key!r}; the steps inside do"
            yield Fault((*path, key), message, at_key=True)
    path = (*path, WORD)
    if not isinstance(body[WORD], list):
        yield Fault(path, f"expected a list of '- NAME: {{VERB: OBJECT}}', found {shown(body[WORD])}")
        return
    if not 2 <= len(body[WORD]) <= MOST:
        found = len(body[WORD])
        yield Fault(path, f"steps that run beside each other are 2 to {MOST}, found {found}", at_key=True)
    for index, step in enumerate(body[WORD]):
        yield from _item(step, (*path, index), names)
        for inside, its in step.items() if isinstance(step, dict) else ():
            if isinstance(its, dict) and WORD in its:
                yield Fault((*path, index, inside, WORD), f"{inside} runs beside others already", at_key=True)


def groups(steps: Iterable[Any]) -> dict[str, str]:
    """Names of the steps that stand inside of others, each with the group's name."""
    every = (pair for step in steps if isinstance(step, dict) for pair in step.items())
    return {name: group for group, body in every for step in inner(body) if isinstance(step, dict) for name in step}


def bodies(steps: Iterable[Any]) -> dict[str, Any]:
    """Each step by its name, those inside of a group in its place."""
    found: dict[str, Any] = {}
    for step in steps:
        for name, body in step.items() if isinstance(step, dict) else ():
            found |= bodies(inner(body)) if inner(body) else {name: body}
    return found


def by_name(steps: list[Any]) -> dict[str, Any]:
    """Each step by its name as the recipe's types take it: those of a group name it."""
    its = groups(steps)
    return {
        name: {**body, WORD: its[name]} if name in its and isinstance(body, dict) else body
        for name, body in bodies(steps).items()
    }


def nested(steps: Mapping[str, Any], its: Mapping[str, str]) -> list[dict[str, Any]]:
    """The steps as the file has them. ``its``: as ``groups`` gives it."""
    found: list[dict[str, Any]] = []
    for group, names in itertools.groupby(steps, key=lambda name: its.get(name, "")):
        listed = [{name: steps[name]} for name in names]
        found += [{group: {WORD: listed}}] if group else listed
    return found


def place(steps: Iterable[Any], name: str | int) -> Path:
    """Where a step of that name stands in the list ``steps`` of a file; () where none does."""
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        if name in step:
            return (index,)
        for group, body in step.items():
            if found := place(inner(body), name):
                return (index, group, WORD, *found)
    return ()
