# SPDX-License-Identifier: GPL-2.0-only
"""Drives of an inner guest on the old board (IDE) and on AHCI: they hold what is written, also after a restart."""

from pathlib import Path

import pytest
from booking import IMAGE, needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
RECIPE = """\
recipe: drives
target: {qemu: {build: [qemu-system-x86_64]}}
vm: none
trials: 1
storage:
  one: {file: raw, size: 16M}
  two: {file: raw, size: 16M}
  three: {file: raw, size: 16M}
guest:
  os: linux
  drives:
    old: {of: one, device: ide, physical_block: 4096, write_cache: false}
    worn: {of: two, device: ide, errors: [{read: 8192}]}
    late: {of: three, device: ahci, slow: 100ms, physical_block: 4096, write_cache: false}
steps:
  - boot: {start: guest}
  - words:
      run: [sh, -c, 'echo $(for d in {old} {worn} {late}; do cd /sys/block/${d##*/}/queue; cat physical_block_size
        write_cache; done)']
      in: guest
  - write: {io: old, in: guest, write: 4k, count: 4, direct: true, flush: true}
  - stamp: {stamp: late, in: guest, size: 64k}
  - again: {restart: guest}
  - read: {io: old, in: guest, read: 4k, count: 4, direct: true}
  - whole: {verify: late, in: guest}
  - slow: {io: late, in: guest, read: 4k, count: 12, direct: true}
  - beside: {io: worn, in: guest, read: 4k, direct: true}
  - bad: {io: worn, in: guest, read: 4k, offset: 4M, direct: true}
bad_when:
  all-of-it:
    exit: {boot: 0, words: 0, write: 0, again: 0, read: 0, slow: 0, beside: 0, bad: 1}
    errno: {bad: EIO}
    output: {words: '^4096 write through 512 write back 4096 write through$'}
    blocks: {whole: clean}
    seconds: {slow: '> 0.7'}  # 12 reads, 10 a second
good_when:
  none-of-it: {exit: {bad: 0}}
"""


def test_drives_on_ide_and_ahci_fail_where_they_are_to_and_hold_what_is_written_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "drives.yaml").write_text(RECIPE)
    seen = page(str(tmp_path / "drives"), "--kernel", IMAGE, option="")
    assert (seen.verdict(""), seen.condition("")) == ("bad", "all-of-it"), seen.table()
