# SPDX-License-Identifier: GPL-2.0-only
"""The devices behind which QEMU shows a disk: to the VM, and to its inner guest. A row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
        properties: words of a disk (``layers.drive``), each with the property that it sets; ``{}`` is its value. "": it
            sets none, and the device takes the word all the same.
        shared: those that the controller sets, for all disks on it.
        namespace: words that only a namespace of its own has (nvme-ns), which then is the disk behind the controller.
        of_namespace: properties that are the namespace's then.
        unseen: words whose properties it takes and no kernel sees, so that a recipe has none of them.
        always_cached: whether it says that it has a write cache whatever ``write_cache`` is: the kernel is told.
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
    properties: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    namespace: Mapping[str, str] = field(default_factory=dict)
    of_namespace: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    always_cached: bool = False

    @property
    def on_port(self) -> bool:
        """Whether each disk is a PCI device of its own, which takes a port to be hot-plugged."""
        return not self.controller and not self.board

    def with_words(self, given: Mapping[str, str]) -> str:
        """What the words of a disk add to the value of its ``-device``; each begins with a comma.

        QEMU refuses a logical block that is larger than the physical one, which is 512 where nothing is said.
        """
        physical = {"physical_block": given["logical_block"]} if "logical_block" in given else {}
        return _settings(self.properties, {**physical, **given})

    def attached(self, place: str, drive: str, serial: str, given: Mapping[str, str]) -> list[str]:
        """QEMU's options for one disk.

        Args:
            place: as of ``for_disk``.
            drive: id of what is below it.
            serial: its serial number.
            given: its words.
        """
        if not set(self.namespace) & set(given):
            return ["-device", f"{place}{self.with_words(given)},drive={drive},serial={serial}"]
        own = {word: value for word, value in given.items() if word in (*self.namespace, *self.of_namespace)}
        others = {word: value for word, value in given.items() if word not in own}
        bus = f"{self.name}-{serial}"
        words = self.with_words(own) + _settings(self.namespace, own)
        controller = f"{place}{_settings(self.properties, others)},id={bus},serial={serial}"
        return ["-device", controller, "-device", f"nvme-ns,bus={bus},drive={drive}{words}"]

    def for_disk(self, index: int, *, one: bool = False) -> str:
        """The value of ``-device`` for disk ``index`` (from 0) behind such devices, without drive and serial number.

        Args:
            one: there is a single controller, which has no number.
        """
        number, port = divmod(index, self.ports) if self.ports else (0, index)
        return self.model.format(number="" if one else number, port=port, channel=port // 2, unit=port % 2)

    def controllers(self, disks: int, *, one: bool = False, given: Mapping[str, str] | None = None) -> list[str]:
        """QEMU's options for the controllers of so many disks behind such devices; ``one`` as of ``for_disk``.

        ``given``: words of the disks that the controller has for all of them.
        """
        if not self.controller or not disks:
            return []
        count = 1 if one or not self.ports else -(-disks // self.ports)
        more = _settings(self.shared, given or {})
        values = [self.controller.format(number="" if one else number) + more for number in range(count)]
        return [word for value in values for word in ("-device", value)]


def _settings(properties: Mapping[str, str], given: Mapping[str, str]) -> str:
    return "".join("," + form.format(given[word]) for word, form in properties.items() if form and word in given)


_BLOCK = {
    "logical_block": "logical_block_size={}",
    "physical_block": "physical_block_size={}",
    "write_cache": "write-cache={}",
}
"""Properties of every disk but one on IDE, which has sectors of 512 bytes (hw/ide/qdev.c)."""
_IDE = {"physical_block": "physical_block_size={}", "write_cache": "write-cache={}"}

# In the order in which controllers are given to QEMU, and shown.
DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device(  # its namespaces never set NPWG, and its VWC says that there is a cache (hw/nvme/ns.c, ctrl.c)
            "nvme", "nvme", modules=("nvme",), passed=True, unseen=("physical_block",), always_cached=True,
            properties={**_BLOCK, "queues": "max_ioqpairs={}", "read_only": "", "hotplug": ""},
            namespace={"metadata": "ms={}", "protection": "pi={}"}, of_namespace=tuple(_BLOCK),
        ),
        Device(
            "virtio-blk", "virtio-blk-pci", modules=("virtio_blk",),
            properties={
                **_BLOCK, "queues": "num-queues={}", "queue_size": "queue-size={}", "discard": "discard={}",
                "write_zeroes": "write-zeroes={}", "optimal_io": "opt_io_size={}", "read_only": "",
                "iothread": "iothread={}", "hotplug": "",
            },
        ),
        Device(
            "scsi", "scsi-hd,bus=scsi.0", "virtio-scsi-pci,id=scsi",
            fragments=("scsi",), modules=("virtio_scsi", "sd_mod"),
            properties={**_BLOCK, "optimal_io": "opt_io_size={}", "read_only": "", "hotplug": ""},
            shared={"queues": "num_queues={}", "iothread": "iothread={}"},
        ),
        Device(  # a controller of its own, not the board's, which vfio could not take alone; it has six ports
            "ahci", "ide-hd,bus=ahci{number}.{port}", "ich9-ahci,id=ahci{number}", ports=6,
            fragments=("ahci",), modules=("ahci", "sd_mod"), passed=True, properties=_IDE,
        ),
        Device(  # the board's own (piix3-ide): two disks on each of two channels
            "ide", "ide-hd,bus=ide.{channel},unit={unit}", board="pc", ports=4,
            fragments=("ahci",), modules=("ata_piix", "sd_mod"), of_vm=False, properties=_IDE,
        ),
    )
}  # fmt: skip

PORT = "pcie-root-port"
"""Device of QEMU's q35 that takes one PCI device while its guest runs (docs/pcie.txt); the root bus takes none."""

HOTPLUG = ("hotplug",)
"""Fragments of the guest's kernel for what comes and goes on such a port."""

BLOCKS = "virtio-blk"
"""Device over which stamped blocks come into an inner guest, and out of it."""

TRANSPORT = ("virtio_pci",)
"""What the virtio devices need."""

VFIO = ("vfio", "vfio_iommu_type1", "vfio_pci")
"""Modules that hand a controller to the inner guest."""
