# SPDX-License-Identifier: GPL-2.0-only
"""The files that a recipe names: what lies beside it, and the shipped config fragments. Only looks, changes nothing.

They are copied into the campaign's folder, which an export packs, and the VM sees them. So a recipe names what lies
beside it or below, and nothing else of the host, unless the person said so on the command line.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from bisector.agent.plan import File
from bisector.errors import InfraError
from bisector.recipe import check_fio
from bisector.recipe.fio import MAX_JOB
from bisector.recipe.model import Recipe
from bisector.recipe.text import Fault
from bisector.recipe.text import Path as Keys
from bisector.recipe.values import suggestion
from bisector.system import shipped

MAX_CONFIG = 4 << 20
"""Bytes of a config; a distribution's has some 300 KB."""

MAX_PROGRAM = 1 << 30
"""Bytes of a file that a step runs or reads, and of a kernel."""

MAX_IMAGE = 64 << 30
"""Bytes of a guest's disk image."""


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Files that are named and are not there, and fragments that nobody ships."""
    kernel = recipe.target.kernel
    if kernel:
        for index, name in enumerate(kernel.config):
            place: Keys = ("target", "kernel", "config", index)
            if is_file(name):
                yield from _unfit(recipe, name, place, MAX_CONFIG)
            elif name not in fragments():
                hint = f"what the storage needs is added by itself, and a file of your own is written ./{name}"
                yield Fault(place, f"no fragment {name!r}{suggestion(name, fragments())}; {hint}")
        if kernel.base_config:
            yield from _unfit(recipe, kernel.base_config, ("target", "kernel", "base_config"), MAX_CONFIG)
    if recipe.vm is not None and recipe.vm.kernel and is_file(recipe.vm.kernel):
        yield from _unfit(recipe, recipe.vm.kernel, ("vm", "kernel"))
    if recipe.guest:
        for key, limit in (("kernel", MAX_PROGRAM), ("image", MAX_IMAGE)):
            name = getattr(recipe.guest, key)
            version = key == "kernel" and recipe.vm is None and not is_file(name or "")
            if name and not version:
                yield from _unfit(recipe, name, ("guest", key), limit)
    for step_name, step in recipe.steps.items():
        if isinstance(step.fio, str):
            yield from _job(recipe, step.fio, ("steps", step_name, "fio"))
        for index, word in enumerate(step.run or ()):
            if word.startswith("./"):
                place = ("steps", step_name, "run", index)
                yield from _unfit(recipe, word, place)
                if index == 0 and recipe.beside(word).is_file() and not os.access(recipe.beside(word), os.X_OK):
                    yield Fault(place, f"{word} is not executable; chmod +x it, or name its interpreter before it")


def _job(recipe: Recipe, name: str, place: Keys) -> Iterator[Fault]:
    """Faults of a job file of fio's; which options fio knows is for the installed one to say (trial/fio_jobs.py)."""
    unfit = list(_unfit(recipe, name, place, MAX_JOB))
    yield from unfit
    if not unfit:
        with opened(recipe, name) as stream:
            yield from check_fio.of_text(recipe, stream.read().decode(errors="replace"), place)


def is_file(name: str) -> bool:
    """Whether an item of ``config`` is a file and not a shipped fragment; or the other kernel, and not a version."""
    return "/" in name


def fragments() -> tuple[str, ...]:
    """Names of the shipped config fragments."""
    return tuple(sorted(file.stem for file in shipped.kconfigs().glob("*.config")))


def of_workload(recipe: Recipe) -> tuple[File, ...]:
    """The recipe's own files that its steps and its guest need, with the hash of their content. Raises OSError."""
    return tuple(_file(recipe, name) for name in _workload(recipe))


def own(recipe: Recipe) -> tuple[str, ...]:
    """Names of all files that the recipe needs beside itself: its workload's, its build's config, the other kernel."""
    kernel = recipe.target.kernel
    config = [name for name in kernel.config if is_file(name)] if kernel else []
    base = [kernel.base_config] if kernel and kernel.base_config else []
    booted = [other] if (other := recipe.other_kernel) and is_file(other) else []
    return tuple(dict.fromkeys((*_workload(recipe), *config, *base, *booted)))


def _workload(recipe: Recipe) -> tuple[str, ...]:
    names = [word for step in recipe.steps.values() for word in step.run or () if word.startswith("./")]
    names += [step.fio for step in recipe.steps.values() if isinstance(step.fio, str)]
    if recipe.guest:
        own = recipe.guest.kernel if recipe.vm is not None else None  # without a VM it is an image like the VM's kernel
        names += [name for name in (own, recipe.guest.image) if name]
    return tuple(dict.fromkeys(names))


def opened(recipe: Recipe, name: str) -> BufferedReader:
    """The recipe's own file, open for reading: looked at again, as it may be another one than ``check`` saw.

    Raises InfraError for what is no file of the recipe's any more, OSError where it cannot be read.
    """
    message = trouble(recipe, name, MAX_IMAGE)
    if message:
        raise InfraError(f"recipe {recipe.recipe}: {name}: {message}", hint="'bisector check' says so, too")
    descriptor = os.open(recipe.beside(name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InfraError(f"recipe {recipe.recipe}: {name}: is not a regular file")
    return os.fdopen(descriptor, "rb")


def _file(recipe: Recipe, name: str) -> File:
    with opened(recipe, name) as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return File(name_in_trial(name), str(recipe.beside(name).resolve()), content)


def name_in_trial(name: str) -> str:
    """What a file of the recipe's is called in the folder of files that a trial gets; stays inside of it."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _unfit(recipe: Recipe, name: str, place: Keys, limit: int = MAX_PROGRAM) -> Iterator[Fault]:
    message = trouble(recipe, name, limit)
    if message:
        yield Fault(place, f"{name}: {message}")


def trouble(recipe: Recipe, name: str, limit: int = MAX_PROGRAM) -> str:
    """What keeps ``name`` from being a file of the recipe's, "" when it is one. ``limit``: its bytes at most."""
    if ".." in Path(name).parts:
        return "a recipe's files lie beside it or below; '..' leads out"
    path, folder = recipe.beside(name), recipe.file.parent
    outside = name.startswith("/") and name not in recipe.named_by_person
    try:
        found = path.stat()
        leads = path.resolve(strict=True)
        inside = leads.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        where = "" if name in recipe.named_by_person else " beside the recipe"
        return _ABSOLUTE if outside else f"there is no such file{where}"
    if name not in recipe.named_by_person and not inside:
        return f"is a link that leads out of the recipe's folder, to {leads}"
    if stat.S_ISDIR(found.st_mode):
        return "is a folder"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    return f"has {found.st_size} bytes, more than {limit}" if found.st_size > limit else ""


_ABSOLUTE = (
    "is an absolute path; a recipe's files lie beside it or below. Copy it there, or name it on the command line "
    "(--cell, --kernel)"
)
