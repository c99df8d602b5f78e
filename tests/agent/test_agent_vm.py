# SPDX-License-Identifier: GPL-2.0-only
"""The agent in a real VM. BISECTOR_TEST_IMAGE names a kernel with the regression, BISECTOR_TEST_IMAGE_GOOD one without.

Measured figures behind the expectations: errno and health per leg type on 6.18.5, with and without the segment check.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from drive_vm import Drove, boot

from bisector.agent.plan import Drive, Guest, Io, Layer, Plan, Result, Step, Watch

BAD = os.environ.get("BISECTOR_TEST_IMAGE", "")
GOOD = os.environ.get("BISECTOR_TEST_IMAGE_GOOD", "")
MIB = 1 << 20
TOKEN = "t0k3n"
LEGS = (Layer("leg0", "disk", "nvme", size=128 * MIB), Layer("leg1", "disk", "nvme", size=128 * MIB))
RAID1 = (*LEGS, Layer("boot", "lvm", "raid1", ("leg0", "leg1"), 32 * MIB))
OPEN = Guest(drives=(Drive("vda", "boot", aio="native"),))
PROBE = Step("probe", "start")
STUCK = (
    ", 0 blocks, I/O Error"  # of the reads of no length that QEMU's open sends to a dm-mirror, and sends without end
)

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not BAD, reason="BISECTOR_TEST_IMAGE names no kernel image"),
    pytest.mark.skipif(not shutil.which("lvm"), reason="lvm2 is not installed"),
]


def misaligned(layer: str, offset: int) -> Step:
    return Step(f"at{offset}", "io", (layer,), io=Io("read", 4096, direct=True, buffer_offset=offset))


def finished(drove: Drove) -> Result:
    assert drove.result is not None, drove.console[-2000:]
    assert drove.result.fault is None
    assert drove.result.complete
    assert f"bisector {TOKEN} end" in drove.console
    return drove.result


def saw(result: Result, step: str) -> tuple[str, int, int]:
    facts = result.step(step)
    assert facts is not None
    return facts.errno, facts.count, facts.failed


def health(result: Result, layer: str) -> str:
    facts = result.layer(layer)
    assert facts is not None
    return facts.health


def test_qemus_open_fails_a_leg_of_a_raid1(tmp_path: Path) -> None:
    drove = boot(Path(BAD), Plan(layers=RAID1, guest=OPEN, steps=(PROBE,), token=TOKEN), tmp_path)
    result = finished(drove)
    step = result.step("probe")
    assert step is not None and (step.done, step.exit) == (True, 0)
    assert health(result, "boot") == "degraded"
    assert len(result.kernel.build_id) == 40
    log = drove.text("kernel.log")
    assert log.splitlines()[0].endswith(f"bisector {TOKEN} begin")
    assert "Disk failure on" in log
    words = ("begin", "storage", "step probe begin", "step probe end", "end")
    places = [drove.console.index(f"bisector {TOKEN} {word}\n") for word in words]
    assert places == sorted(places)


@pytest.mark.skipif(not GOOD, reason="BISECTOR_TEST_IMAGE_GOOD names no kernel image")
def test_kernel_with_the_check_rejects_and_keeps_its_legs(tmp_path: Path) -> None:
    plan = Plan(layers=RAID1, guest=OPEN, steps=(misaligned("boot", 1), misaligned("boot", 4), PROBE), token=TOKEN)
    result = finished(boot(Path(GOOD), plan, tmp_path))
    assert (saw(result, "at1"), saw(result, "at4")) == (("EINVAL", 0, 1), ("EINVAL", 0, 1))
    assert health(result, "boot") == "healthy"


def test_storage_of_all_kinds_that_the_kernel_has(tmp_path: Path) -> None:
    loops = tuple(Layer(name, "disk", "loop", size=64 * MIB) for name in "abcd")
    layers = (
        Layer("img", "file", "raw", size=MIB),
        Layer("array", "md", "raid1", ("v0", "lin"), 32 * MIB),
        *loops,
        *LEGS,
        Layer("v0", "disk", "virtio-blk", size=64 * MIB),
        Layer("lv", "lvm", "raid10", tuple("abcd"), 64 * MIB),
        Layer("lin", "lvm", "linear", ("leg0", "leg1"), 200 * MIB),
    )
    write = Step("write", "io", ("array",), io=Io("write", 4096, 16, direct=True, flush=True))
    plan = Plan(layers=layers, steps=(misaligned("lv", 4), write, misaligned("array", 512)), token=TOKEN)
    result = finished(boot(Path(BAD), plan, tmp_path))
    masks = {facts.name: facts.dma_alignment for facts in result.layers}
    assert (masks["leg0"], masks["a"], masks["v0"], masks["lv"], masks["img"]) == (3, 511, 511, 511, -1)
    assert (saw(result, "at4"), health(result, "lv")) == (("EIO", 0, 1), "degraded")
    assert (saw(result, "write"), saw(result, "at512")) == (("", 16, 0), ("", 1, 0))
    assert health(result, "array") == "healthy"
    assert health(result, "lin") == "none"


@pytest.mark.parametrize(("level", "members", "lost"), [("raid5", "abc", "a"), ("raid6", "abcd", "ab")])
def test_arrays_with_parity_are_synced_written_and_seen_to_lose_members(
    tmp_path: Path, level: str, members: str, lost: str
) -> None:
    loops = tuple(Layer(name, "disk", "loop", size=16 * MIB) for name in members)
    write = Step("write", "io", ("array",), io=Io("write", 4096, 16, direct=True, flush=True))
    fail = ("mdadm", "--manage", "{array}", *(word for name in lost for word in ("--fail", f"{{{name}}}")))
    plan = Plan(layers=(*loops, Layer("array", "md", level, tuple(members))), steps=(write,), token=TOKEN)
    result = finished(boot(Path(BAD), plan, tmp_path / "whole"))
    assert (saw(result, "write"), health(result, "array")) == (("", 16, 0), "healthy")
    degraded = replace(plan, steps=(Step("fail", "run", argv=fail), write))
    result = finished(boot(Path(BAD), degraded, tmp_path / "degraded"))
    assert (result.steps[0].exit, saw(result, "write"), health(result, "array")) == (0, ("", 16, 0), "degraded")


def test_step_stuck_in_the_kernel_is_reported_at_the_deadline(tmp_path: Path) -> None:
    mirror = Layer("boot", "lvm", "mirror", ("leg0", "leg1"), 32 * MIB, (("log", "core"),))
    plan = Plan(layers=(*LEGS, mirror), guest=OPEN, steps=(PROBE,), token=TOKEN)
    for deadline in (25.0, 75.0, 225.0):  # until this host has brought QEMU to its open by then
        plan, folder = replace(plan, deadline=deadline), tmp_path / f"{deadline:.0f}"
        drove = boot(Path(BAD), plan, folder, limit=4 * deadline + 100, kill_on=f"bisector {TOKEN} end", cpus=2)
        if STUCK in drove.console:
            break
    assert STUCK in drove.console
    result = drove.result
    assert result is not None and not result.complete and result.fault is None
    step = result.step("probe")
    assert step is not None and not step.done
    assert [event.name for event in result.events] == ["deadline"]


def test_vm_killed_from_outside_leaves_the_last_whole_result(tmp_path: Path) -> None:
    mirror = Layer("boot", "lvm", "mirror", ("leg0", "leg1"), 32 * MIB, (("log", "core"),))
    plan = Plan(layers=(*LEGS, mirror), guest=OPEN, steps=(PROBE,), token=TOKEN)
    drove = boot(Path(BAD), plan, tmp_path, kill_on=STUCK)
    assert drove.killed
    assert drove.result is not None and not drove.result.complete
    assert health(drove.result, "boot") == "healthy"


MODES = {
    "back": Drive("back", "disk-back", cache_direct=False),
    "none": Drive("none", "disk-none"),
    "through": Drive("through", "disk-through", cache_direct=False, words=(("write_cache", "off"),)),
    "sync": Drive("sync", "disk-sync", words=(("write_cache", "off"),)),
}
"""Drives as QEMU's cache modes are called: writeback, none, writethrough, directsync."""
STATS = "for d in {}; do set -- $(cat /sys/block/${{d##*/}}/stat); echo $1 $5 ${{16}}; done".format(
    " ".join(f"{{{drive.of}}}" for drive in MODES.values())
)
"""Reads, writes and flushes of each disk below (Documentation/block/stat.rst)."""


