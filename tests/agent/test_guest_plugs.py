# SPDX-License-Identifier: GPL-2.0-only
"""Drives that are put in while QEMU runs, with a real QEMU that runs no guest: what it takes, and what it refuses."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent import guest_plugs
from bisector.agent.guest_plugs import GuestPlugs, arguments
from bisector.agent.machine import Ports, qemu_command
from bisector.agent.plan import Drive, Guest, Step
from bisector.agent.qemu import Listeners, Qemu
from bisector.layers import arch

LIMIT = 60.0  # seconds; it takes less than one where nobody else works
WORDS = (("hotplug", "absent"), ("logical_block", "4096"), ("write_cache", "off"), ("queues", "2"), ("slow", "10"))
DISKS = (Drive("n", "l", "nvme", words=WORDS), Drive("v", "l", words=(*WORDS, ("discard", "on"))))
GUEST = Guest("linux", drives=DISKS)
Start = Callable[..., Qemu]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    if not shutil.which(arch.VM.qemu):
        pytest.skip(f"{arch.VM.qemu} is not installed")
    monkeypatch.setattr(guest_plugs, "APPEAR", 0.5)  # there is no guest that could show a disk
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    running: list[Qemu] = []

    def begin(*more: str) -> Qemu:
        def argv(ports: Ports) -> list[str]:
            guest = replace(GUEST, drives=tuple(replace(drive, cache_direct=False) for drive in DISKS))
            return [*qemu_command(guest, {"l": str(tmp_path / "disk")}, "tcg", ports, None), *more]

        running.append(Qemu(argv, Listeners(lambda line: None, lambda line: None, lambda *event: None), serial=False))
        return running[0]

    yield begin
    running[0].quit()


def step(verb: str, *names: str) -> Step:
    return Step("x", verb, names, "guest")


def test_each_device_is_taken_with_its_words_and_asked_for_in_the_guest(start: Start, tmp_path: Path) -> None:
    qemu, plugs = start("-snapshot"), GuestPlugs(GUEST, {"l": str(tmp_path / "disk")})
    before = plugs.missing("n")
    assert before is not None and (before.exit, before.errno) == (1, "ENODEV")
    seen = plugs.act(qemu, step("plug", "n", "v"), LIMIT)
    assert (seen.exit, seen.count, seen.failed) == (1, 0, 2)
    assert seen.detail.splitlines() == ["n: the guest shows no such disk", "v: the guest shows no such disk"]
    again = plugs.act(qemu, step("plug", "n"), LIMIT)
    assert again.exit == 1 and "uplicate" in again.detail


def test_a_disk_that_nobody_lets_go_stays(start: Start, tmp_path: Path) -> None:
    qemu, plugs = start("-snapshot"), GuestPlugs(GUEST, {"l": str(tmp_path / "disk")})
    plugs.act(qemu, step("plug", "v"), LIMIT)
    seen = plugs.act(qemu, step("unplug", "v"), LIMIT)
    assert (seen.exit, seen.detail) == (1, "v: the guest did not let it go")
    unknown = plugs.act(qemu, step("unplug", "n"), LIMIT)
    assert unknown.exit == 1 and "DeviceNotFound" in unknown.detail


def test_a_qemu_that_ends_is_its_exit_code_and_no_plugging(start: Start) -> None:
    qemu = start("-snapshot")
    assert qemu.wait(LIMIT, lambda: qemu.greeted)
    os.kill(qemu._child.pid, signal.SIGABRT)
    seen = GuestPlugs(GUEST, {"l": "/nonexistent"}).act(qemu, step("plug", "n"), LIMIT)
    assert (seen.done, seen.exit) == (True, -signal.SIGABRT)


def test_what_qemu_refuses_is_its_error(start: Start) -> None:
    qemu = start("-snapshot", "-global", "pcie-root-port.hotplug=off")
    seen = GuestPlugs(GUEST, {"l": "/nonexistent"}).act(qemu, step("plug", "n"), LIMIT)
    assert (seen.done, seen.exit, seen.failed) == (True, 1, 1)
    assert "hotplug" in seen.detail


def test_values_are_typed_as_qmp_wants_them() -> None:
    given = arguments("nvme,bus=port-a,id=a,drive=a,serial=12,write-cache=off,logical_block_size=4096,discard=on")
    assert given == {
        "driver": "nvme", "bus": "port-a", "id": "a", "drive": "a", "serial": "12", "write-cache": "off",
        "logical_block_size": 4096, "discard": True,
    }  # fmt: skip


def test_a_port_stands_for_each_drive_that_comes_and_goes_and_only_those() -> None:
    drives = (
        Drive("vda", "l"),
        Drive("in", "l", "nvme", words=(("hotplug", "present"),)),
        Drive("out", "l", "nvme", words=(("hotplug", "absent"),)),
        Drive("sd", "l", "scsi", words=(("hotplug", "absent"),)),
    )
    argv = qemu_command(Guest(drives=drives), {"l": "/x"}, "tcg", Ports(3), None)
    devices = [value for option, value in itertools.pairwise(argv) if option == "-device"]
    assert [device for device in devices if device.startswith("pcie-root-port")] == [
        "pcie-root-port,id=port-in,chassis=2,slot=2",
        "pcie-root-port,id=port-out,chassis=3,slot=3",
    ]
    assert "nvme,bus=port-in,id=in,drive=in,serial=in" in devices
    assert not [device for device in devices if "id=out," in device or "id=sd," in device]
    assert [device for device in devices if device.startswith("virtio-scsi")]  # its bus takes disks by itself
