# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel modules a recipe needs where the kernel is a distribution's, nearly all of it in modules."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bisector.layers import table
from bisector.layers.device import BLOCKS, DEVICES, VFIO
from bisector.model import Cell
from bisector.recipe import files, matrix
from bisector.recipe.model import Recipe

BOOT = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "overlay", "unix")
"""What virtme-ng mounts its root with, and what its scripts in the VM use."""

SHOWN = 4  # symbols of a fragment that are named
_AS_IT_IS = "it is as its distribution built it"


def all_modules() -> tuple[str, ...]:
    """Names of the modules that any recipe may need, sorted: of a kernel that is booted and not under test."""
    needed = [row.modules_for(row.words) for row in table.ROWS.values()] + [
        device.modules for device in DEVICES.values()
    ]
    return tuple(sorted({name for names in (*needed, VFIO, BOOT) for name in names}))


def modules_for(recipe: Recipe, cells: Iterable[Cell]) -> tuple[str, ...]:
    """Names of the modules (with ``_``) that the cells need, sorted; what they depend on is not listed."""
    names = set(BOOT)
    for cell in cells:
        names |= _of(matrix.apply(recipe, cell))
    return tuple(sorted(names))


def not_applied(recipe: Recipe) -> tuple[str, ...]:
    """What of the recipe's config a packaged kernel does not get, in words: a report says so as an assumption.

    The shipped fragments are no part of it: their drivers are the modules that the layers need. Which module an own
    fragment's symbol stands for is in no package.
    """
    kernel = recipe.target.kernel
    if kernel is None:
        return ()
    said = []
    for name in kernel.config:
        if files.is_file(name):
            said.append(f"{name} is not applied to a packaged kernel ({_symbols(recipe, name)}): {_AS_IT_IS}")
    if kernel.base_config:
        said.append(f"{kernel.base_config} is not applied to a packaged kernel: {_AS_IT_IS}")
    if kernel.make:
        said.append(f"make: ({', '.join(kernel.make)}) says nothing of a packaged kernel: {_AS_IT_IS}")
    return tuple(said)


def _symbols(recipe: Recipe, name: str) -> str:
    """The symbols that a fragment speaks of, as far as they fit into a line."""
    try:
        text = recipe.beside(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "it cannot be read"
    found = list(dict.fromkeys(re.findall(r"^(?:# )?(CONFIG_\w+)(?:=| is not set)", text, re.MULTILINE)))
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more or "no symbol"


def _of(recipe: Recipe) -> set[str]:
    guest = recipe.guest
    inside = guest.storage if guest else {}
    names: set[str] = set(recipe.needs.modules)
    for layer in (*recipe.storage.values(), *inside.values()):
        names.update(table.ROWS[layer.kind, layer.type].modules_for(layer.words))
    if guest and guest.os != "none":
        names.update(name for drive in guest.drives.values() for name in DEVICES[drive.device].modules)
    if guest and guest.passthrough:
        names.update(VFIO)
    if recipe.has_blocks_in_guest:
        names.update(DEVICES[BLOCKS].modules)
    return names
