# SPDX-License-Identifier: GPL-2.0-only
"""Controllers change hands, on a folder laid out as sysfs whose writes are answered as the kernel answers them."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bisector.agent.command import Halt
from bisector.agent.guest import Guest
from bisector.agent.observe import Recorder
from bisector.agent.passthrough import Passthrough, Pci, vfio_options
from bisector.agent.plan import Guest as GuestPlan
from bisector.agent.plan import Layer, Plan
from bisector.agent.storage import Storage

AHCI = "0000:00:05.0"
BOARD = "0000:00:1f.2"
DISKS = {"s0": "sda", "s1": "sdb"}


class Kernel:
    """A sysfs of two AHCI controllers, and what a write to it does (drivers/pci/pci-driver.c)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: list[tuple[str, str]] = []
        for name in ("ahci", "vfio-pci"):
            (root / "bus/pci/drivers" / name).mkdir(parents=True)
        (root / "bus/pci/devices").mkdir()
        (root / "block").mkdir()
        self.controller(AHCI, group="4", disks=("sda", "sdb"))
        self.controller(BOARD, group="7", disks=("sdc",))
        knob = root / "module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
        knob.parent.mkdir(parents=True)
        knob.write_text("N\n")

    def controller(self, address: str, *, group: str, disks: Sequence[str]) -> None:
        device = self.device(address, group, "0x010601")
        (device / "driver").symlink_to(self.root / "bus/pci/drivers/ahci")
        for port, disk in enumerate(disks):
            folder = device / f"ata{port + 1}/host{port}/target{port}:0:0/{port}:0:0:0/block/{disk}"
            folder.mkdir(parents=True)
            (self.root / "block" / disk).symlink_to(folder)

    def device(self, address: str, group: str, kind: str) -> Path:
        device = self.root / "devices/pci0000:00" / address
        device.mkdir(parents=True)
        (device / "class").write_text(f"{kind}\n")
        (device / "driver_override").write_text("(null)\n")
        (self.root / "bus/pci/devices" / address).symlink_to(device)
        members = self.root / "kernel/iommu_groups" / group / "devices"
        members.mkdir(parents=True, exist_ok=True)
        (members / address).symlink_to(device)
        (device / "iommu_group").symlink_to(members.parent)
        return device

    def write(self, path: str, text: str) -> None:
        """What the kernel does on a write. Raises OSError for a file that is not there."""
        relative = os.path.relpath(path, self.root)
        self.written.append((relative, text))
        name = Path(path).name
        if name == "unbind":
            (self.root / "bus/pci/devices" / text / "driver").unlink()
        elif name == "drivers_probe":
            device = self.root / "bus/pci/devices" / text
            wanted = (device / "driver_override").read_text().strip() or "ahci"
            (device / "driver").symlink_to(self.root / "bus/pci/drivers" / wanted)
        else:
            node = os.open(path, os.O_WRONLY | os.O_TRUNC)  # and never made
            os.write(node, text.encode())
            os.close(node)

    def driver(self, address: str) -> str:
        return Pci(str(self.root)).driver(address)


class Disks:
    """The two calls that passthrough makes of the storage."""

    def __init__(self) -> None:
        self.found_again: list[tuple[str, ...]] = []

    def node(self, name: str) -> str:
        return f"/dev/{DISKS[name]}"

    def find_again(self, names: Sequence[str], seconds: float) -> None:
        assert seconds >= 60.0
        self.found_again.append(tuple(names))


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "sys")


def passthrough(kernel: Kernel, names: Sequence[str] = ("s0", "s1")) -> tuple[Passthrough, Disks]:
    disks = Disks()
    return Passthrough(cast(Storage, disks), names, Pci(str(kernel.root), kernel.write)), disks


