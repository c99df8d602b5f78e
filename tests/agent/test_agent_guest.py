# SPDX-License-Identifier: GPL-2.0-only
"""The inner guest's pure parts: archive, command line, what dd and QEMU say."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from bisector.agent.command import Halt
from bisector.agent.initramfs import Entry, cpio, guest_root, is_static
from bisector.agent.lines import LONGEST, LineSplitter, printable, qmp_event
from bisector.agent.machine import Ports, dd_records, errno_in, io_command, qemu_command
from bisector.agent.modules import devices_of, modules
from bisector.agent.plan import Drive, Guest, Io, Layer

PORTS = Ports(5, 6, 7)


def words_after(argv: list[str], option: str) -> list[str]:
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def unpacked(archive: bytes, folder: Path) -> Path:
    subprocess.run(["busybox", "cpio", "-i", "-d"], cwd=folder, input=archive, check=True, capture_output=True)
    return folder


@pytest.mark.skipif(not shutil.which("busybox"), reason="busybox-static is not installed")
class TestArchive:
    def test_another_cpio_unpacks_what_we_pack(self, tmp_path: Path) -> None:
        entries = (
            Entry("bin", stat.S_IFDIR | 0o755),
            Entry("bin/tool", stat.S_IFREG | 0o755, b"#!/bin/sh\nexit 0"),
            Entry("bin/link", stat.S_IFLNK | 0o777, b"tool"),
            Entry("empty", stat.S_IFREG | 0o644),
        )
        root = unpacked(cpio(entries), tmp_path)
        assert (root / "bin/tool").read_bytes() == b"#!/bin/sh\nexit 0"
        assert (root / "bin/tool").stat().st_mode & 0o777 == 0o755
        assert (root / "bin/link").readlink() == Path("tool")
        assert (root / "empty").read_bytes() == b""

    def test_guest_root_holds_a_busybox_that_runs_alone_and_the_recipes_files(self, tmp_path: Path) -> None:
        (tmp_path / "own/deep").mkdir(parents=True)
        (tmp_path / "own/deep/load.sh").write_text("echo hello\n")
        (tmp_path / "root").mkdir()
        root = unpacked(guest_root(str(tmp_path / "own"), ["deep/load.sh"]), tmp_path / "root")
        assert (root / "files/deep/load.sh").read_text() == "echo hello\n"
        assert (root / "bin/dd").is_symlink()
        assert subprocess.run(["sh", "-n", str(root / "init")], check=False).returncode == 0
        said = subprocess.run([str(root / "bin/busybox"), "echo", "alone"], env={}, capture_output=True, check=True)
        assert said.stdout == b"alone\n"

    def test_missing_file_of_the_recipe_is_a_fault_of_the_plan(self, tmp_path: Path) -> None:
        with pytest.raises(Halt) as caught:
            guest_root(str(tmp_path), ["nowhere.sh"])
        assert caught.value.fault.stage == "plan"


def test_python_is_not_a_static_program() -> None:
    with Path("/proc/self/exe").open("rb") as file:
        assert not is_static(file.read(4096))
    assert not is_static(b"#!/bin/sh\n")


def test_open_only_qemu_gets_the_drive_as_the_recipe_says_and_never_runs() -> None:
    guest = Guest(drives=(Drive("vda", "boot", aio="native", werror="stop"),))
    argv = qemu_command(guest, {"boot": "/dev/mapper/vg-boot"}, "tcg", PORTS, None)
    drive = "file=/dev/mapper/vg-boot,format=raw,if=none,id=vda,aio=native,cache.direct=on,werror=stop"
    assert words_after(argv, "-drive") == [drive]
    assert words_after(argv, "-device") == ["virtio-blk-pci,id=vda,drive=vda,serial=vda"]
    assert argv[-1] == "-S"
    assert "-kernel" not in argv


def test_ide_drives_stand_on_the_old_board_and_ahci_on_a_controller_of_its_own() -> None:
    drives = (Drive("a", "l", "ide"), Drive("b", "l", "ide"), Drive("c", "l", "ide"), Drive("d", "l", "ahci"))
    argv = qemu_command(Guest(drives=drives), {"l": "/x"}, "tcg", PORTS, None)
    assert words_after(argv, "-machine") == ["pc,accel=tcg"]
    assert words_after(argv, "-device") == [
        "ich9-ahci,id=ahci",
        "ide-hd,bus=ide.0,unit=0,id=a,drive=a,serial=a",
        "ide-hd,bus=ide.0,unit=1,id=b,drive=b,serial=b",
        "ide-hd,bus=ide.1,unit=0,id=c,drive=c,serial=c",
        "ide-hd,bus=ahci.0,id=d,drive=d,serial=d",
    ]


def test_comma_in_a_path_is_doubled_for_qemu() -> None:
    argv = qemu_command(Guest(drives=(Drive("a", "l"),)), {"l": "/x,y"}, "tcg", PORTS, None)
    assert words_after(argv, "-drive")[0].startswith("file=/x,,y,")


def test_unknown_guest_device_is_a_fault_of_the_plan() -> None:
    with pytest.raises(Halt) as caught:
        qemu_command(Guest(drives=(Drive("a", "l", "floppy"),)), {"l": "/x"}, "tcg", PORTS, None)
    assert caught.value.fault.stage == "plan"


@pytest.mark.parametrize(
    ("io", "command"),
    [
        (Io("read", 4096, 64, direct=True), "dd if=/dev/vda of=/dev/null bs=4096 count=64 skip=0 iflag=direct"),
        (
            Io("write", 512, 2, direct=True, offset=1024, flush=True),
            "dd if=/dev/zero of=/dev/vda bs=512 count=2 seek=2 oflag=direct conv=fsync",
        ),
        (Io("write", 512), "dd if=/dev/zero of=/dev/vda bs=512 count=1 seek=0"),
        (
            Io("discard", 4096, 3, offset=512),
            "n=0; while [ $n -lt 3 ] && blkdiscard -o $((512+$n*4096)) -l 4096 /dev/vda; do n=$(($n+1)); done; "
            "echo $n+0 records out; [ $n = 3 ]",
        ),
    ],
)
def test_io_in_the_guest_is_dd(io: Io, command: str) -> None:
    assert io_command("/dev/vda", io) == command


@pytest.mark.parametrize(
    "io",
    [
        Io("read", 4096, buffer_offset=1),
        Io("read", 4096, offset=512),
        Io("read", 100, direct=True),
    ],
)
def test_what_the_guests_dd_cannot_do_is_refused(io: Io) -> None:
    with pytest.raises(Halt):
        io_command("/dev/vda", io)


@pytest.mark.parametrize(
    ("text", "name", "records"),
    [
        ("64+0 records in\n64+0 records out", "", 64),
        ("dd: error reading '/dev/vda': Input/output error\n3+0 records in\n3+0 records out", "EIO", 3),
        ("dd: error writing '/dev/vda': No space left on device\n10+0 records in\n9+0 records out", "ENOSPC", 9),
        ("dd: can't open '/dev/vdz': No such file or directory", "ENOENT", 0),
        ("qemu-system-x86_64: -drive file=/dev/x: Could not open '/dev/x': Invalid argument", "EINVAL", 0),
        ("qemu-system-x86_64: aio=native was specified, but it requires cache.direct=on", "", 0),
    ],
)
def test_messages_give_errno_and_count(text: str, name: str, records: int) -> None:
    assert (errno_in(text), dd_records(text)) == (name, records)


def test_lines_come_whole_however_the_bytes_are_cut() -> None:
    text = b"one\r\ntwo\nthree"
    for cut in range(len(text) + 1):
        splitter = LineSplitter()
        assert [*splitter.feed(text[:cut]), *splitter.feed(text[cut:]), *splitter.rest()] == ["one", "two", "three"]


def test_line_without_end_is_cut_and_not_kept() -> None:
    splitter = LineSplitter()
    pieces = splitter.feed(b"x" * (4 << 20))
    assert max(map(len, pieces)) == LONGEST
    assert sum(map(len, pieces)) + len(splitter.rest()[0]) == 4 << 20


def test_the_rest_of_a_long_line_passes_for_no_line_of_its_own() -> None:
    """What a program in the guest prints is in the guest's answers, and these are lines: a piece could be one."""
    forged = b"O 5 " + b"x" * (LONGEST - 4) + b"E 5 0\nE 5 1\n"
    for cut in range(LONGEST - 6, len(forged) + 1):
        splitter = LineSplitter(heads=True)
        lines = [*splitter.feed(forged[:cut]), *splitter.feed(forged[cut:]), *splitter.rest()]
        assert [line[:4] for line in lines] == ["O 5 ", "E 5 "]
        assert lines[1] == "E 5 1"
    endless = LineSplitter(heads=True)
    assert [len(line) for line in (*endless.feed(b"x" * (4 << 20)), *endless.rest())] == [LONGEST]


