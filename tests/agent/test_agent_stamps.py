# SPDX-License-Identifier: GPL-2.0-only
"""Stamp, verify and corrupt as steps of a plan; the guest's storage; programs packed for the guest; a foreign guest."""

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
from bisector.agent.inside import read_stamped, read_verified, stamped_line
from bisector.agent.integrity import Written
from bisector.agent.machine import Ports, overlay_command, qemu_command
from bisector.agent.observe import Recorder
from bisector.agent.plan import Drive, Layer, Plan, Result, Step, load
from bisector.agent.plan import Guest as GuestPlan
from bisector.agent.storage import Storage

MIB = 1 << 20
IMG = (Layer("img", "file", "raw", size=16 * MIB),)
NODES = {"vda": "/dev/vda", "s0": "/dev/sda", "s1": "/dev/sdb"}


def run(plan: Plan, folder: Path) -> Result:
    shared = prepare(plan, folder)
    argv = [sys.executable, "-I", "-S", str(shared / "agent/main.py"), str(shared)]
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
    def test_a_stamp_tells_errno_and_blocks(self) -> None:
        line = stamped_line(Written(512, 1, "ENOSPC", "/dev/sda: No space left on device"))
        assert read_stamped(f"noise\n{line}\n") == (512, "ENOSPC", "/dev/sda: No space left on device")
        seen = command_outcome(1, line)
        assert (seen.exit, seen.errno, seen.count, seen.failed) == (1, "ENOSPC", 512, 1)
        assert read_stamped(stamped_line(Written(3, 1))) == (3, "", "")

    def test_a_verify_tells_classes(self) -> None:
        text = "verified 100 - 2 duplicate torn\n100 blocks judged: 1 duplicate, 1 torn\nblock 7: torn"
        assert read_verified(text) == (100, "", 2, ("duplicate", "torn"))
        seen = command_outcome(1, text)
        assert (seen.blocks, seen.count, seen.failed) == (("duplicate", "torn"), 100, 2)
        assert seen.detail == "100 blocks judged: 1 duplicate, 1 torn\nblock 7: torn"

    def test_nothing_judged_is_neither_clean_nor_bad(self) -> None:
        assert command_outcome(0, "verified 0 - 0\n0 blocks judged: none differs").blocks == ()

    def test_any_other_program_is_read_by_its_words(self) -> None:
        assert command_outcome(1, "dd: writing '/dev/vda': Input/output error").errno == "EIO"
        assert command_outcome(0, "").errno == ""


@pytest.mark.skipif(not shutil.which("busybox"), reason="busybox-static is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the root folder")
def test_packed_python_stamps_and_verifies_with_nothing_of_the_host_around_it(tmp_path: Path) -> None:
    archive = cpio([*packing.python(str(tmp_path)), *packing.tools(("mkfs.ext4",))])
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["busybox", "cpio", "-i", "-d"], cwd=root, input=archive, check=True, capture_output=True)
    (root / "work").mkdir()
    words = [*packing.python_command(), "stamp", "usr", "/work/f", "9", "300", "1", "buffered", "0"]
    port = os.open(tmp_path / "port", os.O_RDWR | os.O_CREAT)
    wrapper = ["/bin/sh", "-c", f'exec 3<>/proc/self/fd/{port}; exec {shutil.which("chroot")} "$@"', "sh", str(root)]
    wrote = subprocess.run([*wrapper, *words], env={}, pass_fds=[port], capture_output=True, text=True, check=False)
    assert (wrote.returncode, wrote.stdout, wrote.stderr) == (0, "stamped 300 -\n", "")
    assert (tmp_path / "port").read_text().splitlines()[:3] == ["J usr B", "J usr W 0 300 1", "J usr F"]
    look = [*packing.python_command(), "verify", "/work/f", "9", "0-300@1;;", "direct", "keep"]
    if b"tmpfs" in subprocess.run(["stat", "-f", "-c", "%T", root], capture_output=True, check=True).stdout:
        look[-2] = "buffered"
    saw = subprocess.run(
        [shutil.which("chroot") or "", root, *look], env={}, capture_output=True, text=True, check=False
    )
    assert (saw.returncode, saw.stdout) == (0, "verified 300 - 0 clean\n300 blocks judged: none differs\n"), saw.stderr
    made = subprocess.run(
        [shutil.which("chroot") or "", root, "/bin/mkfs.ext4", "-V"], env={}, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr


def test_compiled_module_is_taken_only_when_it_is_of_its_source(tmp_path: Path) -> None:
    import py_compile

    source, compiled = tmp_path / "m.py", tmp_path / "m.pyc"
    source.write_text("x = 1\n")
    assert not packing.is_current(str(source), str(compiled))
    py_compile.compile(str(source), cfile=str(compiled))
    assert packing.is_current(str(source), str(compiled))
    source.write_text("x = 22\n")
    assert not packing.is_current(str(source), str(compiled))


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