def test_controller_is_taken_by_override_and_given_back_to_its_own_driver(kernel: Kernel) -> None:
    passed, disks = passthrough(kernel)
    assert passed.take() == (AHCI,)
    device = f"bus/pci/devices/{AHCI}"
    assert kernel.written == [
        ("module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "1"),
        (f"{device}/driver_override", "vfio-pci"),
        (f"{device}/driver/unbind", AHCI),
        ("bus/pci/drivers_probe", AHCI),
    ]
    assert (kernel.driver(AHCI), kernel.driver(BOARD)) == ("vfio-pci", "ahci")
    assert passed.take() == (AHCI,)  # a guest that is started again finds it taken
    assert len(kernel.written) == 4
    assert disks.found_again == []

    passed.give_back()
    assert kernel.written[4:] == [
        (f"{device}/driver_override", "\n"),  # an empty line takes the override away
        (f"{device}/driver/unbind", AHCI),
        ("bus/pci/drivers_probe", AHCI),
    ]
    assert kernel.driver(AHCI) == "ahci"
    assert disks.found_again == [("s0", "s1")]
    passed.give_back()
    assert len(kernel.written) == 7


def test_controller_without_a_driver_is_taken(kernel: Kernel) -> None:
    (kernel.root / "bus/pci/devices" / AHCI / "driver").unlink()
    pci = Pci(str(kernel.root), kernel.write)
    pci.bind(AHCI, "vfio-pci", override=True)
    assert kernel.driver(AHCI) == "vfio-pci"
    assert not any(path.endswith("unbind") for path, _ in kernel.written)


def test_other_disks_of_the_controller_are_not_passed_by_accident(kernel: Kernel) -> None:
    passed, _ = passthrough(kernel, ("s0",))
    with pytest.raises(Halt, match=f"sdb is on the controller {AHCI}, too"):
        passed.take()
    assert kernel.written == []


def test_disk_without_a_controller_is_refused(kernel: Kernel) -> None:
    (kernel.root / "devices/virtual/block/sda").mkdir(parents=True)
    (kernel.root / "block/sda").unlink()
    (kernel.root / "block/sda").symlink_to(kernel.root / "devices/virtual/block/sda")
    with pytest.raises(Halt, match="on no PCI controller"):
        passthrough(kernel)[0].take()


def test_group_is_passed_whole_or_not_at_all(kernel: Kernel) -> None:
    kernel.device("0000:00:01.0", "4", "0x060400")  # a bridge is looked past
    assert Pci(str(kernel.root)).group(AHCI, (AHCI,)) == "4"
    kernel.device("0000:00:06.0", "4", "0x020000")
    with pytest.raises(Halt, match=r"shares its IOMMU group with 0000:00:06\.0"):
        passthrough(kernel)[0].take()
    assert kernel.written == []


def test_kernel_without_iommu_or_vfio_is_reported(kernel: Kernel) -> None:
    (kernel.root / "bus/pci/drivers/vfio-pci").rmdir()
    with pytest.raises(Halt, match="has no vfio-pci"):
        passthrough(kernel)[0].take()
    assert kernel.driver(AHCI) == "ahci"
    (kernel.root / "bus/pci/devices" / AHCI / "iommu_group").unlink()
    with pytest.raises(Halt, match="did not turn an IOMMU on"):
        passthrough(kernel)[0].take()


def test_driver_that_does_not_take_the_device_is_reported(kernel: Kernel) -> None:
    def deaf(path: str, text: str) -> None:
        if not path.endswith("drivers_probe"):
            kernel.write(path, text)

    with pytest.raises(Halt, match="vfio-pci, which did not take it"):
        Pci(str(kernel.root), deaf).bind(AHCI, "vfio-pci", override=True)


def test_attribute_that_refuses_is_a_fault_and_no_traceback(kernel: Kernel) -> None:
    (kernel.root / "bus/pci/devices" / AHCI / "driver_override").unlink()
    with pytest.raises(Halt, match="driver_override: No such file or directory"):
        passthrough(kernel)[0].take()


def test_qemu_gets_each_controller() -> None:
    assert vfio_options(()) == []
    assert vfio_options((AHCI, BOARD)) == ["-device", f"vfio-pci,host={AHCI}", "-device", f"vfio-pci,host={BOARD}"]


def test_hosts_own_controllers_are_never_passed(tmp_path: Path) -> None:
    guest = GuestPlan(os="linux", passthrough=("s0",))
    plan = Plan(steps=(), layers=(Layer("s0", "disk", "ahci", size=1 << 20),), guest=guest, vm=False)
    storage, recorder = cast(Storage, SimpleNamespace()), cast(Recorder, SimpleNamespace())
    with pytest.raises(Halt, match="only a VM's own controllers"):
        Guest(plan, guest, storage, recorder, str(tmp_path), str(tmp_path))
