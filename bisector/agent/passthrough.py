# SPDX-License-Identifier: GPL-2.0-only
"""Controllers of the VM that are handed to the inner guest: from their own driver to vfio-pci, and back.

Documentation/driver-api/vfio.rst and Documentation/ABI/testing/sysfs-bus-pci (driver_override) say how. Only inside a
VM: on a host this would take a controller with all that lies on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from ..layers.device import VFIO
from ..layers.machine import read_text
from .command import Halt
from .disks import load_modules
from .storage import Storage

DRIVER = "vfio-pci"
ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
BRIDGE = "0x0604"  # class of a PCI bridge, which may share a group: vfio ignores it
# The emulated IOMMU has no interrupt remapping (QEMU offers it only with a split irqchip, which is KVM's), and vfio
# refuses a guest that could then send any interrupt. The VM is ours alone; which of the two is there depends on the
# kernel.
UNSAFE = ("vfio_iommu_type1", "iommufd")
APPEAR = 120.0  # seconds for disks to come back: a link's reset in an emulated machine on a busy host

Write = Callable[[str, str], None]


def write_text(path: str, text: str) -> None:
    """Write a sysfs attribute in one call. Raises OSError."""
    node = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(node, text.encode())
    finally:
        os.close(node)


class Pci:
    """PCI devices as ``sysfs`` shows them, and who drives them. ``write`` is there so that tests can be the kernel."""

    def __init__(self, sysfs: str = "/sys", write: Write = write_text) -> None:
        self._sysfs = sysfs
        self._write = write

    def controllers(self, disks: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Address of each controller (``0000:00:05.0``) → the layers on it. ``disks``: layer → block device (``sda``).

        Raises Halt(guest) for a disk that lies on none, and for a controller that has other disks, too.
        """
        found: dict[str, tuple[str, ...]] = {}
        for layer, device in disks.items():
            address = self._controller(device)
            if not address:
                raise Halt("guest", f"{layer} ({device}) is on no PCI controller that could be passed")
            found[address] = (*found.get(address, ()), layer)
        for device in sorted(os.listdir(f"{self._sysfs}/block")):
            address = self._controller(device)
            if address in found and device not in disks.values():
                raise Halt("guest", f"{device} is on the controller {address}, too, and is not passed with it")
        return found

    def _controller(self, device: str) -> str:
        """The last PCI device on the way to the disk: those before it are bridges."""
        steps = os.path.realpath(f"{self._sysfs}/block/{device}").split("/")
        return next((step for step in reversed(steps) if ADDRESS.fullmatch(step)), "")

    def group(self, address: str, passed: Sequence[str]) -> str:
        """The IOMMU group of a device. Raises Halt(guest) without one, and when others than ``passed`` are in it."""
        folder = f"{self._folder(address)}/iommu_group"
        if not os.path.exists(folder):
            raise Halt("guest", f"{address} is in no IOMMU group: the kernel did not turn an IOMMU on")
        strangers = [
            member
            for member in sorted(os.listdir(f"{folder}/devices"))
            if member not in passed and not read_text(f"{self._folder(member)}/class").startswith(BRIDGE)
        ]
        if strangers:
            raise Halt("guest", f"{address} shares its IOMMU group with {', '.join(strangers)}")
        return os.path.basename(os.path.realpath(folder))

    def driver(self, address: str) -> str:
        """Who drives the device, "" for nobody."""
        link = f"{self._folder(address)}/driver"
        return os.path.basename(os.path.realpath(link)) if os.path.exists(link) else ""

    def allow_unsafe_interrupts(self) -> None:
        """Let vfio take devices without interrupt remapping. Raises Halt(guest)."""
        knobs = [f"{self._sysfs}/module/{name}/parameters/allow_unsafe_interrupts" for name in UNSAFE]
        for knob in filter(os.path.exists, knobs):
            self._put(knob, "1")

    def bind(self, address: str, driver: str, *, override: bool) -> None:
        """Give the device to ``driver``: to it alone (``override``), or to whoever claims it. Raises Halt(guest)."""
        folder = self._folder(address)
        if not os.path.exists(f"{self._sysfs}/bus/pci/drivers/{driver}"):
            raise Halt("guest", f"the kernel has no {driver}, which {address} is to be given to")
        self._put(f"{folder}/driver_override", driver if override else "\n")
        if self.driver(address):
            self._put(f"{folder}/driver/unbind", address)
        self._put(f"{self._sysfs}/bus/pci/drivers_probe", address)
        if self.driver(address) != driver:
            raise Halt("guest", f"{address} was given to {driver}, which did not take it")

    def _put(self, path: str, text: str) -> None:
        try:
            self._write(path, text)
        except OSError as error:
            raise Halt("guest", f"{path}: {error.strerror}") from None

    def _folder(self, address: str) -> str:
        return f"{self._sysfs}/bus/pci/devices/{address}"


class Passthrough:
    """The passed disks of a plan: taken before each start of the guest, given back after its end."""

    def __init__(self, storage: Storage, names: Sequence[str], pci: Pci | None = None) -> None:
        self._storage = storage
        self._names = tuple(names)
        self._pci = pci or Pci()
        self._taken: dict[str, str] = {}  # address → the driver that it had

    def take(self) -> tuple[str, ...]:
        """Addresses of the controllers, with vfio-pci now. Taken ones stay as they are. Raises Halt(guest)."""
        if self._taken:
            return tuple(self._taken)
        os.sync()
        disks = {name: os.path.basename(self._storage.node(name)) for name in self._names}
        addresses = tuple(self._pci.controllers(disks))
        for address in addresses:
            self._pci.group(address, addresses)
        load_modules(*VFIO)
        self._pci.allow_unsafe_interrupts()
        for address in addresses:
            own = self._pci.driver(address)
            self._pci.bind(address, DRIVER, override=True)
            self._taken[address] = own
        return addresses

    def give_back(self) -> None:
        """Give the controllers to their own driver, and find their disks. Raises Halt(guest) or Halt(storage)."""
        if not self._taken:
            return
        for address, own in self._taken.items():
            self._pci.bind(address, own, override=False)
        self._taken = {}
        self._storage.find_again(self._names, APPEAR)


def vfio_options(addresses: Sequence[str]) -> list[str]:
    """QEMU's options for devices of the VM that it hands to its guest."""
    return [word for address in addresses for word in ("-device", f"vfio-pci,host={address}")]
