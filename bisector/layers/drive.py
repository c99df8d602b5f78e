# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU puts between a disk and its file: the words of a disk of the VM, and of a drive of the inner guest.

A word is a property of the device (``Device.properties``), or is for the layer below it: here.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from .device import Device
from .option import Errors, Failure, Number, Option, Power, Switch, Time, Word

WORDS: dict[str, Option] = {
    "logical_block": Power(512, 64 << 10),  # QEMU takes up to 2M, Linux none above what it has for a page
    "physical_block": Power(512, 2 << 20),
    "optimal_io": Number(4 << 10, 16 << 20, sized=True, multiple=4 << 10),
    "write_cache": Switch(),
    "discard": Switch("unmap", "ignore"),
    "write_zeroes": Switch(),
    "detect_zeroes": Word(("off", "on", "unmap")),  # qemu(1), -drive
    "queues": Number(1, 64),
    "queue_size": Power(4, 1024, sized=False),  # hw/block/virtio-blk.c: up to VIRTQUEUE_MAX_SIZE
    "read_only": Switch(),
    "iothread": Switch(),
    "hotplug": Word(("present", "absent")),
    "metadata": Number(1, 64),  # hw/nvme/ns.c: those of a format with it lie apart from the data
    "protection": Number(1, 3),
    "errors": Errors(),
    "slow": Time(1, 1000, divides=True),
    "volatile": Switch(),
}

BELOW = ("discard", "detect_zeroes", "errors", "slow", "volatile")
"""Words that every disk takes, whatever its device."""

OF_GUEST = ("read_only", "iothread", "hotplug")
"""Words of drives of the inner guest alone."""

OF_VM = ("metadata", "protection", "volatile")
"""Words of disks of the VM alone."""


def words(device: Device, *, guest: bool = False) -> dict[str, Option]:
    """The words that a disk behind such a device takes; ``guest``: a drive of the inner guest."""
    taken = {*BELOW, *device.properties, *device.shared, *device.namespace}
    refused = {*(OF_VM if guest else OF_GUEST), *device.unseen}
    return {word: option for word, option in WORDS.items() if word in taken - refused}


def image_bytes(size: int, given: Mapping[str, str]) -> int:
    """Bytes of the file behind a disk of ``size`` bytes: QEMU keeps the metadata of each block behind all data."""
    block = int(given.get("logical_block", 512))
    return size + size // block * int(given.get("metadata", 0))


def image_command(path: str, size: int, given: Mapping[str, str]) -> list[str]:
    """The command that makes the file behind a disk; [] for a plain one, of ``image_bytes``.

    A qcow2 image has the volatile cache of a disk: where a block's first write went stands in QEMU's memory until a
    flush (block/qcow2-cache.c), and is gone with a QEMU that is killed. All of the disk is in one table, as a second
    one would have the first written; it holds ``cluster / 16`` entries of 32 subclusters (docs/interop/qcow2.txt).
    """
    if given.get("volatile") != "on":
        return []
    size, cluster = image_bytes(size, given), 128 << 10  # blocks of 4 KiB
    while cluster * (cluster // 16) < size:
        cluster *= 2
    words = f"cluster_size={cluster},extended_l2=on"
    return ["qemu-img", "create", "-q", "-f", "qcow2", "-o", words, path, str(size)]


def format_words(given: Mapping[str, str]) -> list[str]:
    """The words of ``-drive`` for the format of that file."""
    return ["format=qcow2", "l2-cache-size=2M"] if given.get("volatile") == "on" else ["format=raw"]


def file_words(path: str, given: Mapping[str, str]) -> list[str]:
    """The words of ``-drive`` that name the file, and what fails of it.

    Args:
        path: of the file; its commas are doubled, as QEMU's syntax of options wants.
        given: words of the disk, as a plan carries them.
    """
    file = path.replace(",", ",,")
    if "errors" not in given:
        return [f"file={file}"]
    # QEMU's docs/devel/blkdebug.txt: rules of the event "none" hold from the start; one with "once" holds once
    rules = [rule for failure in Failure.read(given["errors"]) for rule in _rules(failure)]
    injected = [f"file.inject-error.{number}.{word}" for number, rule in enumerate(rules) for word in rule]
    return ["file.driver=blkdebug", "file.image.driver=file", f"file.image.filename={file}", *injected]


def more_words(given: Mapping[str, str]) -> list[str]:
    """The words of ``-drive`` for all else that is below the device."""
    # an error of no space, which is wanted here, would stop the VM
    words = ["rerror=report", "werror=report"] if "errors" in given else []
    words += [f"discard={'unmap' if given['discard'] == 'on' else 'ignore'}"] if "discard" in given else []
    words += [f"detect-zeroes={given['detect_zeroes']}"] if "detect_zeroes" in given else []
    words += [f"readonly={given['read_only']}"] if "read_only" in given else []
    words += [f"throttling.iops-total={1000 // int(given['slow'])}"] if "slow" in given else []
    return words


def _rules(failure: Failure) -> list[list[str]]:
    rule = ["event=none", f"iotype={failure.operation.replace('_', '-')}"]
    rule += [f"errno={getattr(errno, failure.error)}"]
    rule += [f"sector={failure.sector}"] if failure.sector >= 0 else []
    return [[*rule, "once=on"]] * failure.count if failure.count else [[*rule, "once=off"]]
