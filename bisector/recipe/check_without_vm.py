# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe can have where its trials run on the host itself (``vm: none``). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bisector.layers import table
from bisector.recipe import files, values
from bisector.recipe.model import Recipe
from bisector.recipe.storage import KINDS
from bisector.recipe.text import Fault

FILES = "without a VM there are only files ('vm: none'): the host's own disks, LVM and mounts are never touched"


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Faults of a recipe with ``vm: none``."""
    if not recipe.programs:
        yield Fault(("vm",), "a kernel is tried in a VM; 'vm: none' is for target qemu")
    for word in ("udev", "cgroups"):
        if getattr(recipe.needs, word):
            yield Fault(("needs", word), f"without a VM there is no {word} of its own ('vm: none')", at_key=True)
    for name, layer in recipe.storage.items():
        kinds = [table.KINDS[kind] for kind in KINDS if getattr(layer, kind)]
        if kinds and not any(kind.without_vm for kind in kinds):
            yield Fault(("storage", name), FILES, at_key=True)
    if recipe.guest is None:
        return
    if recipe.guest.passthrough:
        message = "only controllers of a VM are handed to a guest, never the host's ('vm: none')"
        yield Fault(("guest", "passthrough"), message, at_key=True)
    named = recipe.guest.kernel or ""
    if not recipe.programs or recipe.guest.os != "linux" or not named or files.is_file(named):
        return
    try:
        values.revision(named)
    except ValueError:
        message = f"{values.shown(named)} is no version of a packaged kernel, such as '6.12'; a file is written ./NAME"
        yield Fault(("guest", "kernel"), message)
