# SPDX-License-Identifier: GPL-2.0-only
"""Words of disks that the kernel must see: blocks, queues and write caches; each beside a disk without the word."""

from __future__ import annotations

from pathlib import Path

from tests.layers.test_words_vm import errors, pytestmark, said, tried

__all__ = ["pytestmark"]

DISKS = """
v: {disk: virtio-blk, size: 16M, errors: [{write_zeroes: any}]}
v-words: {disk: virtio-blk, size: 16M, errors: [{write_zeroes: any}], write_zeroes: false, physical_block: 4096}
n: {disk: nvme, size: 16M}
n-words: {disk: nvme, size: 16M, queues: 1, write_cache: false}
s: {disk: scsi, size: 16M}
s-words: {disk: scsi, size: 16M, queues: 1, physical_block: 4096, write_cache: false}
q-words: {disk: virtio-blk, size: 16M, queues: 2}
d-words: {disk: scsi_debug, size: 8M, physical_block: 4096, queues: 2, slow: 100ms}
"""
LOOKS = """
- zeroes: {io: v, write_zeroes: 4k}
- written-zeroes: {io: v-words, write_zeroes: 4k}
- offers: {run: [sh, -c, 'for d in {v} {v-words}; do cat /sys/block/${d##*/}/queue/write_zeroes_max_bytes; done']}
- blocks: {run: [sh, -c, 'for d in {v} {v-words} {s} {s-words} {d-words}; do
    cat /sys/block/${d##*/}/queue/physical_block_size; done']}
- queues: {run: [sh, -c, 'for d in {n} {n-words} {s-words} {d-words} {q-words}; do
    ls /sys/block/${d##*/}/mq | wc -l; done']}
- caches: {run: [sh, -c, 'for d in {n} {n-words} {s} {s-words}; do
    cat /sys/block/${d##*/}/queue/write_cache; done']}
- slow: {io: d-words, read: 4k, count: 8, direct: true}
"""


def test_the_kernel_sees_blocks_queues_and_caches_as_the_words_say(tmp_path: Path) -> None:
    """``test_words_vm`` has a disk of scsi_debug without these words, and ``test_boots_vm`` one of scsi."""
    result = tried(tmp_path, DISKS, LOOKS, cpus=2)
    seen = errors(result)
    assert (seen["zeroes"], seen["written-zeroes"]) == ("EIO", "")  # the kernel wrote them itself
    offered, none = map(int, said(result, "offers").split())
    assert offered > 0 and none == 0
    assert said(result, "blocks").split() == ["512", "4096", "512", "4096", "4096"]
    assert said(result, "queues").split() == ["2", "1", "1", "2", "2"]  # the VM has two processors
    assert said(result, "caches").split("\n") == ["write back", "write through"] * 2
    slow = result.step("slow")
    assert slow is not None and slow.errno == "" and slow.ended - slow.started >= 0.8
