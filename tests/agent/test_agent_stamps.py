# SPDX-License-Identifier: GPL-2.0-only
"""Stamp, verify and corrupt as steps of a plan; the guest's storage; programs packed for the guest; a foreign guest."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from drive_vm import prepare

from bisector.agent import packing
from bisector.agent.command import Halt
from bisector.agent.guest import Guest, command_outcome
from bisector.agent.initramfs import cpio
from bisector.agent.inner_storage import InnerStorage
from bisector.agent.machine import Ports, overlay_command, qemu_command
from bisector.agent.observe import Recorder
from bisector.agent.plan import Drive, Layer, Plan, Result, Step
from bisector.agent.plan import Guest as GuestPlan
from bisector.agent.stamps import Stamps, stamp_here, verify_here
from bisector.agent.storage import Storage
from bisector.codec import load

MIB = 1 << 20
IMG = (Layer("img", "file", "raw", size=16 * MIB),)
NODES = {"vda": "/dev/vda", "s0": "/dev/sda", "s1": "/dev/sdb"}


def run(plan: Plan, folder: Path) -> Result:
    shared = prepare(plan, folder)
    argv = [sys.executable, "-I", "-S", str(shared / "bisector/agent/main.py"), str(shared)]
    subprocess.run(argv, capture_output=True, timeout=120, check=True)
    return load(Result, (shared / "result.json").read_bytes())


@pytest.mark.parametrize(
    "damage", ["none", "duplicate", "misdirected", "stale", "torn", "zeroed", "flipped", "foreign"]
)
def test_damage_of_each_class_is_called_by_its_name(tmp_path: Path, damage: str) -> None:
    steps = (
        Step("write", "stamp", ("img",), size=8 * MIB),
        Step("damage", "corrupt", ("img",), damage=damage),
        Step("look", "verify", ("img",)),
        Step("direct", "verify", ("img",), direct=True),
    )
    result = run(Plan(steps=steps, layers=IMG, vm=False, token="t0k", seed=7), tmp_path)
    assert result.fault is None
    wrote = result.step("write")
    assert wrote is not None and (wrote.exit, wrote.count) == (0, 2048)
    for name in ("look", "direct"):
        seen = result.step(name)
        assert seen is not None
        clean = damage == "none"
        assert (seen.blocks, seen.exit, seen.count) == (("clean" if clean else damage,), int(not clean), 2048)
    assert (tmp_path / "shared/stamps.log").read_text().splitlines()[:3] == ["img B", "img W 0 2048 1", "img F"]


@pytest.mark.parametrize("damage", ["duplicate", "flipped"])
def test_damage_that_is_taken_away_again_leaves_what_was_there(tmp_path: Path, damage: str) -> None:
    steps = (
        Step("write", "stamp", ("img",), size=8 * MIB),
        Step("damage", "corrupt", ("img",), damage=damage),
        Step("during", "verify", ("img",), direct=True),
        Step("heal", "corrupt", ("img",), damage="restored"),
        Step("after", "verify", ("img",), direct=True),
        Step("twice", "corrupt", ("img",), damage="restored"),
    )
    result = run(Plan(steps=steps, layers=IMG, vm=False, token="t0k", seed=7), tmp_path)
    during, heal, after = (result.step(name) for name in ("during", "heal", "after"))
    assert during is not None and during.blocks == (damage,)
    assert heal is not None and heal.detail == f"restored: {during.failed} block{'s'[: during.failed - 1]} of img"
    assert after is not None and after.blocks == ("clean",)
    assert result.fault is not None and (result.fault.stage, result.fault.message) == (
        "step",
        "corrupt: nothing on img was damaged, so nothing can be restored",
    )


def test_what_was_written_since_it_was_damaged_is_not_overwritten(tmp_path: Path) -> None:
    steps = (
        Step("write", "stamp", ("img",), size=8 * MIB),
        Step("damage", "corrupt", ("img",), damage="zeroed"),
        Step("anew", "stamp", ("img",), size=8 * MIB),
        Step("heal", "corrupt", ("img",), damage="restored"),
    )
    fault = run(Plan(steps=steps, layers=IMG, vm=False, token="t0k", seed=7), tmp_path).fault
    assert fault is not None and fault.stage == "step" and "since it was damaged" in fault.message


def test_corrupt_without_stamps_is_the_steps_fault_and_not_the_plans(tmp_path: Path) -> None:
    plan = Plan(steps=(Step("d", "corrupt", ("img",), damage="zeroed"),), layers=IMG, vm=False)
    fault = run(plan, tmp_path).fault
    assert fault is not None and (fault.stage, fault.message) == (
        "step",
        "corrupt: nothing that was stamped lies on img",
    )


@pytest.mark.parametrize(("number", "ours"), [(errno.EMFILE, True), (errno.ENOMEM, True), (errno.ENXIO, False)])
def test_what_the_vm_itself_lacks_is_no_finding(
    tmp_path: Path, number: int, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Step("look", "verify", ("img",), direct=True)
    storage = Storage(str(tmp_path), 60.0)
    storage.build(IMG, vm=False)
    stamps = Stamps(Plan(steps=(look,), layers=IMG, vm=False), str(tmp_path))
    assert stamp_here(stamps, storage, Step("write", "stamp", ("img",), size=8 * MIB), 60.0)[0] == ""

    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refused)
    if ours:
        with pytest.raises(Halt, match="cannot be verified"):
            verify_here(stamps, storage, "img", look)
    else:
        assert verify_here(stamps, storage, "img", look).classes == ("unreadable",)


class TestStorageInsideTheGuest:
    def test_a_file_system_is_made_once_and_only_mounted_after(self) -> None:
        inner = InnerStorage(GuestPlan(os="linux", storage=(Layer("usr", "fs", "ext4", ("vda",)),)))
        mount = "mkdir -p /mnt/usr && mount -t ext4 /dev/vda /mnt/usr"
        assert inner.create(NODES) == ["mkfs.ext4 -q -F /dev/vda", mount]
        assert inner.assemble(NODES) == [mount]
        assert inner.remount("usr", NODES) == f"umount /mnt/usr && {mount}"
        assert (inner.leave(), inner.programs()) == ("umount /mnt/usr", ("mkfs.ext4",))
        assert (inner.path("usr", NODES), inner.path("vda", NODES)) == ("/mnt/usr/stamped", "/dev/vda")
        assert inner.legs("usr") == (("vda", "", 0),)

    def test_an_array_is_created_once_and_assembled_after(self) -> None:
        layers = (Layer("md0", "md", "raid1", ("s0", "s1")), Layer("data", "fs", "xfs", ("md0",)))
        inner = InnerStorage(GuestPlan(os="linux", storage=layers))
        created, assembled = inner.create(NODES), inner.assemble(NODES)
        assert created[0].startswith("mdadm --create /dev/md0 ") and created[0].endswith(" /dev/sda /dev/sdb")
        assert created[1] == "mkfs.xfs -q -f /dev/md0"
        assert assembled[0] == "mdadm --assemble /dev/md0 --run /dev/sda /dev/sdb"
        assert not any("create" in line or "mkfs" in line for line in assembled)
        assert inner.leave() == "umount /mnt/data && mdadm --stop /dev/md0"
        assert inner.legs("data") == (("s0", "md0", 0), ("s1", "md0", 1))
        assert inner.offset_command("md0", "s1", NODES) == "cat /sys/block/md0/md/dev-sdb/offset"

    def test_what_busybox_cannot_hold_is_refused(self) -> None:
        with pytest.raises(Halt):
            InnerStorage(GuestPlan(os="linux", storage=(Layer("lv", "lvm", "linear", ("vda",), 1),)))


class TestAnswersOfTheGuest:
    def test_a_program_is_read_by_its_words(self) -> None:
        assert command_outcome(1, "dd: writing '/dev/vda': Input/output error").errno == "EIO"
        assert command_outcome(0, "").errno == ""


@pytest.mark.skipif(not shutil.which("busybox"), reason="busybox-static is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the root folder")
def test_packed_programs_run_with_nothing_of_the_host_around_them(tmp_path: Path) -> None:
    archive = cpio(packing.tools(("mkfs.ext4", "filefrag")))
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["busybox", "cpio", "-i", "-d"], cwd=root, input=archive, check=True, capture_output=True)
    for program in ("mkfs.ext4", "filefrag"):
        words = [shutil.which("chroot") or "", str(root), f"/bin/{program}", "-V"]
        ran = subprocess.run(words, env={}, capture_output=True, text=True, check=False)
        assert "1." in ran.stdout + ran.stderr and ran.returncode != 127, ran.stderr


def test_folders_come_before_what_is_in_them() -> None:
    from bisector.agent.initramfs import Entry

    packed = packing.with_folders(
        [Entry("a/b/c", stat.S_IFREG), Entry("a/d", stat.S_IFREG), Entry("a/b/c", stat.S_IFREG)]
    )
    assert [entry.path for entry in packed] == ["a", "a/b", "a/b/c", "a/d"]


# ---- a foreign guest -----------------------------------------------------------------------------------------------

# A system of one sector: it says a line on the first serial port and halts (8086 code, loaded at 0x7c00 by the BIOS).
#   xor ax,ax; mov ds,ax; mov si,text; cld; mov dx,0x3f8
#   next: lodsb; test al,al; jz end; out dx,al; jmp next      end: hlt; jmp end
CODE = bytes.fromhex("31c0 8ed8 be147c fc baf803 ac 84c0 7403 ee ebf8 f4 ebfd".replace(" ", ""))


def boot_sector(line: str) -> bytes:
    assert len(CODE) <= 0x1A
    code = CODE.replace(bytes.fromhex("be147c"), b"\xbe" + (0x7C00 + len(CODE)).to_bytes(2, "little"))
    return (code + line.encode() + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"


def test_a_foreign_image_boots_from_a_disk_of_its_own_over_it() -> None:
    ports, guest = Ports(5, 6, 7), GuestPlan(os="image", image="os.img", drives=(Drive("data", "img", "ide"),))
    argv = qemu_command(guest, {"img": "/x"}, "tcg", ports, ("/run/system.qcow2",))
    assert "ide-hd,drive=system,bootindex=0" in argv
    assert not {"-kernel", "-initrd", "-append", "-S"} & set(argv)
    assert argv[argv.index("-machine") + 1] == "pc,accel=tcg"


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
class TestForeignGuest:
    def guest(self, folder: Path, ready: str) -> Guest:
        (folder / "files").mkdir()
        (folder / "files/os.img").write_bytes(boot_sector("Foreign OS 1.0 login:") + bytes(MIB - 512))
        plan_guest = GuestPlan(os="image", image="os.img", ready=ready, accel="tcg")
        plan = Plan(steps=(), guest=plan_guest, vm=False)
        (folder / "work").mkdir()
        storage = Storage(str(folder / "work"), 30.0)
        recorder = Recorder(str(folder), "t0k", vm=False)
        return Guest(plan, plan_guest, storage, recorder, str(folder), str(folder / "work"))

    def test_it_is_up_when_its_console_says_so_and_its_file_is_never_written(self, tmp_path: Path) -> None:
        guest = self.guest(tmp_path, "OS [0-9.]+ login:$")
        before = (tmp_path / "files/os.img").stat().st_mtime_ns
        started = guest.start(120.0)
        assert (started.done, started.exit) == (True, 0), started.detail
        assert guest.stop().exit == 0
        again = guest.start(120.0)
        guest.close()
        assert again.done
        assert "Foreign OS 1.0 login:" in (tmp_path / "guest-console.log").read_text()
        assert (tmp_path / "files/os.img").stat().st_mtime_ns == before

    def test_one_that_never_says_it_is_no_start(self, tmp_path: Path) -> None:
        guest = self.guest(tmp_path, "never said")
        started = guest.start(6.0)
        guest.close()
        assert not started.done
        assert started.detail == "the inner guest did not reach the console line that it is waited for in time"

    def test_format_of_the_image_is_read_from_it(self, tmp_path: Path) -> None:
        raw, qcow2 = tmp_path / "a.img", tmp_path / "b.img"
        raw.write_bytes(bytes(MIB))
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "1M"], check=True)
        assert "raw" in overlay_command(str(raw), "o") and "qcow2" in overlay_command(str(qcow2), "o")[-2]
