# SPDX-License-Identifier: GPL-2.0-only
"""Disks that are pulled out and put in again, on a sysfs of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bisector.agent import plugs
from bisector.agent.command import Halt
from bisector.agent.plan import Layer
from bisector.agent.storage import Storage
from bisector.layers.machine import BuiltLayer

PCI = "devices/pci0000:00/0000:00:05.0"


class Bus:
    """A sysfs with an NVMe disk ``a`` and a SCSI disk ``b``; what is let go goes, unless the bus is stuck."""

    def __init__(self, folder: Path) -> None:
        self.sysfs = folder / "sys"
        self.stuck = False
        self.written: list[str] = []
        for place in (
            f"{PCI}/nvme/nvme0/nvme0n1",
            f"{PCI}/host2/sda/device",
            "class/scsi_host/host2",
            "bus/pci",
            "block",
        ):
            (self.sysfs / place).mkdir(parents=True)
        for file in (f"{PCI}/remove", f"{PCI}/host2/sda/device/delete", "class/scsi_host/host2/scan", "bus/pci/rescan"):
            (self.sysfs / file).touch()
        (self.sysfs / "block/nvme0n1").symlink_to(self.sysfs / PCI / "nvme/nvme0/nvme0n1")
        (self.sysfs / "block/sda").symlink_to(self.sysfs / PCI / "host2/sda")
        self.storage = Storage(str(folder / "work"), 5.0)
        for name, device in (("a", "nvme0n1"), ("b", "sda"), ("c", "vdb")):
            self.storage._built[name] = BuiltLayer(Layer(name, "disk", "nvme"), f"/dev/{device}", device)
        self.plugs = plugs.Plugs(self.storage, str(self.sysfs), self.write)

    def write(self, path: str, text: str) -> None:
        self.written.append(f"{text} {Path(path).relative_to(self.sysfs)}")
        if not self.stuck and path.endswith(("remove", "delete")):
            shutil.rmtree(self.sysfs / PCI / ("nvme" if path.endswith("remove") else "host2"))


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setattr(plugs, "APPEAR", 0.2)
    return Bus(tmp_path)


def test_a_disk_goes_by_its_pci_function_or_by_its_own_file(bus: Bus) -> None:
    assert [bus.plugs.unplug(name, 5.0) for name in ("b", "a")] == ["", ""]
    assert bus.written == ["1 block/sda/device/delete", f"1 {PCI}/remove"]


def test_a_disk_that_stays_or_is_not_there_is_said(bus: Bus) -> None:
    bus.stuck = True
    assert bus.plugs.unplug("a", 5.0) == "a: nvme0n1 is still there"
    assert bus.plugs.unplug("c", 5.0) == "c: there is no vdb to pull out"


def test_a_disk_is_looked_for_on_all_buses_and_found_under_its_new_name(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bisector.agent.disks.find_disks", lambda names, seconds: dict.fromkeys(names, "nvme3n1"))
    assert bus.plugs.plug("a", 5.0) == ""
    assert bus.written == ["1 bus/pci/rescan", "- - - class/scsi_host/host2/scan"]
    assert bus.storage.node("a") == "/dev/nvme3n1"


def test_a_disk_that_does_not_come_back_is_an_answer(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(names: tuple[str, ...], seconds: float) -> dict[str, str]:
        raise Halt("storage", "no disk with serial a appeared")

    monkeypatch.setattr("bisector.agent.disks.find_disks", none)
    assert bus.plugs.plug("a", 5.0) == "a: no disk with serial a appeared"
