# SPDX-License-Identifier: GPL-2.0-only
"""What steps that end a boot of the VM need: a VM, and storage that is there after it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bisector.agent.plan import CANDIDATE
from bisector.layers import table
from bisector.recipe.model import Recipe
from bisector.recipe.reboot import OTHER_KERNELS
from bisector.recipe.storage import Layer
from bisector.recipe.text import Fault, Path


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Faults of the first of such steps, which hold for all of them, and of the kernels that they boot."""
    yield from of_kernels(recipe)
    name, step = next(((name, step) for name, step in recipe.steps.items() if step.ends_boot), (None, None))
    if name is None or step is None:
        return
    path: Path = ("steps", name)
    what = "power_cut" if step.kill else step.verb
    if recipe.vm is None:
        yield Fault(path, "there is no VM to boot again ('vm: none')", at_key=True)
        return
    if recipe.guest and recipe.guest.os == "image":
        yield Fault(path, f"a guest with 'os: image' would lose its disk at the {what} of the VM", at_key=True)
    for layer in lost(recipe.storage):
        hint = "it is in the VM's memory; use a disk that QEMU shows (nvme, virtio-blk, scsi, ahci), or one on such"
        yield Fault(("storage", layer), f"would be gone after the {what} of step {name}: {hint}", at_key=True)


def of_kernels(recipe: Recipe) -> Iterator[Fault]:
    """Faults of the order in which kernels are booted."""
    given = {name: step.reboot.kernel for name, step in recipe.steps.items() if step.reboot and step.reboot.kernel}
    if recipe.programs:
        for name in given:
            message = "the recipe tests QEMU: the VM boots one kernel, which is not searched for"
            yield Fault(("steps", name, "reboot", "kernel"), message)
        return
    first = recipe.vm.kernel if recipe.vm and recipe.vm.kernel in OTHER_KERNELS else CANDIDATE
    runs, seen = first, {first}
    for name, kernel in given.items():
        path: Path = ("steps", name)
        if kernel == runs:
            yield Fault((*path, "reboot", "kernel"), f"{kernel} runs already; 'reboot: vm' boots the same kernel again")
        if recipe.steps[name].probability is not None:
            yield Fault((*path, "probability"), "a kernel is booted in every trial, or in none", at_key=True)
        runs = kernel
        seen.add(kernel)
    if CANDIDATE not in seen:
        message = "the kernel under test is never booted ('- NAME: {reboot: {kernel: candidate}}')"
        yield Fault(("vm", "kernel"), message)


def lost(layers: Mapping[str, Layer]) -> list[str]:
    """Layers that lie in the VM's memory themselves."""
    return [name for name, layer in layers.items() if layer.kind and not layer.of and not _attached(layer)]


def _attached(layer: Layer) -> bool:
    row = table.ROWS.get((layer.kind, layer.type))
    return bool(row and row.device)
