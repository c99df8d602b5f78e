# SPDX-License-Identifier: GPL-2.0-only
"""Steps that run fio: what they must agree on with the storage. Which options fio knows the installed one says
(trial/fio_jobs.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bisector.layers import table
from bisector.recipe.model import Recipe, Step
from bisector.recipe.text import Fault, Path
from bisector.recipe.values import suggestion

PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_-]*)\}")
WITHOUT_FILES = ("null", "cpuio", "net", "netsplice")
"""Engines of fio's that open no file (fio(1), ioengine)."""


def faults(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    """Faults of the options of a step's job. A job file is looked at by ``of_text``."""
    path = (*path, "fio")
    if not isinstance(step.fio, dict):
        return
    for option, value in step.fio.items():
        yield from of_text(recipe, value, (*path, option))
        found = PLACEHOLDER.fullmatch(value)
        layer = recipe.storage.get(found[1]) if found else None
        if found and layer and layer.kind:
            mounted = table.KINDS[layer.kind].mounted
            if mounted and option == "filename":
                yield Fault((*path, option), f"{found[1]} is a file system; write directory: '{value}'")
            if not mounted and option == "directory":
                yield Fault((*path, option), f"{found[1]} is no file system; write filename: '{value}'")
    for option in sorted({"runtime", "time_based"} & set(step.fio)):
        if step.seconds is not None:
            yield Fault((*path, option), "'for' says how long fio runs; take one of them out", at_key=True)
    if step.fio.get("ioengine") not in WITHOUT_FILES and not any(map(PLACEHOLDER.search, step.fio.values())):
        known = next(iter(recipe.storage), "")
        write = f"; write filename: '{{{known}}}'" if known else "; the recipe has no 'storage:'"
        yield Fault(path, f"no option names a layer, so fio would touch none of the storage{write}", at_key=True)


def of_text(recipe: Recipe, text: str, path: Path) -> Iterator[Fault]:
    """Placeholders for layers that there are not, in a value or in a job file."""
    known = ["seed", *recipe.storage]
    for name in dict.fromkeys(PLACEHOLDER.findall(text)):
        if name not in known:
            yield Fault(path, f"no layer for the placeholder {{{name}}}{suggestion(name, known)}")
