# SPDX-License-Identifier: GPL-2.0-only
"""A real inner guest on this host that is suspended: to RAM and back, as far as a level, beside its I/O; refusals."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_agent_inner_guest import GuestSetup

from bisector.agent.command import Halt
from bisector.agent.guest_suspend import _demand
from bisector.agent.outcome import Outcome
from bisector.agent.plan import Io, Step

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
LINKED = bool(IMAGE) and Path(IMAGE).read_bytes()[:4] == b"\x7fELF"
to_ram = pytest.mark.skipif(LINKED, reason="the image is booted as it is linked, and does not come back from RAM")
TO_RAM = Step("x", "suspend", where="guest")
BESIDE = (Step("x", "suspend", where="guest", group="g"), Step("y", "io", where="guest", group="g", during="x"))
READ = Io("read", 4096, 16, direct=True)


def level(name: str) -> Step:
    return Step("x", "suspend", where="guest", level=name)


def needs_image(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.vm(pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE names no kernel image")(test))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., GuestSetup]]:
    setups: list[GuestSetup] = []

    def start(device: str = "virtio-blk", **more: object) -> GuestSetup:
        setups.append(GuestSetup(tmp_path, "tcg", device, **more))  # type: ignore[arg-type]
        assert setups[0].guest.start(120.0).exit == 0
        return setups[0]

    yield start
    for setup in setups:
        setup.guest.close()


def shell(setup: GuestSetup, line: str) -> Outcome:
    return setup.guest.run(("sh", "-c", line), 60.0)


def events(setup: GuestSetup) -> list[str]:
    return [event.name for event in setup.result().events if event.name in ("SUSPEND", "WAKEUP")]


@needs_image
@to_ram
@pytest.mark.parametrize("device", ["virtio-blk", "nvme", "scsi"])
def test_what_was_written_is_there_when_the_guest_has_come_back(
    started: Callable[..., GuestSetup], device: str
) -> None:
    setup = started(device)
    line = "dd if=/dev/urandom of={data} bs=64k count=4 conv=fsync 2>/dev/null; md5sum <{data}"
    written = shell(setup, line)
    assert written.exit == 0
    for _ in range(2):  # it can be suspended again
        asleep = setup.guest.suspend(TO_RAM, 120.0)
        assert (asleep.done, asleep.exit, asleep.errno) == (True, 0, ""), asleep
    assert events(setup) == ["SUSPEND", "WAKEUP"] * 2
    read = shell(setup, "echo 3 >/proc/sys/vm/drop_caches; md5sum <{data}")
    assert (read.exit, read.detail) == (0, written.detail)
    assert shell(setup, "grep -s . /sys/power/suspend_stats/success").detail == "2"


@needs_image
@pytest.mark.parametrize("name", ["freezer", "devices", "core"])
def test_the_guest_comes_back_by_itself(started: Callable[..., GuestSetup], name: str) -> None:
    setup = started()
    asleep = setup.guest.suspend(level(name), 120.0)
    assert (asleep.done, asleep.exit) == (True, 0), asleep
    assert events(setup) == []
    assert setup.guest.io("data", READ, 0.0, 60.0).count == 16


@needs_image
@pytest.mark.skipif(not LINKED, reason="the image is no kernel that is booted as it is linked")
def test_a_kernel_that_qemu_writes_anew_is_not_suspended_to_ram(started: Callable[..., GuestSetup]) -> None:
    setup = started()
    with pytest.raises(Halt, match="into memory anew at a wake-up"):
        setup.guest.suspend(TO_RAM, 120.0)
    assert setup.guest.io("data", READ, 0.0, 60.0).count == 16


@needs_image
@pytest.mark.parametrize(("timeout", "seen"), [(200, (1, "EBUSY")), (20000, (0, ""))])
def test_a_task_that_waits_for_its_disk_does_not_freeze(
    started: Callable[..., GuestSetup], timeout: int, seen: tuple[int, str]
) -> None:
    """Ten reads wait for a disk that gives one a second, and their tasks cannot freeze."""
    setup = started(slow="1000")
    load = "for i in $(seq 10); do dd if={other} of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null & done; sleep 2"
    assert shell(setup, f"echo {timeout} >/sys/power/pm_freeze_timeout; {load}").exit == 0
    asleep = setup.guest.suspend(level("freezer"), 120.0)
    assert (asleep.exit, asleep.errno) == seen, asleep


@needs_image
def test_io_goes_on_beside_it_and_no_command_is_lost(started: Callable[..., GuestSetup]) -> None:
    setup = started(steps=BESIDE)
    done: list[Outcome] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            done.append(setup.guest.io("data", READ, 0.0, 120.0))

    thread = threading.Thread(target=load)
    thread.start()
    steps = [level("devices"), level("freezer") if LINKED else TO_RAM, level("core")]
    slept = [setup.guest.suspend(step, 120.0) for step in steps]
    over.set()
    thread.join(120.0)
    assert [one.exit for one in slept] == [0, 0, 0], slept
    assert len(done) > 3
    assert {(one.done, one.exit, one.count) for one in done} == {(True, 0, 16)}


STATE, SLEEP = "/sys/power/state:freeze mem", "/sys/power/mem_sleep:s2idle [deep]"
LEVELS = "/sys/power/pm_test:[none] core processors platform devices freezer"


@pytest.mark.parametrize(
    ("said", "wanted", "why"),
    [
        ((), "", "cannot suspend to RAM"),
        ((STATE, "/sys/power/mem_sleep:[s2idle]"), "", "cannot suspend to RAM"),
        ((STATE, SLEEP), "devices", "no test of suspend called devices"),
    ],
)
def test_a_kernel_that_cannot_suspend_says_nothing_of_what_is_tried(
    said: tuple[str, ...], wanted: str, why: str
) -> None:
    with pytest.raises(Halt) as halt:
        _demand("\n".join(said), wanted)
    assert halt.value.fault.stage == "tools" and why in halt.value.fault.message
    _demand("\n".join((STATE, SLEEP, LEVELS)), wanted)
