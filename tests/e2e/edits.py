# SPDX-License-Identifier: GPL-2.0-only
"""What the planted commits do to the tree: which files they touch, and the text they put there.

Every edit is a function of one file's content, made at run time from the tree at hand, so that one catalogue fits all
of 6.18.0-6.18.32; a file that does not look as expected is an error that names it. No edit depends on another one's
place in the history, which is what lets a merge apply the side branch's edits over the mainline's content.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

FOPS = "block/fops.c"
HEADER = "include/linux/kernel.h"
MAKEFILE = "Makefile"
PANIC_FILE = "init/do_mounts.c"
UNBUILDABLE_FILE = "block/blk-lib.c"

# The stable releases that have the regression and none of its fixes: f7b24c7b41f2 came with 6.18.33.
FIRST, LAST = (6, 18, 0), (6, 18, 32)


class TreeUnfit(Exception):
    """The tree given cannot carry the planted history; the text says why."""


@dataclass(frozen=True)
class Edit:
    """A change of one file: ``change`` takes its content and returns the new one, or raises TreeUnfit."""

    path: str
    change: Callable[[str], str]


# Each file is touched by one ordinary commit at most. None of these stands in a fragment of the shipped recipes but
# where the list says so; all exist unchanged in name through 6.18.x.
DOCUMENTS = (
    "Documentation/admin-guide/device-mapper/dm-raid.rst",
    "Documentation/admin-guide/md.rst",
    "Documentation/block/ioprio.rst",
    "Documentation/block/stat.rst",
    "Documentation/filesystems/9p.rst",
    "Documentation/filesystems/overlayfs.rst",
    "Documentation/filesystems/proc.rst",
    "Documentation/mm/page_tables.rst",
)
UNBUILT = (  # drivers and file systems that the fragments do not switch on
    "drivers/gpu/drm/vkms/vkms_drv.c",
    "drivers/hid/hid-core.c",
    "drivers/input/mouse/psmouse-base.c",
    "drivers/net/ethernet/intel/e1000/e1000_main.c",
    "drivers/usb/storage/usb.c",
    "fs/btrfs/super.c",
    "fs/nfs/super.c",
    "sound/usb/card.c",
)
COMMENTED = (  # built; the edit is a comment
    "block/badblocks.c",
    "drivers/md/dm-log.c",
    "fs/pipe.c",
    "kernel/params.c",
    "lib/kfifo.c",
    "mm/msync.c",
)
QUIET = (  # built; the edit is a function that nobody calls
    "block/blk-stat.c",
    "drivers/md/dm-stripe.c",
    "fs/fhandle.c",
    "kernel/range.c",
    "lib/sg_pool.c",
    "net/9p/protocol.c",
)
SPOKEN = (  # built; the edit prints a line at boot, so the image differs
    "block/disk-events.c",
    "drivers/md/dm-linear.c",
    "fs/overlayfs/util.c",
    "ipc/msgutil.c",
    "kernel/reboot.c",
    "lib/sbitmap.c",
    "mm/mincore.c",
    "net/9p/trans_virtio.c",
)

_UNCHECKED = """\
	return (iocb->ki_pos | iov_iter_count(iter)) &
			(bdev_logical_block_size(bdev) - 1);
}
"""
_CHECKED = """\
	if ((iocb->ki_pos | iov_iter_count(iter)) &
			(bdev_logical_block_size(bdev) - 1))
		return true;
	return iov_iter_alignment(iter) &
		(bdev_dma_alignment(bdev) | (bdev_logical_block_size(bdev) - 1));
}
"""
# The oops stands where the probe arrives, ahead of the alignment check, so that it hits on both sides of the culprit:
# a direct read into a buffer that is not aligned to 512 bytes. LVM and the agent never do that while storage is built.
_DIRECT_READ = """\
	if (iocb->ki_flags & IOCB_DIRECT) {
		ret = kiocb_write_and_wait(iocb, count);
"""
_DIRECT_READ_OOPS = """\
	if (iocb->ki_flags & IOCB_DIRECT) {
		if (iov_iter_alignment(to) & 511)
			count_unaligned_read();
		ret = kiocb_write_and_wait(iocb, count);
"""
_OOPS_SITE = "static ssize_t blkdev_read_iter(struct kiocb *iocb, struct iov_iter *to)\n{\n"
_OOPS_FUNCTION = """\
static atomic_t *unaligned_reads;

static noinline void count_unaligned_read(void)
{
	atomic_inc(READ_ONCE(unaligned_reads));
}

"""


def put_check_back(text: str) -> str:
    """block/fops.c with the check of every segment that 6.17 had in ``blkdev_dio_invalid`` (5ff3f74e145a took it)."""
    return _swap(text, _UNCHECKED, _CHECKED, "blkdev_dio_invalid")


def take_check_out(text: str) -> str:
    """The inverse of ``put_check_back``: the culprit."""
    return _swap(text, _CHECKED, _UNCHECKED, "blkdev_dio_invalid")


def put_oops(text: str) -> str:
    """block/fops.c with a counter whose memory nobody allocated, touched by an unaligned direct read."""
    text = _swap(text, _DIRECT_READ, _DIRECT_READ_OOPS, "blkdev_read_iter")
    return _swap(text, _OOPS_SITE, _OOPS_FUNCTION + _OOPS_SITE, "blkdev_read_iter")


def take_oops(text: str) -> str:
    """The inverse of ``put_oops``."""
    text = _swap(text, _OOPS_FUNCTION, "", "blkdev_read_iter")
    return _swap(text, _DIRECT_READ_OOPS, _DIRECT_READ, "blkdev_read_iter")


def add_macro(text: str) -> str:
    """include/linux/kernel.h with one macro more, ahead of the line that closes the include guard."""
    head, guard, tail = text.rpartition("#endif")
    if not guard:
        raise TreeUnfit(f"{HEADER}: found no #endif that closes its include guard")
    macro = "/* Sectors of 512 bytes in a number of bytes. */\n#define BYTES_TO_SECTORS(bytes) ((bytes) >> 9)\n"
    return head + macro + guard + tail


def append(addition: str) -> Callable[[str], str]:
    """A change that puts ``addition`` after the last line."""
    return lambda text: text.rstrip("\n") + "\n" + addition


def take_back(addition: str) -> Callable[[str], str]:
    """A change that removes ``addition``, which an earlier commit appended."""
    return lambda text: _swap(text, addition, "", "the end of the file")


def documentation(number: int) -> str:
    """Text for a document."""
    return f"\n.. Reviewed together with the block layer's notes, part {number}.\n"


def comment(number: int) -> str:
    """A comment in C."""
    return f"\n/* Part {number} of this file's notes lies in Documentation/. */\n"


def quiet_function(number: int) -> str:
    """A function that compiles and that nobody calls."""
    return f"\nstatic int __maybe_unused spare_{number}(int value)\n{{\n\treturn value + {number};\n}}\n"


def spoken_initcall(number: int) -> str:
    """An initcall that prints one line at boot."""
    return (
        f"\n#include <linux/init.h>\n#include <linux/printk.h>\n\nstatic int __init announce_{number}(void)\n{{\n"
        f'\tpr_info("part {number} is in\\n");\n\treturn 0;\n}}\nlate_initcall(announce_{number});\n'
    )


PANIC = (
    "\n#include <linux/panic.h>\n\nstatic int __init check_boot_order(void)\n{\n"
    '\tpanic("boot order: the root device came too early");\n\treturn 0;\n}\nlate_initcall(check_boot_order);\n'
)
UNBUILDABLE = "\nint blk_lib_limits(void)\n{\n\treturn blk_lib_limits_of_nobody;\n}\n"


def tree_version(makefile: str) -> tuple[int, int, int]:
    """Version of the tree whose top Makefile is given. Raises TreeUnfit when it is not a kernel's."""
    numbers = []
    for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"):
        found = re.search(rf"^{name} = (\d+)$", makefile, re.MULTILINE)
        if not found:
            raise TreeUnfit(f"{MAKEFILE}: no line '{name} = NUMBER'; is this the top of a kernel tree?")
        numbers.append(int(found[1]))
    return numbers[0], numbers[1], numbers[2]


def refuse_unfit_version(version: tuple[int, int, int]) -> None:
    """Raises TreeUnfit unless the regression can be planted on ``version``."""
    if FIRST <= version <= LAST:
        return
    release = ".".join(map(str, version))
    if version < FIRST:
        raise TreeUnfit(
            f"Linux {release} still checks every segment: the regression came with 6.18; give 6.18.0 to 6.18.32"
        )
    raise TreeUnfit(
        f"Linux {release} is past 6.18.32: f7b24c7b41f2 (6.18.33, 7.0.10) keeps md from failing a leg, so the culprit "
        "would change nothing; give 6.18.0 to 6.18.32"
    )


def _swap(text: str, old: str, new: str, place: str) -> str:
    count = text.count(old)
    if count != 1:
        raise TreeUnfit(f"{place} does not look as in 6.18: expected once, found {count} times:\n{old}")
    return text.replace(old, new)
