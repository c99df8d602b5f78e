# SPDX-License-Identifier: GPL-2.0-only
"""The files that a recipe names: what lies beside it, and the shipped config fragments. Only looks, changes nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from bisector.agent.plan import File
from bisector.recipe.model import Recipe
from bisector.recipe.text import Fault
from bisector.recipe.text import Path as Keys
from bisector.recipe.values import suggestion
from bisector.system import shipped


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Files that are named and are not there, and fragments that nobody ships."""
    kernel = recipe.target.kernel
    if kernel:
        for index, name in enumerate(kernel.config):
            place: Keys = ("target", "kernel", "config", index)
            if is_file(name):
                yield from _missing(recipe, name, place)
            elif name not in fragments():
                message = f"no fragment {name!r}{suggestion(name, fragments())}; a file of your own is written ./{name}"
                yield Fault(place, message)
        if kernel.base_config:
            yield from _missing(recipe, kernel.base_config, ("target", "kernel", "base_config"))
    if recipe.vm is not None and recipe.vm.kernel and is_file(recipe.vm.kernel):
        yield from _missing(recipe, recipe.vm.kernel, ("vm", "kernel"))
    if recipe.guest:
        for key in ("kernel", "image"):
            name = getattr(recipe.guest, key)
            if name:
                yield from _missing(recipe, name, ("guest", key))
    for step_name, step in recipe.steps.items():
        for index, word in enumerate(step.run or ()):
            if word.startswith("./"):
                place = ("steps", step_name, "run", index)
                yield from _missing(recipe, word, place)
                if index == 0 and recipe.beside(word).is_file() and not os.access(recipe.beside(word), os.X_OK):
                    yield Fault(place, f"{word} is not executable; chmod +x it, or name its interpreter before it")


def is_file(name: str) -> bool:
    """Whether an item of ``config`` is a file and not a shipped fragment; or the VM's kernel, and not a version."""
    return "/" in name


def fragments() -> tuple[str, ...]:
    """Names of the shipped config fragments."""
    return tuple(sorted(file.stem for file in shipped.kconfigs().glob("*.config")))


def of_workload(recipe: Recipe) -> tuple[File, ...]:
    """The recipe's own files that its steps and its guest need, with the hash of their content. Raises OSError."""
    return tuple(_file(recipe, name) for name in _workload(recipe))


def own(recipe: Recipe) -> tuple[str, ...]:
    """Names of all files that the recipe needs beside itself: its workload's, its build's config, the VM's kernel."""
    kernel = recipe.target.kernel
    config = [name for name in kernel.config if is_file(name)] if kernel else []
    base = [kernel.base_config] if kernel and kernel.base_config else []
    booted = [recipe.vm.kernel] if recipe.vm is not None and recipe.vm.kernel and is_file(recipe.vm.kernel) else []
    return tuple(dict.fromkeys((*_workload(recipe), *config, *base, *booted)))


def _workload(recipe: Recipe) -> tuple[str, ...]:
    names = [word for step in recipe.steps.values() for word in step.run or () if word.startswith("./")]
    if recipe.guest:
        names += [name for name in (recipe.guest.kernel, recipe.guest.image) if name]
    return tuple(dict.fromkeys(names))


def _file(recipe: Recipe, name: str) -> File:
    path = recipe.beside(name)
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(name_in_trial(name), str(path.resolve()), content)


def name_in_trial(name: str) -> str:
    """What a file of the recipe's is called in the folder of files that a trial gets; stays inside of it."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _missing(recipe: Recipe, name: str, place: Keys) -> Iterator[Fault]:
    path = recipe.beside(name)
    if ".." in Path(name).parts:
        yield Fault(place, f"{name}: a recipe's files lie beside it or below; '..' leads out")
        return
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        kind = "is a folder" if _is_folder(path) else "there is no such file beside the recipe"
        yield Fault(place, f"{name}: {kind}")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
