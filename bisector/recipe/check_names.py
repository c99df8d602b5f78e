# SPDX-License-Identifier: GPL-2.0-only
"""Names that the grammar takes and that LVM, QEMU or the recipe's own placeholders do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bisector.layers import table
from bisector.recipe.model import Recipe
from bisector.recipe.storage import Layer
from bisector.recipe.text import Fault, Path

_OURS = "bisector"
"""Serial numbers of disks that the agent adds begin so."""


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Names that would fail in every trial."""
    yield from _layers(recipe.storage, ("storage",))
    if recipe.guest is None:
        return
    yield from _layers(recipe.guest.storage, ("guest", "storage"))
    for name in recipe.guest.drives:
        path: Path = ("guest", "drives", name)
        yield from _reserved(name, path)
        if name == "system" and recipe.guest.os == "image":
            yield Fault(path, "is what QEMU calls the disk of 'image:'; give the drive another name", at_key=True)


def _layers(layers: Mapping[str, Layer], at: Path) -> Iterator[Fault]:
    taken: dict[str, list[str]] = {}  # kind → names of such layers
    for name, layer in layers.items():
        path = (*at, name)
        yield from _reserved(name, path)
        if not layer.kind:
            continue
        for message in table.KINDS[layer.kind].misnamed(name, taken.setdefault(layer.kind, [])):
            yield Fault(path, message, at_key=True)
        taken[layer.kind].append(name)


def _reserved(name: str, path: Path) -> Iterator[Fault]:
    if name == "seed":
        yield Fault(path, "{seed} stands for the seed of the trial; give the layer another name", at_key=True)
    if name.startswith(_OURS):
        yield Fault(path, f"names that begin with {_OURS!r} are the program's own; give it another", at_key=True)