def each_drive(words: str) -> tuple[str, ...]:
    return ("sh", "-c", f"for d in {' '.join(f'{{{name}}}' for name in MODES)}; do dd {words} bs=4k count=16; done")


def disks_saw_what_each_cache_mode_sends(result: Result) -> None:
    """16 writes in the guest without a flush, then 16 reads of the same blocks."""
    looks = []
    for name in ("before", "written", "read"):
        facts = result.step(name)
        assert facts is not None and facts.exit == 0, facts
        looks.append([tuple(map(int, line.split())) for line in facts.detail.splitlines()])
    before, written, read = looks
    writes = {name: after[1] - first[1] for name, first, after in zip(MODES, before, written, strict=True)}
    flushes = {name: after[2] - first[2] for name, first, after in zip(MODES, before, written, strict=True)}
    reads = {name: after[0] - first[0] for name, first, after in zip(MODES, written, read, strict=True)}
    assert writes["back"] == 0 and min(writes[name] for name in ("none", "through", "sync")) >= 16, writes
    assert flushes["back"] == flushes["none"] == 0 and min(flushes["through"], flushes["sync"]) >= 16, flushes
    # Where the VM's page cache holds all 16 blocks, what is read is what lies behind them, ahead of need.
    assert max(reads["back"], reads["through"]) <= 2 and min(reads["none"], reads["sync"]) >= 16, reads


