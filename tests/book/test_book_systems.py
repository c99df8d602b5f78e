# SPDX-License-Identifier: GPL-2.0-only
"""File systems and image files in a VM: they have their words, hold what is written, and show what is damaged below."""

from pathlib import Path

import pytest
from booking import needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
RECIPE = """\
recipe: systems
target: {kernel: {config: [base]}}
vm: {append: [bdev_allow_write_mounted=1]}
trials: 1
deadline: 10m
storage:
  a: {disk: virtio-blk, size: 256M}
  b: {disk: virtio-blk, size: 128M}
  c: {disk: virtio-blk, size: 64M}
  d: {disk: virtio-blk, size: 32M}
  sums: {fs: btrfs, of: a, mkfs: [--csum, xxhash], mount: [noatime]}
  flash: {fs: f2fs, of: b}
  fat: {fs: vfat, of: c, mkfs: [-F, '32', -n, LABEL]}
  packed: {fs: squashfs, of: d, packs: 4M}
  image: {file: raw, of: packed, size: 4M}
  disk: {file: vhdx, of: flash, size: 8M, options: {block_size: 1M}}
  flat: {file: vmdk, of: fat, size: 8M, options: {subformat: monolithicFlat}}
  base: {file: qcow2, of: sums, size: 8M}
  over: {file: qcow2, of: sums, backing: base}
steps:
  - mounts: {run: [sh, -c, 'grep -c -e btrfs.*noatime -e squashfs.ro -e f2fs -e vfat /proc/mounts']}
  - label: {run: [blkid, -o, value, -s, LABEL, '{c}']}
  - sums: {stamp: sums, size: 8M}
  - flash: {stamp: flash, size: 8M}
  - fat: {stamp: fat, size: 8M}
  - whole: {verify: [sums, flash, fat], caches: remount}
  - read: {io: image, read: 64k, count: 16}
  - write: {run: [sh, -c, '! dd if=/dev/zero of={image} bs=4k count=1 conv=notrunc']}
  - fill: {run: [sh, -ec, 'for f in {disk} {flat} {over}; do qemu-io -f ${f##*.} -c "write -P 7 1M 1M" $f; done']}
  - kept: {run: [sh, -c, '! for f in {disk} {flat} {over}; do
      qemu-io -f ${f##*.} -c "read -P 7 1M 1M" $f; done | grep fail']}
  - below: {run: [qemu-io, -f, qcow2, -c, 'read -P 0 1M 1M', '{base}']}
  - differ: {run: [qemu-img, compare, -f, qcow2, -F, qcow2, '{base}', '{over}']}
  - flushed: {run: [sync]}
  - damage-a: {run: [dd, if=/dev/urandom, 'of={a}', bs=1M, seek=8, count=232, 'conv=notrunc,fsync']}
  - damage-b: {run: [dd, if=/dev/urandom, 'of={b}', bs=1M, seek=8, count=112, 'conv=notrunc,fsync']}
  - damage-c: {run: [dd, if=/dev/urandom, 'of={c}', bs=1M, seek=8, count=52, 'conv=notrunc,fsync']}
  - sums-lost: {verify: sums}
  - flash-lost: {verify: flash}
  - fat-lost: {verify: fat}
bad_when:
  all-of-it:
    output: {mounts: ^4$, label: ^LABEL$}
    blocks: {whole: clean, sums-lost: {not: clean}, flash-lost: {not: clean}, fat-lost: {not: clean}}
    exit: {read: 0, write: 0, fill: 0, kept: 0, below: 0, differ: 1, sums-lost: 1, flash-lost: 1, fat-lost: 1}
good_when:
  none-of-it: {exit: {whole: 1}}
"""


@pytest.mark.minutes(2)
def test_file_systems_and_images_hold_what_is_written_and_show_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "systems.yaml").write_text(RECIPE)
    seen = page(str(tmp_path / "systems"))
    assert (seen.verdict(""), seen.condition("")) == ("bad", "all-of-it"), seen.table()
