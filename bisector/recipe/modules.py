# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel modules a recipe needs where the kernel is a distribution's, nearly all of it in modules. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bisector.model import Cell
from bisector.recipe import matrix
from bisector.recipe.model import Recipe

BOOT = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "overlay", "unix")
"""What virtme-ng mounts its root with, and what its scripts in the VM use."""

_NEEDS = {
    "disk nvme": ("nvme",),
    "disk virtio-blk": ("virtio_blk",),
    "disk scsi": ("virtio_scsi", "sd_mod"),
    "disk ahci": ("ahci", "sd_mod"),
    "disk loop": ("loop",),
    # the kernel asks for a target by its name, dm-NAME, and for a level of md by its alias; both end at these files
    "lvm linear": ("dm_mod",),
    "lvm raid1": ("dm_mod", "dm_raid", "raid1"),
    "lvm raid10": ("dm_mod", "dm_raid", "raid10"),
    "lvm mirror": ("dm_mod", "dm_mirror", "dm_log"),
    "md raid1": ("raid1",),
    "md raid10": ("raid10",),
    "fs ext4": ("ext4",),
    "fs xfs": ("xfs",),
}
_GUEST_DEVICES = {
    "virtio-blk": ("virtio_blk",),
    "scsi": ("virtio_scsi", "sd_mod"),
    "ahci": ("ahci", "sd_mod"),
    "ide": ("ata_piix", "sd_mod"),
    "nvme": ("nvme",),
}
_PASSTHROUGH = ("vfio", "vfio_pci", "vfio_iommu_type1", "ahci", "sd_mod")


def all_modules() -> tuple[str, ...]:
    """Names of the modules that any recipe may need, sorted: of a kernel that only carries what is tried."""
    needed = (*_NEEDS.values(), *_GUEST_DEVICES.values(), _PASSTHROUGH, BOOT)
    return tuple(sorted({name for names in needed for name in names}))


def modules_for(recipe: Recipe, cells: Iterable[Cell]) -> tuple[str, ...]:
    """Names of the modules (with ``_``) that the cells need, sorted; what they depend on is not listed."""
    names = set(BOOT)
    for cell in cells:
        names |= _of(matrix.apply(recipe, cell))
    return tuple(sorted(names))


def _of(recipe: Recipe) -> set[str]:
    guest = recipe.guest
    inside = guest.storage if guest else {}
    names: set[str] = set()
    for layer in (*recipe.storage.values(), *inside.values()):
        names.update(_NEEDS.get(f"{layer.kind} {layer.type}", ()))
    if guest and guest.os != "none":
        names.update(name for drive in guest.drives.values() for name in _GUEST_DEVICES.get(drive.device, ()))
    if guest and guest.passthrough:
        names.update(_PASSTHROUGH)
    if recipe.has_blocks_in_guest:
        names.update(_GUEST_DEVICES["virtio-blk"])  # over which the blocks come and go
    return names