def test_inner_guest_does_its_io_on_what_the_vm_built(tmp_path: Path) -> None:
    below = tuple(Layer(drive.of, "disk", "virtio-blk", size=16 * MIB) for drive in MODES.values())
    layers = (*LEGS, Layer("boot", "lvm", "linear", ("leg0",), 32 * MIB), *below)
    guest = Guest(os="linux", drives=(*OPEN.drives, *MODES.values()))
    watch = Watch("greeting", "guest", "hello from inside", False)
    steps = (
        PROBE,
        Step("load", "io", ("vda",), where="guest", io=Io("read", 4096, 64, direct=True)),
        Step("between", "io", ("boot",), io=Io("read", 4096, 8, direct=True)),
        Step("say", "run", where="guest", argv=("sh", "-c", "echo hello from inside >/dev/console; exit 3")),
        Step("before", "run", argv=("sh", "-c", STATS)),
        Step("fill", "run", where="guest", argv=each_drive("if=/dev/zero of=$d oflag=direct conv=notrunc")),
        Step("written", "run", argv=("sh", "-c", STATS)),
        Step("take", "run", where="guest", argv=each_drive("if=$d of=/dev/null iflag=direct")),
        Step("read", "run", argv=("sh", "-c", STATS)),
        Step("off", "stop"),
    )
    plan = Plan(layers=layers, guest=guest, steps=steps, watches=(watch,), token=TOKEN, deadline=600.0)
    drove = boot(Path(BAD), plan, tmp_path, limit=700)
    result = finished(drove)
    assert (saw(result, "load"), saw(result, "between")) == (("", 64, 0), ("", 8, 0))
    assert [facts.exit for facts in result.steps] == [0, 0, 0, 3, *[0] * 6]
    disks_saw_what_each_cache_mode_sends(result)
    assert result.guest_accel in ("kvm", "tcg")
    assert f"bisector {TOKEN} guest greeting hello from inside" in drove.console


CHANGES_LVM = """\
set -ex
lvcreate -y -W n -Z n -n extra -L 8M bisector0
lvconvert -y --type mirror -m 1 --corelog bisector0/extra || lvconvert -y --type raid1 -m 1 bisector0/extra
lvchange -a n bisector0/extra
lvremove -y bisector0/extra
lvs --noheadings -o lv_name bisector0
echo 0 8192 linear {leg2} 0 | dmsetup create other
dmsetup remove other
pvcreate -y {leg2}
vgcreate own {leg2}
lvcreate -y -W n -Z n -n mine -l 100%FREE own
test -b /dev/own/mine
vgremove -y -f own
"""


def test_a_script_that_changes_lvm_ends(tmp_path: Path) -> None:
    """udev is gone in the VM: whoever waits for it waits for ever."""
    layers = (*RAID1, Layer("leg2", "disk", "nvme", size=64 * MIB))
    change = Step("change", "run", argv=("sh", "-c", CHANGES_LVM))
    result = finished(boot(Path(BAD), Plan(layers=layers, steps=(change,), token=TOKEN), tmp_path))
    step = result.step("change")
    assert step is not None and (step.done, step.exit) == (True, 0), step
    assert "boot" in step.detail and "extra" not in step.detail.split("lvs --noheadings")[1].split("dmsetup")[0]
    assert health(result, "boot") == "healthy"
