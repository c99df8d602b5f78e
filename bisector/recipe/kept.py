# SPDX-License-Identifier: GPL-2.0-only
"""Copies of the files that a recipe names beside itself, in the folder of a campaign."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from bisector.recipe import files
from bisector.recipe.model import Recipe

OWN = "own"
"""Folder of a campaign with what its recipe names beside itself, so that the campaign can be repeated and sent on."""

OWN_LIMIT = 64 << 20
"""Bytes of such a file; a larger one, a guest's disk, stays where it is and is known by its hash in the plan."""


def keep(recipe: Recipe, folder: Path) -> None:
    """Copy what the recipe names beside itself, whole or not at all. Raises InfraError, OSError."""
    draft = folder.with_name(f"{folder.name}.new")
    for name in files.own(recipe):
        with files.opened(recipe, name) as source:
            if os.fstat(source.fileno()).st_size > OWN_LIMIT:
                continue
            place = draft / files.name_in_trial(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as copy:
                shutil.copyfileobj(source, copy)
            place.chmod(stat.S_IMODE(os.fstat(source.fileno()).st_mode))  # a program stays one
    if draft.is_dir():
        draft.rename(folder)


def changed(recipe: Recipe, folder: Path) -> str:
    """Name of a file that is another one now than its copy; "" for none. What was not copied is not looked at.

    Raises InfraError, OSError.
    """
    for name in files.own(recipe):
        copy = folder / files.name_in_trial(name)
        if copy.is_file():
            with files.opened(recipe, name) as now, copy.open("rb") as then:
                if hashlib.file_digest(now, "sha256").digest() != hashlib.file_digest(then, "sha256").digest():
                    return name
    return ""