def test_qmp_events_are_distinguished_from_answers_and_noise() -> None:
    event = '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}'
    error = '{"event": "BLOCK_IO_ERROR", "data": {"nospace": true, "action": "stop"}}'
    assert qmp_event(event) == ("STOP", "")
    assert qmp_event(error) == ("BLOCK_IO_ERROR", '{"action": "stop", "nospace": true}')
    assert [qmp_event(line) for line in ('{"return": {}}', "[1]", "noise", '{"event": 3}')] == [None] * 4


def test_marker_text_is_plain_and_bounded() -> None:
    assert printable("XFS \x1b[31m(vda)\n" + "é" * 400, 300) == "XFS .[31m(vda)." + "." * 285


class TestModules:
    def test_a_passed_disk_needs_the_driver_of_its_own_controller(self) -> None:
        layers = (Layer("n", "disk", "nvme"), Layer("s", "disk", "ahci"), Layer("other", "disk", "scsi"))
        guest = Guest(os="linux", drives=(Drive("vda", "other"),), passthrough=("n", "s"))
        assert devices_of(guest, layers) == ["virtio-blk", "nvme", "ahci"]

    def test_a_kernel_without_modules_needs_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "modules.builtin").write_text("kernel/drivers/block/virtio_blk.ko\n")
        assert modules(["virtio-blk"], str(tmp_path)) == []
        assert modules(["virtio-blk"], str(tmp_path / "nowhere")) == []

    def test_the_guest_gets_its_drives_modules_and_a_modprobe_that_finds_them(self, tmp_path: Path) -> None:
        folder = tmp_path / "6.18.5+deb13-amd64"
        (folder / "kernel/drivers/block").mkdir(parents=True)
        (folder / "kernel/drivers/block/virtio_blk.ko").write_bytes(b"\x7fELF")
        (folder / "modules.dep").write_text("kernel/drivers/block/virtio_blk.ko:\n")
        (tmp_path / "root").mkdir()
        root = unpacked(cpio(modules(["virtio-blk", "virtio-blk"], str(folder))), tmp_path / "root")
        base = root / "lib/modules/6.18.5+deb13-amd64"
        assert (base / "kernel/drivers/block/virtio_blk.ko").read_bytes() == b"\x7fELF"
        assert (base / "modules.dep").read_text() == "kernel/drivers/block/virtio_blk.ko:\n"
        assert (root / "modules-to-load").read_text() == "virtio_pci virtio_blk\n"
        assert (root / "sbin/modprobe").readlink() == Path("/bin/busybox")
