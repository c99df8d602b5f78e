# SPDX-License-Identifier: GPL-2.0-only
"""Faults of reports from the field, each as the smallest change that brings it back into Linux 6.18.

A change is a pattern that has to match a file exactly once, and what stands there instead: most take back what the fix
added. What a fault does was read in the description of the commit that is named; a file that does not look as expected
is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.e2e.edits import TreeUnfit

RAID1, LOOP, VIRTIO_BLK = "drivers/md/raid1.c", "drivers/block/loop.c", "drivers/block/virtio_blk.c"


@dataclass(frozen=True)
class Change:
    """``pattern`` (a regular expression, '.' is no newline) matches ``path`` once, and ``new`` takes its place."""

    path: str
    pattern: str
    new: str

    def apply(self, text: str) -> str:
        """The file with this change. Raises TreeUnfit."""
        changed, count = re.subn(self.pattern, self.new, text, flags=re.MULTILINE)
        if count != 1:
            raise TreeUnfit(f"{self.path}: expected once, found {count} times: {self.pattern}")
        return changed


@dataclass(frozen=True)
class Fault:
    """What one report is about, and how the tree gets it.

    commit: what brought it in, or whose edit is taken back.
    about: what the kernel with the fault does.
    changes: what is done to the tree.
    cured: the tree has the fault, and the changes take it out.
    """

    commit: str
    about: str
    changes: tuple[Change, ...]
    cured: bool = False

    @property
    def paths(self) -> frozenset[str]:
        """The files that the changes are in."""
        return frozenset(change.path for change in self.changes)

    def files(self, read: Mapping[str, str]) -> dict[str, str]:
        """Path → new content, of the files in ``read``. Raises TreeUnfit."""
        files: dict[str, str] = {}
        for change in self.changes:
            files[change.path] = change.apply(files.get(change.path, read[change.path]))
        return files


# By the recipe's name below recipes/field/.
FAULTS = {
    "btrfs-log-replay": Fault(
        "0a32e4f0025a taken back",
        "inodes without a name are passed over in the first stage of the replay alone",
        (
            Change(
                "fs/btrfs/tree-log.c",
                r"if \(wc->log_key\.type == BTRFS_INODE_ITEM_KEY\) \{",
                "if (wc->log_key.type == BTRFS_INODE_ITEM_KEY && wc->stage == LOG_WALK_REPLAY_INODES) {",
            ),
        ),
    ),
    "ext4-append-at-the-end": Fault(
        "2dcf5fde6dff and bc056e7163ac taken back",
        "the range to allocate may go beyond the last block, and its end has 32 bits",
        (
            Change("fs/ext4/mballoc.c", r"^\tif \(start \+ size > EXT_MAX_BLOCKS\)\n.*;\n", ""),
            Change("fs/ext4/mballoc.c", r"loff_t orig_goal_end =", "ext4_lblk_t orig_goal_end ="),
        ),
    ),
    "ext4-online-resize": Fault(
        "a6b3bfe176e8 taken back",
        "each group counts as one of a meta block group",
        (
            Change(
                "fs/ext4/resize.c",
                r"(int meta_bg = ext4_has_feature_meta_bg\(sb\)) &&\n.*s_first_meta_bg\);",
                r"\1;",
            ),
        ),
    ),
    "loop-dio-on-4kn": Fault(
        "85560117d00f",
        "a loop device with direct I/O has the sectors of the disk below its file",
        (Change(LOOP, r"^\t\treturn lo->lo_min_dio_size;\n", "\t\treturn SECTOR_SIZE;\n"),),
        cured=True,
    ),
    "nvme-metadata-passthrough": Fault(
        "43a67dd812c5 taken back",
        "the metadata of a passthrough command is mapped for the other direction",
        (
            Change(
                "block/blk-integrity.c",
                r"iov_iter_ubuf\(&iter, rq_data_dir\(rq\), ubuf, bytes\);",
                "iov_iter_ubuf(&iter, !rq_data_dir(rq), ubuf, bytes);",
            ),
        ),
    ),
    "loop-stale-partition": Fault(
        "18048c1af783 taken back",
        "the only opener's detach clears the device itself, while others may open it",
        (
            Change(
                LOOP,
                r"^\tlo->lo_flags \|= LO_FLAGS_AUTOCLEAR;\n(\tif \(disk_openers\(lo->lo_disk\)) == 1\)\n.*Lo_rundown;\n"
                r"(\tloop_global_unlock\(lo, true\);\n)",
                r"\1 > 1) {\n\t\tlo->lo_flags |= LO_FLAGS_AUTOCLEAR;\n\2\t\treturn 0;\n\t}\n"
                r"\tlo->lo_state = Lo_rundown;\n\2\t__loop_clr_fd(lo, false);\n",
            ),
            Change(LOOP, r"(void __loop_clr_fd\(struct loop_device \*lo)\)", r"\1, bool release)"),
            Change(
                LOOP,
                r"^(\t\terr = bdev_disk_changed\(lo->lo_disk, false\);\n)(\t\tif \(err\)\n.*\n\t+__func__)",
                r"\t\tif (!release)\n\t\t\tmutex_lock(&lo->lo_disk->open_mutex);\n\1"
                r"\t\tif (!release)\n\t\t\tmutex_unlock(&lo->lo_disk->open_mutex);\n\2",
            ),
            Change(LOOP, r"^(\tneed_clear) = \(lo->lo_state == Lo_rundown\);\n", ""),
            Change(
                LOOP,
                r"^(\tif \(lo->lo_state == Lo_bound && \(lo->lo_flags & LO_FLAGS_AUTOCLEAR\)\))\n(.*Lo_rundown;\n)",
                r"\1 {\n\2\t\tneed_clear = true;\n\t}\n",
            ),
            Change(LOOP, r"^\t\t__loop_clr_fd\(lo\);", "\t\t__loop_clr_fd(lo, true);"),
        ),
    ),
    "loop-write-zeroes-log": Fault(
        "5f75e081ab5c taken back",
        "what the file below cannot do is offered again",
        (Change(LOOP, r"^\tif \(unlikely\(ret == -EOPNOTSUPP\)\)\n(\t\tloop_clear_limits)", r"\tif (false)\n\1"),),
    ),
    "losetup-on-squashfs": Fault(
        "f5c84eff634b, whose check 355341e4359b removed",
        "a loop device that is open for writing takes no file that cannot be written to",
        (
            Change(
                LOOP,
                r"^(static int loop_configure\((?:.*\n)+?)(\terror = loop_check_backing_file\()",
                r"\1\tif ((mode & BLK_OPEN_WRITE) && file && !file->f_op->write_iter) {\n\t\tfput(file);\n"
                r"\t\treturn -EINVAL;\n\t}\n\2",
            ),
        ),
    ),
    "lvconvert-hang": Fault(
        "1baae052cccd and its followers taken back",
        "a suspended array ends no synchronization, and a suspend does not wait for its end",
        (
            Change(
                "drivers/md/md.c",
                r"^(void md_check_recovery\(struct mddev \*mddev\)\n\{\n)",
                r"\1\tif (READ_ONCE(mddev->suspended))\n\t\treturn;\n\n",
            ),
            Change("drivers/md/dm-raid.c", r"^\t\tmd_stop_writes\(&rs->md\);\n(\t\tmddev_suspend)", r"\1"),
        ),
    ),
    "md-bitmap-on-nvme-tcp": Fault(
        "ab99a87542f1 and 6af7331a70b4 taken back",
        "the last page of a bitmap is written with what follows it, as long as the disk would like to be asked for, "
        "and of pages that follow each other the first one alone is looked at before they are sent",
        (
            Change(
                "drivers/md/md-bitmap.c",
                r"\(int\)min\(size, bitmap_limit\)",
                "(int)max(size, bitmap_limit ? 0 : size)",
            ),
            Change("drivers/nvme/host/tcp.c", r"!sendpages_ok\(page, len, offset\)", "!sendpage_ok(page)"),
        ),
    ),
    "nvmet-namespaces": Fault(
        "be647e2c76b2, as before ff0ffe5b7c3c",
        "the whole list goes where only its end should",
        (
            Change(
                "drivers/nvme/host/core.c",
                r"^\t\t\tlist_del_rcu\(&ns->list\);\n.*synchronize_srcu.*\n.*&rm_list\);\n",
                "\t\t\tlist_splice_init_rcu(&ns->list, &rm_list, synchronize_rcu);\n",
            ),
        ),
    ),
    "queues-against-elevator": Fault(
        "b126d9d7475e taken back",
        "the scheduler may be switched while the number of queues changes",
        (
            Change("block/elevator.c", r"^\tdown_read\(&set->update_nr_hwq_lock\);\n", ""),
            Change("block/elevator.c", r"^\tup_read\(&set->update_nr_hwq_lock\);\n", ""),
        ),
    ),
    "raid0-over-unmapping-disks": Fault(
        "f0bd03832f5c taken back (fault of 0c40d7cb5ef3)",
        "raid0 sets a limit of zeroing and not the one for unmapping",
        (Change("drivers/md/raid0.c", r"^\tlim\.max_hw_wzeroes_unmap_sectors = .*\n", ""),),
    ),
    "raid1-redirecting-sector": Fault(
        "b1a000d3b8ec, as before c964d62f5cab",
        "a device does not have the alignment that those below it need, so direct I/O that these refuse reaches them",
        (Change("block/blk-settings.c", r"^\tt->dma_alignment = max\(t->dma_alignment, b->dma_alignment\);\n", ""),),
    ),
    "raid1-slow-rebuilding-member": Fault(
        "c916ca35308d taken back",
        "where no member is good, one that is being rebuilt is read",
        (
            Change(RAID1, r"^\t\t    rdev_in_recovery\(rdev, r1_bio\) \|\|\n", ""),
            Change(RAID1, r"(WriteMostly, &rdev->flags\)) \|\|\n\t\t    rdev_in_recovery\(rdev, r1_bio\)\)", r"\1)"),
        ),
    ),
    "raid5-journal-hang": Fault(
        "0de40f76d567",
        "the thread of raid5 does not wait for the superblock",
        (
            Change(
                "drivers/md/raid5.c",
                r"^\t\tif \(md_is_rdwr\(mddev\) &&\n.*test_bit\(MD_SB_CHANGE_PENDING,.*\n\t\t\tbreak;\n",
                "",
            ),
        ),
    ),
    "schedulers-switched-at-once": Fault(
        "fixed by 4ff58d6bc9dd",
        "schedulers of one disk are switched concurrently",
        (
            Change("block/elevator.c", r"^\tdown_read(\(&set->update_nr_hwq_lock\);)", r"\tdown_write\1"),
            Change("block/elevator.c", r"^\tup_read(\(&set->update_nr_hwq_lock\);)", r"\tup_write\1"),
        ),
        cured=True,
    ),
    "suspend-under-io": Fault(
        "4ce6e2db00de, as before 7678abee0867",
        "the queue stays frozen while the machine is suspended",
        (
            Change(
                VIRTIO_BLK,
                r"^\tblk_mq_quiesce_queue_nowait\(q\);\n\tblk_mq_unfreeze_queue\(q, memflags\);\n",
                "\tblk_mq_quiesce_queue(q);\n\t(void)memflags;\n",
            ),
            Change(
                VIRTIO_BLK,
                r"^(\tblk_mq_unquiesce_queue\(vblk->disk->queue\);\n)(\n\treturn 0;\n\}\n\n#ifdef)",
                r"\1\tblk_mq_unfreeze_queue(vblk->disk->queue, 0);\n\2",
            ),
        ),
    ),
}
