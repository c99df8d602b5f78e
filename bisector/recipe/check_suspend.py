# SPDX-License-Identifier: GPL-2.0-only
"""Which machine a step may suspend, and how far. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bisector.recipe.model import Recipe, Step
from bisector.recipe.text import Fault, Path

ONLY_TASKS = (
    "the VM itself is suspended as far as its tasks ('level: freezer'): its root, 9p over virtio, does not come back "
    "from a suspend of devices; 'suspend: guest' takes the inner guest to RAM"
)


def faults(recipe: Recipe, step: Step, path: Path) -> Iterator[Fault]:
    """Faults of one step that suspends."""
    if step.suspend == "guest":
        if recipe.guest is None or recipe.guest.os != "linux":
            what = "there is no 'guest:'" if recipe.guest is None else f"'os: {recipe.guest.os}' takes no commands"
            yield Fault((*path, "suspend"), f"{what}, and the guest's kernel suspends itself when it is told to")
    elif recipe.vm is None:
        yield Fault((*path, "suspend"), "there is no VM ('vm: none')")
    elif step.level is None:
        yield Fault(path, ONLY_TASKS, at_key=True)
    elif step.level != "freezer":
        yield Fault((*path, "level"), ONLY_TASKS)
