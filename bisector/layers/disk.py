# SPDX-License-Identifier: GPL-2.0-only
"""Disks of the VM: emulated behind a controller, or made by the kernel itself (loop, null_blk, scsi_debug, zram, nbd,
nvmf).

What the kernel makes is a function in ``_MADE``, which names the block device; what its options mean stands there.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping, Sequence

from . import configfs, drive, nvmf
from .device import DEVICES
from .machine import BuiltLayer, Layer, Machine, StorageError, read_text
from .option import Errors, Failure, Number, Power, Switch, Time, Word
from .row import Kind, Program, Row

LOOP_SET_FD = 0x4C00  # include/uapi/linux/loop.h
LOOP_CLR_FD = 0x4C01
LOOP_CTL_GET_FREE = 0x4C82
LOOP_SET_DIRECT_IO = 0x4C08
LOOP_SET_BLOCK_SIZE = 0x4C09
PSEUDO = "/sys/bus/pseudo/devices"  # bus of the hosts of scsi_debug
APPEAR = 20.0  # seconds that a disk may take to appear
_BLOCK = Power(512, 4096)


def _of_scsi_debug(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Its parameters hold for all of its hosts, each of which has memory of its own (drivers/scsi/scsi_debug.c)."""
    given = dict(layers[0].options)
    block = int(given.get("logical_block", 512))
    values = {"add_host": len(layers), "per_host_store": 1, "dev_size_mb": layers[0].size >> 20, "sector_size": block}
    if "physical_block" in given:
        values["physblk_exp"] = (int(given["physical_block"]) // block).bit_length() - 1
    if given.get("discard") == "on":
        values |= dict.fromkeys(("lbpu", "lbpws", "lbpws10", "lbprz"), 1)
    if "queues" in given:
        values["submit_queues"] = int(given["queues"])
    if "slow" in given:
        values["ndelay"] = int(given["slow"]) * 1_000_000
    for failure in Failure.read(given.get("errors", "")):  # opts: SDEBUG_OPT_MEDIUM_ERR
        values |= {"opts": 2, "medium_error_start": failure.sector * 512 // block, "medium_error_count": 1}
    return tuple(f"scsi_debug.{name}={value}" for name, value in values.items())


ROWS = (
    *(
        Row(
            "disk", device.name, words=drive.words(device), fragments=device.fragments, modules=device.modules,
            device=device, by_word=dict.fromkeys(device.namespace, (("nvme-metadata",), ())),
        )
        for device in DEVICES.values()
        if device.of_vm
    ),
    Row(
        "disk", "loop", fragments=("loop",), modules=("loop",),
        # losetup(8), --sector-size; drivers/block/loop.c: a power of two from 512 to the page size
        options={"block_size": _BLOCK, "direct_io": Switch()}, also=("of",), on=("file",), sized_by=("of",),
        words={"logical_block": _BLOCK, "read_only": Switch()},
    ),
    Row(
        "disk", "null_blk", fragments=("null_blk",), modules=("null_blk",), smallest=1 << 20,
        # Documentation/block/null_blk.rst
        words={
            "logical_block": _BLOCK, "discard": Switch(), "queues": Number(1, 64), "queue_size": Number(1, 1024),
            "slow": Time(1, 10_000), "errors": Errors(("read", "write"), counted=False, errors=("EIO",)),
            "zoned": Power(1 << 20, 1 << 30), "conventional": Number(1, 1024),
        },
        by_word={"zoned": (("zoned",), ())},
    ),
    Row(
        "disk", "scsi_debug", fragments=("scsi_debug",), modules=("scsi_debug", "sd_mod"), alike=True,
        kernel_options=_of_scsi_debug,
        words={
            "logical_block": _BLOCK, "physical_block": _BLOCK, "discard": Switch(), "queues": Number(1, 64),
            "slow": Time(1, 999), "errors": Errors(("read",), counted=False, errors=("ENODATA",), one=True),
        },
    ),
    Row(
        "disk", "zram", fragments=("zram",), modules=("zram",),
        words={"algorithm": Word(("lzo", "lzo-rle", "lz4", "zstd"))},
    ),
    Row(
        "disk", "nbd", fragments=("nbd",), modules=("nbd",),
        programs=(Program("qemu-nbd", "qemu-utils", "serves nbd disks"),),
        words={word: drive.WORDS[word] for word in ("discard", "detect_zeroes", "errors", "read_only")},
    ),
    Row(
        "disk", "nvmf", fragments=("nvmf", "loop"),
        modules=("nvmet", "nvmet_tcp", "nvme_loop", "nvme_tcp", "loop"),
        also=("of",), on=("disk", "partition", "lvm", "md", "dm"), sized_by=("of",),
        # drivers/nvme/host/fabrics.h: NVMF_MIN_QUEUE_SIZE, NVMF_MAX_QUEUE_SIZE
        words={
            "transport": Word(("loop", "tcp")), "queues": Number(1, 64), "queue_size": Number(16, 1024),
        },
    ),
)  # fmt: skip


def build(machine: Machine, layer: Layer) -> BuiltLayer:
    """Find the disk that QEMU attached, or have the kernel make one. Raises StorageError, OSError."""
    make, given = _MADE.get(layer.type), dict(layer.options)
    try:
        device = make(machine, layer, given) if make else machine.disk(layer.name)
        if not make and DEVICES[layer.type].always_cached and given.get("write_cache") == "off":
            configfs.write(f"/sys/block/{device}/queue/write_cache", "write through")
    except OSError as error:
        raise StorageError(f"{layer.name}: the kernel makes no {layer.type}: {error}") from None
    return BuiltLayer(layer, f"/dev/{device}", device)


def leave(machine: Machine, built: BuiltLayer) -> None:
    """Detach a loop device from its file, and a disk of nvmf from its target; others stay as they are.

    Raises OSError.
    """
    if built.layer.type == "nvmf":
        nvmf.leave(built.layer.name)
    if built.layer.type == "loop":
        with open(built.node, "rb") as device:
            fcntl.ioctl(device, LOOP_CLR_FD)


def _loop(machine: Machine, layer: Layer, given: Mapping[str, str]) -> str:
    return attach_loop(machine.nodes(layer.of)[0] if layer.of else _backing(machine, layer), given)


def _backing(machine: Machine, layer: Layer) -> str:
    backing = f"{machine.folder}/{layer.name}.leg"
    with open(backing, "wb") as file:
        file.truncate(layer.size)
    return backing


def attach_loop(file: str, options: Mapping[str, str]) -> str:
    """Attach ``file`` to a free loop device and name it (``loop0``).

    Options ``direct_io``, ``block_size``, ``logical_block`` and ``read_only``. Raises StorageError.
    """
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"the kernel has no loop devices (CONFIG_BLK_DEV_LOOP): {error}") from None
    mode = os.O_RDONLY if options.get("read_only") == "on" else os.O_RDWR
    block = options.get("logical_block") or options.get("block_size")
    backing = node = -1
    try:
        backing = os.open(file, mode | os.O_CLOEXEC)
        device = f"loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
        node = os.open(f"/dev/{device}", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(node, LOOP_SET_FD, backing)
        if block:
            fcntl.ioctl(node, LOOP_SET_BLOCK_SIZE, int(block))
        if options.get("direct_io", "").lower() in ("true", "on", "1"):
            fcntl.ioctl(node, LOOP_SET_DIRECT_IO, 1)
    except OSError as error:
        raise StorageError(f"loop device on {file}: {error}") from None
    finally:
        for descriptor in (control, backing, node):
            if descriptor >= 0:
                os.close(descriptor)
    return device


def _null_blk(machine: Machine, layer: Layer, given: Mapping[str, str]) -> str:
    """Through configfs, where each has settings of its own; its data is in memory."""
    configfs.mount(machine, "nullb")
    folder = f"{configfs.ROOT}/nullb/{layer.name}"
    os.mkdir(folder)
    settings = {"size": layer.size >> 20, "memory_backed": 1, "blocksize": given.get("logical_block", 512)}
    words = {"queues": "submit_queues", "queue_size": "hw_queue_depth"}
    settings |= {name: given[word] for word, name in words.items() if word in given}
    if "zoned" in given:
        settings |= {"zoned": 1, "zone_size": int(given["zoned"]) >> 20, "zone_nr_conv": given.get("conventional", 0)}
    settings |= {"discard": 1} if given.get("discard") == "on" else {}
    if "slow" in given:  # irqmode 2 completes by a timer
        settings |= {"irqmode": 2, "completion_nsec": int(given["slow"]) * 1_000_000}
    for name, value in settings.items():
        configfs.write(f"{folder}/{name}", value)
    for failure in Failure.read(given.get("errors", "")):
        configfs.write(f"{folder}/badblocks", f"+{failure.sector}-{failure.sector}")
    configfs.write(f"{folder}/power", 1)
    # since 6.5 the device has the folder's name, before that the next number (drivers/block/null_blk/main.c)
    index = read_text(f"{folder}/index")
    names = [layer.name, *([f"nullb{index}"] if index else [])]
    return next((name for name in names if os.path.exists(f"/sys/block/{name}")), names[-1])


def _scsi_debug(machine: Machine, layer: Layer, given: Mapping[str, str]) -> str:
    """The disk of its host: they are in the order of the layers."""
    number = sum(built.layer.type == layer.type for built in machine.built("disk"))
    pattern = f"{PSEUDO}/adapter{number}/host*/target*/*/block/*"
    return os.path.basename(_appeared(pattern))


def _zram(machine: Machine, layer: Layer, given: Mapping[str, str]) -> str:
    """Documentation/admin-guide/blockdev/zram.rst."""
    number = read_text("/sys/class/zram-control/hot_add")
    if not number:
        raise StorageError(f"{layer.name}: the kernel has no zram")
    folder = f"/sys/block/zram{number}"
    if "algorithm" in given:
        configfs.write(f"{folder}/comp_algorithm", given["algorithm"])
    configfs.write(f"{folder}/disksize", layer.size)
    return f"zram{number}"


def _nbd(machine: Machine, layer: Layer, given: Mapping[str, str]) -> str:
    """qemu-nbd serves a file to the kernel, over a socket between the two."""
    number = sum(built.layer.type == layer.type for built in machine.built("disk"))
    device = f"nbd{number}"
    file = _backing(machine, layer)
    plain = ["file.driver=file", f"file.filename={file}"]
    image = ["driver=raw", *(drive.file_words(file, given) if "errors" in given else plain)]
    words = [f"--discard={'unmap' if given['discard'] == 'on' else 'ignore'}"] if "discard" in given else []
    words += [f"--detect-zeroes={given['detect_zeroes']}"] if "detect_zeroes" in given else []
    words += ["--read-only"] if given.get("read_only") == "on" else []
    connect = ["--fork", "--persistent", "--cache=writeback", f"--connect=/dev/{device}"]
    machine.run(["qemu-nbd", *connect, *words, "--image-opts", ",".join(image)])
    _appeared(f"/sys/block/{device}/pid")
    until = time.monotonic() + APPEAR
    while read_text(f"/sys/block/{device}/size") in ("", "0"):
        if time.monotonic() > until:
            raise StorageError(f"{layer.name}: {device} stayed without a size")
        time.sleep(0.05)
    return device


def _nvmf(machine: Machine, layer: Layer, given: Mapping[str, str]) -> str:
    """Over what it lies on, or over a file of its own; a block device serves either, as a file has blocks of 4 KiB."""
    node = machine.nodes(layer.of)[0] if layer.of else f"/dev/{attach_loop(_backing(machine, layer), {})}"
    return nvmf.make(machine, layer.name, node, given)


def _appeared(pattern: str) -> str:
    """The first path that matches, once there is one. Raises StorageError."""
    import glob  # here: every start of the agent would pay for it

    until = time.monotonic() + APPEAR
    while True:
        if found := sorted(glob.glob(pattern)):
            return found[0]
        if time.monotonic() > until:
            raise StorageError(f"nothing appeared at {pattern}")
        time.sleep(0.05)


_MADE: Mapping[str, Callable[[Machine, Layer, Mapping[str, str]], str]] = {
    "loop": _loop,
    "null_blk": _null_blk,
    "scsi_debug": _scsi_debug,
    "zram": _zram,
    "nbd": _nbd,
    "nvmf": _nvmf,
}

KIND = Kind(
    "disk",
    build,
    takes=frozenset({"size", "options"}),
    needs=("size",),
    single=True,
    smallest=1 << 20,
    first_name="{kind}",
    leave=leave,
)
