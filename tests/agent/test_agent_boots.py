# SPDX-License-Identifier: GPL-2.0-only
"""What the agent leaves to the next boot of its VM, and what it does with storage that is there already."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bisector.agent import boots, storage
from bisector.agent.command import Halt
from bisector.agent.plan import Layer, Plan, Result, Step, StepFacts
from bisector.agent.stamps import Stamps, stamp_until_cut
from bisector.codec import dump
from bisector.layers import disk, md
from bisector.layers.machine import BuiltLayer

LEGS = tuple(Layer(name, "disk", "nvme", size=8 << 20) for name in "ab")
LAYERS = (*LEGS, Layer("m", "md", "raid1", ("a", "b")), Layer("data", "fs", "ext4", ("m",)))
TORN = Step("torn", "stamp", ("img",), size=64 << 10, seconds=0.3, kill=True)


def state(stamps: Stamps, **more: float) -> boots.BootState:
    facts = StepFacts("off", 1.0, 1.0)
    built = (boots.BuiltState("a", "/dev/nvme0n1", "nvme0n1", "", False),)
    return boots.BootState(1, 2, facts, more.get("elapsed", 3.0), more.get("wall", 100.0), False, built, stamps.state())


def test_the_next_boot_reads_what_this_one_left(tmp_path: Path) -> None:
    assert boots.left(str(tmp_path)) is None
    stamps = Stamps(Plan(steps=(), vm=False), str(tmp_path))
    for line in ("B", "W 0 8 1", "F", "X 0 40 8", "W 4 4 2"):
        stamps.record(f"d {line}")
    left = state(stamps)
    (tmp_path / "state.json").write_text(dump(left))
    (tmp_path / "result.json").write_text(dump(Result(token="t")))
    read = boots.left(str(tmp_path))
    assert read is not None and read == (left, Result(token="t"))
    assert read[0].standing(LEGS) == {"a": BuiltLayer(LEGS[0], "/dev/nvme0n1", "nvme0n1")}
    again = Stamps(Plan(steps=(), vm=False), str(tmp_path))
    again.restore(read[0].stamps)
    journal = again.of("d").journal
    assert [journal.generation(block) for block in (0, 5)] == [1, 1]
    assert journal.on_their_way(4, 5) == (2,)  # it may be there
    assert [(one.first, one.place, one.count) for one in journal.extents] == [(0, 40, 8)]


def test_time_goes_on_while_the_vm_boots() -> None:
    stamps = Stamps(Plan(steps=(), vm=False), "")
    assert state(stamps, elapsed=3.0, wall=time.time() - 20).now() == pytest.approx(23, abs=1)
    assert state(stamps, elapsed=3.0, wall=time.time() + 20).now() == 3.0  # a clock that went back


def test_a_broken_state_is_a_fault_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(Halt, match="cannot be read"):
        boots.left(str(tmp_path))


def test_a_writer_that_is_cut_off_writes_nothing_that_it_has_not_announced(tmp_path: Path) -> None:
    layers = (Layer("img", "file", "raw", size=64 << 10),)
    own = storage.Storage(str(tmp_path / "work"), 5.0)
    own.build(layers, vm=False)
    stamps = Stamps(Plan(steps=(TORN,), layers=layers, vm=False), str(tmp_path))
    assert stamp_until_cut(stamps, own, TORN) is None
    after = json.loads(dump(stamps.state()[0]))
    seen = [Path(own.node("img")).read_bytes()]
    while len(seen) < 2 or (seen[-1] != seen[-2] and len(seen) < 20):  # one that was announced may be on its way
        time.sleep(0.3)
        seen.append(Path(own.node("img")).read_bytes())
    assert seen[-1] == seen[-2]
    assert json.loads(dump(stamps.state()[0])) == after
    assert after["flushed"][0][2] > 1  # generation upon generation


def test_a_writer_that_ends_by_itself_says_so(tmp_path: Path) -> None:
    own = storage.Storage(str(tmp_path / "work"), 5.0)
    own._built["img"] = BuiltLayer(Layer("img", "file", "raw"), "/dev/full")
    stamps = Stamps(Plan(steps=(TORN,), vm=False), str(tmp_path))
    ended = stamp_until_cut(stamps, own, TORN)
    assert ended is not None and ended[0] == "ENOSPC"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that storage would run; mdadm --assemble fails where ``broken`` is among them."""
    noted: list[str] = []

    def demand(argv: Sequence[str], **_: object) -> str:
        noted.append(" ".join(argv))
        if argv[:2] == ["mdadm", "--assemble"] and "broken" in noted:
            raise Halt("storage", "mdadm says no", refused=True)
        return ""

    monkeypatch.setattr(storage, "demand", demand)
    monkeypatch.setattr(storage.disks, "find_disks", lambda names: {name: f"nvme{name}" for name in names})
    monkeypatch.setattr(storage, "load_modules", lambda layers: None)
    monkeypatch.setattr(storage, "_health", lambda built: ("healthy", ""))
    monkeypatch.setattr(md, "arrays", lambda: ["md127"])
    return noted


def test_storage_is_assembled_and_not_made_anew(tmp_path: Path, ran: list[str]) -> None:
    own = storage.Storage(str(tmp_path), 5.0)
    assert own.again(LAYERS, {}) == []
    assert ran == [
        "mdadm --stop /dev/md127",  # what a udev has made of the members
        "mdadm --assemble /dev/md0 --run /dev/nvmea /dev/nvmeb",
        f"mount -t ext4 /dev/md0 {tmp_path}/data",
    ]
    ran.clear()
    assert own.leave() == []
    assert ran == [f"umount {tmp_path}/data", "mdadm --stop /dev/md0"]


def test_what_cannot_be_assembled_is_reached_as_it_was(tmp_path: Path, ran: list[str]) -> None:
    own = storage.Storage(str(tmp_path), 5.0)
    ran.append("broken")
    before = {"m": BuiltLayer(LAYERS[2], "/dev/md0", "md0", "md0")}
    assert own.again(LAYERS, before) == ["m: mdadm says no"]
    assert own.node("m") == "/dev/md0"
    assert ran[-1].startswith("mount"), "what lies on it is tried all the same"


def test_a_loop_device_is_taken_off_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(disk.fcntl, "ioctl", lambda device, code: calls.append(code))
    own = storage.Storage(str(tmp_path), 5.0)
    (tmp_path / "node").touch()
    own._built["l"] = BuiltLayer(Layer("l", "disk", "loop", ("f",)), str(tmp_path / "node"))
    own._built["a"] = BuiltLayer(LEGS[0], "/dev/nowhere")
    assert own.leave() == []
    assert calls == [disk.LOOP_CLR_FD]
