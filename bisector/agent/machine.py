# SPDX-License-Identifier: GPL-2.0-only
"""The inner QEMU's command line, and what its guest's dd says. Pure, but for the try of /dev/kvm."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..layers import arch
from ..layers import drive as below
from ..layers.device import DEVICES, PORT, SERIAL_LENGTH
from .command import Halt
from .plan import Drive, Guest, Io, Layer

SECTOR = 512
ZEROER = "fallocate"  # of util-linux: packed where a step asks for zeroes; blkdiscard -z cuts a range that is too long
KVM_CREATE_VM = 0xAE01  # include/uapi/linux/kvm.h
# quiet: each line costs time in an emulated guest; init lets all lines through once it runs. The guest is never
# powered off, and a panic ends QEMU (panic=-1 with -no-reboot). no_timer_check: on a starved host a guest in a guest
# misses the timer's interrupts while it tests them, and panics ("IO-APIC + timer doesn't work").
KERNEL_OPTIONS = f"console={arch.VM.console} quiet panic=-1 rdinit=/init nokaslr random.trust_cpu=on no_timer_check"


@dataclass(frozen=True)
class Ports:
    """Descriptors of connected sockets that QEMU inherits: QMP, and for os=linux console and commands."""

    qmp: int
    console: int = -1
    control: int = -1


def qemu_command(
    guest: Guest, nodes: Mapping[str, str], accel: str, ports: Ports, boot: tuple[str, ...] | None
) -> list[str]:
    """QEMU's command line.

    ``nodes``: layer → path; ``boot``: kernel and initramfs, or a system disk alone, None for an open that runs nothing.

    Raises Halt(plan) for a device that is not known.
    """
    boards = {DEVICES[drive.device].board for drive in guest.drives if drive.device in DEVICES} - {""}
    machine = boards.pop() if boards else "q35"
    argv = [arch.VM.qemu, "-machine", f"{machine},accel={accel}", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-no-reboot", "-m", str(guest.memory >> 20)]
    argv += ["-chardev", f"socket,id=qmp,fd={ports.qmp}", "-mon", "chardev=qmp,mode=control"]
    if accel == "kvm":
        argv += ["-cpu", "host"]
    for drive in guest.drives:
        argv += ["-drive", drive_option(drive, nodes[drive.of])]
    argv += device_options(guest.drives)
    if boot is None:
        return [*argv, "-S"]
    argv += ["-chardev", f"socket,id=console,fd={ports.console}", "-serial", "chardev:console"]
    argv += ["-chardev", f"socket,id=control,fd={ports.control}", "-serial", "chardev:control"]
    if len(boot) == 1:
        # What firmware and boot loaders of any system find: a disk on the board's own IDE or AHCI controller.
        argv += ["-drive", f"file={boot[0].replace(',', ',,')},format=qcow2,if=none,id=system"]
        return [*argv, "-device", "ide-hd,drive=system,bootindex=0"]
    return [*argv, "-kernel", boot[0], "-initrd", boot[1], "-append", KERNEL_OPTIONS]


def drive_option(drive: Drive, path: str) -> str:
    """The value of ``-drive``; a comma in a path is doubled, as QEMU's option syntax wants."""
    given = dict(drive.words)
    words = [*below.file_words(path, given), f"format={drive.format}", "if=none", f"id={drive.name}"]
    words += [f"aio={drive.aio}", f"cache.direct={'on' if drive.cache_direct else 'off'}"]
    own = {word: value for word, value in (("werror", drive.werror), ("rerror", drive.rerror)) if value}
    words += [word for word in below.more_words(given) if word.partition("=")[0] not in own]
    words += [f"{word}={value}" for word, value in own.items()]
    return ",".join(words)


def device_options(drives: Sequence[Drive]) -> list[str]:
    """``-device`` for each drive, with the controllers that they need; the drive's name is the serial number."""
    argv: list[str] = []
    values = device_values(drives)
    for device in DEVICES.values():
        own = [drive for drive in drives if drive.device == device.name]
        given = {word: value for drive in own for word, value in _words(drive).items()}
        argv += [*_threads(own), *device.controllers(len(own), one=True, given=given)]
    for number, drive in enumerate(drives, 1):
        if has_port(drive):
            argv += ["-device", f"{PORT},id={_port(drive)},chassis={number},slot={number}"]
        if dict(drive.words).get("hotplug") != "absent":
            argv += ["-device", values[drive.name]]
    return argv


def device_values(drives: Sequence[Drive]) -> dict[str, str]:
    """Name of each drive → the value of its ``-device``, which a drive that is hot-plugged has, too.

    Raises Halt(plan) for a device that is not known.
    """
    used = dict.fromkeys(DEVICES, 0)
    values = {}
    for drive in drives:
        if drive.device not in DEVICES:
            raise Halt("plan", f"{drive.name}: guest device {drive.device} is not supported by this version")
        place = DEVICES[drive.device].for_disk(used[drive.device], one=True)
        used[drive.device] += 1
        place += f",bus={_port(drive)}" if has_port(drive) else ""
        more = DEVICES[drive.device].with_words(_words(drive))
        values[drive.name] = f"{place},id={drive.name},drive={drive.name},serial={drive.name[:SERIAL_LENGTH]}{more}"
    return values


