# SPDX-License-Identifier: GPL-2.0-only
"""The devices behind which QEMU shows a disk: to the VM, and to its inner guest. A row each."""

from __future__ import annotations

from dataclasses import dataclass

SERIAL_LENGTH = 20  # what virtio-blk, NVMe and ATA keep of a serial number


@dataclass(frozen=True)
class Device:
    """A device of QEMU for one disk.

    Args:
        name: as a recipe names it.
        model: the value of ``-device`` for a disk, where ``{number}`` is that of its controller and ``{port}`` its port
            there; ``{channel}`` and ``{unit}`` are the port's, two on each channel.
        controller: the value of ``-device`` for the controller; "": it needs none beside those of the board.
        board: QEMU's machine whose own controller it is on; "": any.
        ports: disks on one controller; 0: as many as one likes.
        fragments: of the kernel's config (kconfigs/) beside the base.
        modules: of a packaged kernel, named as their files with ``_``.
        of_vm: whether a disk of the VM can be behind it.
        passed: whether the inner guest can be given the controller of a disk of the VM (vfio).
    """

    name: str
    model: str
    controller: str = ""
    board: str = ""
    ports: int = 0
    fragments: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    of_vm: bool = True
    passed: bool = False

    def for_disk(self, index: int, *, one: bool = False) -> str:
        """The value of ``-device`` for disk ``index`` (from 0) behind such devices, without drive and serial number.

        Args:
            one: there is a single controller, which has no number.
        """
        number, port = divmod(index, self.ports) if self.ports else (0, index)
        return self.model.format(number="" if one else number, port=port, channel=port // 2, unit=port % 2)

    def controllers(self, disks: int, *, one: bool = False) -> list[str]:
        """QEMU's options for the controllers of so many disks behind such devices; ``one`` as of ``for_disk``."""
        if not self.controller or not disks:
            return []
        count = 1 if one or not self.ports else -(-disks // self.ports)
        values = [self.controller.format(number="" if one else number) for number in range(count)]
        return [word for value in values for word in ("-device", value)]


# In the order in which controllers are given to QEMU, and shown.
DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("nvme", "nvme", modules=("nvme",), passed=True),
        Device("virtio-blk", "virtio-blk-pci", modules=("virtio_blk",)),
        Device(
            "scsi", "scsi-hd,bus=scsi.0", "virtio-scsi-pci,id=scsi",
            fragments=("scsi",), modules=("virtio_scsi", "sd_mod"),
        ),
        Device(  # a controller of its own, not the board's, which vfio could not take alone; it has six ports
            "ahci", "ide-hd,bus=ahci{number}.{port}", "ich9-ahci,id=ahci{number}", ports=6,
            fragments=("ahci",), modules=("ahci", "sd_mod"), passed=True,
        ),
        Device(  # the board's own (piix3-ide): two disks on each of two channels
            "ide", "ide-hd,bus=ide.{channel},unit={unit}", board="pc", ports=4,
            fragments=("ahci",), modules=("ata_piix", "sd_mod"), of_vm=False,
        ),
    )
}  # fmt: skip

BLOCKS = "virtio-blk"
"""Device over which stamped blocks come into an inner guest, and out of it."""

TRANSPORT = ("virtio_pci",)
"""What the virtio devices need."""

VFIO = ("vfio", "vfio_iommu_type1", "vfio_pci")
"""Modules that hand a controller to the inner guest."""
