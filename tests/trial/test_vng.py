# SPDX-License-Identifier: GPL-2.0-only
"""What vng and QEMU are called with."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from pathlib import Path

import pytest

from bisector.agent.plan import Guest, Layer, Plan
from bisector.errors import InfraError
from bisector.layers.drive import image_bytes, image_command
from bisector.model import Image
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from bisector.trial import vng
from bisector.trial.run import version_of_vng

PLACES = vng.Places(Path("/var/tmp/b-1"))
IMAGE = Image("identity", "/cache/bzImage")
LEGS = tuple(Layer(f"leg{n}", "disk", "nvme", size=128 << 20) for n in range(2))


def arguments(plan: Plan, image: Image = IMAGE, accel: str = "tcg") -> list[str]:
    return list(vng.arguments(image, plan, PLACES, accel=accel))


def value(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_the_whole_list_for_two_nvme_legs() -> None:
    drives = " ".join(
        f"-drive file=/var/tmp/b-1/disks/leg{n},if=none,id=disk-leg{n},format=raw,cache=unsafe "
        f"-device nvme,drive=disk-leg{n},serial=leg{n}"
        for n in range(2)
    )
    assert arguments(Plan(steps=(), layers=LEGS, append=("quiet",))) == [
        *("vng", "--run", "/var/tmp/b-1/s/k/boot/vmlinuz", "--disable-kvm", "--force-9p", "--verbose"),
        *("--memory", "2048M", "--cpus", "2", "--rwdir=/var/tmp/b-1/s=/var/tmp/b-1/s"),
        *("--qemu", "/var/tmp/b-1/qemu"),
        *("--append=printk.devkmsg=on", "--append=watchdog_thresh=30", "--append=no_timer_check", "--append=quiet"),
        f"--qemu-opts=-global virtio-serial-device.max_ports=2 -accel tcg,tb-size=128 {drives}",
        *("--exec", "/var/tmp/b-1/s/start"),
    ]


def test_a_disk_with_metadata_is_a_namespace_of_its_own_with_room_for_it(tmp_path: Path) -> None:
    options = (("logical_block", "4096"), ("metadata", "8"), ("protection", "1"), ("queues", "2"))
    plain, meta = (
        Layer("plain", "disk", "nvme", size=1 << 20),
        Layer("m", "disk", "nvme", size=1 << 20, options=options),
    )
    words = vng.devices(Plan(steps=(), layers=(plain, meta)), PLACES)
    assert [word for word in words if word.startswith("nvme")] == [
        "nvme,drive=disk-plain,serial=plain",
        "nvme,max_ioqpairs=2,id=nvme-m,serial=m",
        "nvme-ns,bus=nvme-m,drive=disk-m,logical_block_size=4096,physical_block_size=4096,ms=8,pi=1",
    ]
    assert image_bytes(1 << 20, dict(options)) == (1 << 20) + 256 * 8
    assert image_bytes(1 << 20, {}) == 1 << 20


@pytest.mark.parametrize(("size", "cluster"), [(1 << 20, 128), (1 << 30, 128), ((1 << 30) + 1, 256), (5 << 30, 512)])
def test_a_volatile_disk_has_all_of_its_blocks_in_one_table(size: int, cluster: int) -> None:
    command = image_command("/x", size, {"volatile": "on"})
    assert command[:5] == ["qemu-img", "create", "-q", "-f", "qcow2"]
    assert command[-3:] == [f"cluster_size={cluster << 10},extended_l2=on", "/x", str(size)]
    assert image_command("/x", size, {}) == image_command("/x", size, {"volatile": "off"}) == []


def test_a_volatile_disk_is_given_to_qemu_in_its_format() -> None:
    layers = (
        Layer("a", "disk", "nvme", size=1 << 20, options=(("volatile", "on"),)),
        Layer("b", "disk", "nvme", size=1),
    )
    drives = [word for word in vng.devices(Plan((), layers), PLACES) if word.startswith("file=")]
    assert ["format=qcow2" in drive for drive in drives] == [True, False]


def test_programs_under_test_are_seen_in_the_vm_and_come_first(tmp_path: Path) -> None:
    build = tmp_path / "build"
    for folder in (build, tmp_path / "image/bin"):
        folder.mkdir(parents=True)
    (build / "qemu-system-x86_64").touch()
    (tmp_path / "image/bin/qemu-system-x86_64").symlink_to(build / "qemu-system-x86_64")
    (tmp_path / "image/bin/qemu-img").symlink_to("/usr/bin/env")
    argv = vng.arguments(IMAGE, Plan(steps=()), PLACES, accel="tcg", programs=(str(tmp_path / "image/bin"),))
    seen = [word for word in argv if word.startswith("--rodir=")]
    assert seen == [f"--rodir={folder}={folder}" for folder in (tmp_path / "image", build)]
    script = vng.start_script("python3", PLACES.shared / "agent.pyc", PLACES, "/cache/image/bin")
    assert script.splitlines()[1] == "export PATH=/cache/image/bin:$PATH"
    assert "PATH" not in vng.start_script("python3", PLACES.shared / "agent.pyc", PLACES)


def test_kvm_is_disabled_only_for_emulation() -> None:
    assert "--disable-kvm" not in arguments(Plan(steps=()), accel="kvm")
    assert "--append=watchdog_thresh=30" not in arguments(Plan(steps=()), accel="kvm")
    assert "--append=no_timer_check" not in arguments(Plan(steps=()), accel="kvm")
    assert not any("tcg" in word for word in arguments(Plan(steps=()), accel="kvm"))


def test_instructions_are_counted_where_the_plan_says_so() -> None:
    options = next(word for word in arguments(Plan(steps=(), icount=True)) if word.startswith("--qemu-opts"))
    assert " -icount shift=1 " in f"{options} "
    assert not any("-icount" in word for word in arguments(Plan(steps=())))


def test_loop_legs_are_the_agents() -> None:
    plan = Plan(steps=(), layers=(Layer("a", "disk", "loop", size=1 << 20), Layer("lv", "lvm", "linear", of=("a",))))
    assert vng.disks(plan) == ()
    assert not any("-drive" in word for word in arguments(plan))


def test_the_script_goes_by_its_path() -> None:
    assert len(value(arguments(Plan(steps=())), "--exec")) < 60, "it travels in the kernel's 2,048 bytes"


@pytest.mark.parametrize("folder", ["/home/a b/tmp", "/tmp/x;y", "/tmp/ä", "/tmp/a,b"])
def test_a_folder_that_vng_would_cut_is_refused(folder: str) -> None:
    with pytest.raises(InfraError, match="cannot use the folder") as caught:
        vng.arguments(IMAGE, Plan(steps=()), vng.Places(Path(folder)), accel="tcg")
    assert "TMPDIR" in caught.value.hint


@pytest.mark.parametrize("name", ["a,b", "a b", "x" * 21, "ä", ""])
def test_a_name_that_is_no_serial_number_is_refused(name: str) -> None:
    with pytest.raises(InfraError, match="serial number"):
        arguments(Plan(steps=(), layers=(Layer(name, "disk", "nvme", size=1 << 20),)))


def test_options_that_the_kernel_would_cut_are_refused() -> None:
    with pytest.raises(InfraError, match="longer than 800"):
        arguments(Plan(steps=(), append=("x=" + "y" * 800,)))


def test_modules_are_shown_under_their_own_path(tmp_path: Path) -> None:
    (tmp_path / "lib/modules").mkdir(parents=True)
    argv = arguments(Plan(steps=()), Image("i", "/cache/vmlinuz", modules=str(tmp_path)))
    assert f"--rodir={tmp_path}/lib/modules={tmp_path}/lib/modules" in argv


def test_vng_and_its_parts_come_from_one_folder() -> None:
    environment = vng.environment(PLACES, {"PATH": "/usr/bin", "HOME": "/root", "EDITOR": "vi"}, "/venv/bin/vng")
    assert environment["PATH"].startswith("/venv/bin:/usr/bin:")
    assert environment["HOME"] == "/var/tmp/b-1/home"
    assert "EDITOR" not in environment


MIXED = (
    *LEGS,
    Layer("v", "disk", "virtio-blk", size=1 << 20),
    Layer("s0", "disk", "scsi", size=1 << 20),
    Layer("s1", "disk", "scsi", size=1 << 20),
    *(Layer(f"a{n}", "disk", "ahci", size=1 << 20) for n in range(7)),
)


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
@pytest.mark.parametrize("guest", [None, Guest(os="linux", passthrough=("a0",))])
def test_qemu_takes_every_kind_of_leg(tmp_path: Path, guest: Guest | None) -> None:
    places = vng.Places(tmp_path)
    (tmp_path / "disks").mkdir()
    plan = Plan(steps=(), layers=MIXED, guest=guest)
    for layer in vng.disks(plan):
        places.disk(layer).write_bytes(b"")
        with places.disk(layer).open("wb") as disk:
            disk.truncate(layer.size)
    common = shlex.split("qemu-system-x86_64 -machine q35,accel=tcg -S -nodefaults -display none -m 64 -monitor stdio")
    shown = Processes(tmp_path / "records").run(
        [*common, *vng.devices(plan, places)], access=HOST, stdin="info block\ninfo qtree\nquit\n", timeout=30
    )
    assert "error" not in shown.stderr, shown.stderr
    for layer in vng.disks(plan):
        assert re.search(rf"^disk-{layer.name} .*: {places.disk(layer)} \(raw\)", shown.stdout, re.MULTILINE)
        assert f'serial = "{layer.name}"' in shown.stdout
    assert all(f'dev: ich9-ahci, id "ahci{n}"' in shown.stdout for n in range(2)), "beside the board's own"
    assert ("dev: intel-iommu" in shown.stdout) is (guest is not None)


def test_the_stand_in_notes_how_qemu_ended(tmp_path: Path) -> None:
    places = vng.Places(tmp_path)
    processes = Processes(tmp_path / "records")
    for code, ending in [("exit 3", "3"), ("kill -9 $$", "137"), ("exit 0", "0")]:
        real = tmp_path / "real qemu"
        real.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "QEMU version 7.2" && exit 0\n{code}\n')
        real.chmod(0o755)
        places.qemu.write_text(vng.qemu_script(str(real), places))
        places.qemu.chmod(0o755)
        places.qemu_exit.unlink(missing_ok=True)
        assert "7.2" in processes.run([str(places.qemu), "--version"], access=HOST).stdout
        assert not places.qemu_exit.exists()
        processes.run([str(places.qemu), "-m", "1G"], access=HOST, check=False)
        assert places.qemu_exit.read_text().strip() == ending


@pytest.mark.parametrize(
    ("wanted", "starts", "ending"),
    [
        ("boot.1 boot.2", 3, "0"),
        ("boot.1 cut.2", 3, "0"),
        ("boot.2", 1, "0"),  # the VM went down by itself
        ("", 1, "0"),
        ("boot.1 boot.2 boot.3 boot.4", 3, "0"),  # no more than the plan has
    ],
)
def test_the_stand_in_boots_the_vm_again_where_the_agent_wants_it(
    tmp_path: Path, wanted: str, starts: int, ending: str
) -> None:
    """A QEMU that stays up has its power cut; one that goes down is only started again where that was wanted."""
    places = vng.Places(tmp_path)
    places.shared.mkdir()
    for name in wanted.split():
        (places.shared / name).touch()
    real = tmp_path / "qemu-real"
    real.write_text(
        f"#!/bin/sh\necho started >>{tmp_path}/starts\n"
        f"[ -e {places.shared}/cut.$(wc -l <{tmp_path}/starts) ] && exec sleep 600\nexit 0\n"
    )
    real.chmod(0o755)
    places.qemu.write_text(vng.qemu_script(str(real), places, boots=3))
    places.qemu.chmod(0o755)
    began = time.monotonic()
    Processes(tmp_path / "records").run([str(places.qemu), "-m", "1G"], access=HOST, check=False)
    assert time.monotonic() - began < 300
    assert (tmp_path / "starts").read_text().count("started") == starts
    assert places.qemu_exit.read_text().strip() == ending


def test_the_version_is_that_of_the_vng_which_runs(tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.11/site-packages/virtme_ng-1.99.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: virtme-ng\nVersion: 1.99\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/vng").touch()
    assert version_of_vng(str(tmp_path / "bin/vng")) == "1.99"
    assert version_of_vng(str(tmp_path / "elsewhere/bin/vng")) == ""


def test_the_vm_sees_no_udev_but_where_the_plan_wants_one() -> None:
    def hidden(plan: Plan) -> tuple[Path, ...]:
        return vng.access([IMAGE], plan, PLACES, accel="tcg", tools=()).hidden

    assert Path("/usr/lib/systemd") in hidden(Plan(steps=())) and Path("/usr/bin/systemd-tmpfiles") in hidden(
        Plan(steps=())
    )
    assert hidden(Plan(steps=(), udev=True)) == ()


@pytest.mark.parametrize(
    ("version", "without"),
    [("1.42", True), ("1.41", True), ("1.41.dev3", True), ("2.0", True), ("1.40", False), ("1.9", False), ("", False)],
)
def test_an_earlier_virtme_runs_no_script_without_udev(version: str, without: bool) -> None:
    assert vng.without_udev(version) is without