def without_cache(guest: Guest, layers: Sequence[Layer]) -> list[str]:
    """Serial numbers of disks of the guest that have no write cache and say that they have one: its kernel is told.

    ``layers``: of the VM, some of which the guest may be passed.
    """
    passed = [(layer.name, layer.type, layer.options) for layer in layers if layer.name in guest.passthrough]
    found = [*((drive.name, drive.device, drive.words) for drive in guest.drives), *passed]
    return [
        name[:SERIAL_LENGTH]
        for name, device, words in found
        if device in DEVICES and DEVICES[device].always_cached and dict(words).get("write_cache") == "off"
    ]


def has_port(drive: Drive) -> bool:
    """Whether the drive has a PCIe port of its own, that takes hot-plug."""
    return "hotplug" in dict(drive.words) and DEVICES[drive.device].on_port


def _port(drive: Drive) -> str:
    return f"port-{drive.name}"


def _words(drive: Drive) -> dict[str, str]:
    """The drive's words as QEMU's devices take them: an I/O thread by its name."""
    given = dict(drive.words)
    thread = given.pop("iothread", "off")
    return {**given, "iothread": f"thread-{drive.name}"} if thread == "on" else given


def _threads(drives: Sequence[Drive]) -> list[str]:
    named = [name for drive in drives if (name := _words(drive).get("iothread"))]
    return [word for name in named for word in ("-object", f"iothread,id={name}")]


def kvm_opens() -> bool:
    """Whether /dev/kvm gives a VM here. That it can run a kernel is not said by that: only a boot shows it."""
    try:
        device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(device, KVM_CREATE_VM, 0))
    except OSError:
        return False
    finally:
        os.close(device)
    return True


def io_command(device: str, io: Io) -> str:
    """The guest's programs that do ``io`` on ``device``. Raises Halt(plan) for what they cannot do."""
    return _dd_command(device, io) if io.operation in ("read", "write") else _range_command(device, io)


def _range_command(device: str, io: Io) -> str:
    """One call for each range, up to the first that fails; how many were well is said in dd's words."""
    # Busybox's shell takes its own program, which cannot, for a name without a path.
    program = f"/bin/{ZEROER} -z" if io.operation == "write_zeroes" else "blkdiscard"
    one = f"{program} -o $(({io.offset}+$n*{io.block})) -l {io.block} {device}"
    loop = f"while [ $n -lt {io.count} ] && {one}; do n=$(($n+1)); done"
    return f"n=0; {loop}; echo $n+0 records out; [ $n = {io.count} ]"


def _dd_command(device: str, io: Io) -> str:
    if io.buffer_offset:
        raise Halt("plan", "I/O in the guest has no buffer_offset: its dd aligns its buffer")
    if io.direct and io.block % SECTOR:
        # busybox dd takes O_DIRECT off and repeats the read when the kernel says EINVAL, and says nothing of it.
        raise Halt(
            "plan", f"direct I/O in the guest moves whole sectors: a block of {io.block} would go through the cache"
        )
    if io.offset % io.block:
        raise Halt("plan", "I/O in the guest starts at a multiple of its block size")
    size = f"bs={io.block} count={io.count}"
    if io.operation == "read":
        flags = " iflag=direct" if io.direct else ""
        return f"dd if={device} of=/dev/null {size} skip={io.offset // io.block}{flags}"
    flags = (" oflag=direct" if io.direct else "") + (" conv=fsync" if io.flush else "")
    return f"dd if=/dev/zero of={device} {size} seek={io.offset // io.block}{flags}"


def overlay_command(image: str, overlay: str) -> list[str]:
    """``qemu-img create`` for a disk over ``image``, which is never written. Raises OSError."""
    with open(image, "rb") as file:
        form = "qcow2" if file.read(4) == b"QFI\xfb" else "raw"  # docs/interop/qcow2.txt
    return ["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", form, overlay]


def dd_records(text: str) -> int:
    """How many whole records dd wrote (``64+0 records out``)."""
    found = re.search(r"^(\d+)\+\d+ records out", text, re.MULTILINE)
    return int(found[1]) if found else 0


def errno_in(text: str) -> str:
    """The name of the first error that a program's message ends with (``...: Invalid argument``), "" without one."""
    names = {os.strerror(number): name for number, name in errno.errorcode.items()}
    names["I/O error"] = "EIO"  # musl, and busybox's own words
    for line in text.splitlines():
        message = line.rpartition(": ")[2].strip()
        if message in names:
            return names[message]
    return ""
