# SPDX-License-Identifier: GPL-2.0-only
"""Names that the grammar takes and that LVM, QEMU or the recipe's own placeholders do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bisector.recipe.model import Layer, Recipe
from bisector.recipe.text import Fault, Path

_LVM_BEGINS = ("snapshot", "pvmove")
_LVM_HOLDS = (
    "_cdata", "_cmeta", "_corig", "_imag", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta",
    "_vdata", "_vorigin", "_wcorig",
)  # fmt: skip
"""lvm(8), VALID NAMES: what a volume's name may not begin with, or hold."""

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
    volumes: dict[str, str] = {}
    for name, layer in layers.items():
        path = (*at, name)
        yield from _reserved(name, path)
        if not layer.lvm:
            continue
        volume = name.replace("-", "_")  # as the agent names it: device-mapper doubles each '-'
        refused = [word for word in _LVM_BEGINS if volume.startswith(word)]
        refused += [word for word in _LVM_HOLDS if word in volume]
        if refused:
            yield Fault(path, f"LVM keeps names with {refused[0]!r} for itself; give the volume another", at_key=True)
        if volume in volumes:
            yield Fault(path, f"{name} and {volumes[volume]} are one name to LVM, {volume}", at_key=True)
        volumes.setdefault(volume, name)


def _reserved(name: str, path: Path) -> Iterator[Fault]:
    if name == "seed":
        yield Fault(path, "{seed} stands for the seed of the trial; give the layer another name", at_key=True)
    if name.startswith(_OURS):
        yield Fault(path, f"names that begin with {_OURS!r} are the program's own; give it another", at_key=True)
