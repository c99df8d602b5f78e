# SPDX-License-Identifier: GPL-2.0-only
"""A guest that is suspended to RAM comes back with what it wrote: on the host, and inside a VM on an LVM raid1."""

from pathlib import Path

import pytest
from booking import IMAGE, needs_image, page

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
STEPS = """\
steps:
  - boot: {start: guest}
  - stamp: {stamp: vda, in: guest, size: 1M}
  - asleep: {suspend: guest}
  - whole: {verify: vda, in: guest, caches: drop}
  - beside:
      together:
        - again: {suspend: guest, for: 5s}
        - load: {io: vda, in: guest, read: 4k, count: 16, direct: true, while: again}
  - still: {verify: vda, in: guest, caches: drop}
bad_when:
  hangs: {hang: {asleep: true}}
  back:
    exit: {asleep: 0, again: 0, load: 0}
    event: {guest: WAKEUP}
    blocks: {whole: clean, still: clean}
good_when:
  none-of-it: {exit: {asleep: 1}}
"""
HOST = """\
recipe: suspends
target: {qemu: {build: [qemu-system-x86_64]}}
vm: none
trials: 1
storage: {one: {file: raw, size: 16M}}
guest: {os: linux, drives: {vda: {of: one, device: DEVICE}}}
"""
INNER = """\
recipe: suspends
target: {kernel: {config: [base, lvm-raid]}}
trials: 1
deadline: 10m
storage:
  a: {disk: nvme, size: 64M}
  b: {disk: nvme, size: 64M}
  boot: {lvm: raid1, of: [a, b], size: 32M}
guest: {os: linux, drives: {vda: {of: boot, device: virtio-blk, cache: {direct: true}, aio: native}}}
"""


@pytest.mark.parametrize("device", ["virtio-blk", "nvme", "scsi"])
def test_a_guest_on_the_host_comes_back_from_ram(tmp_path: Path, device: str) -> None:
    (tmp_path / "suspends.yaml").write_text(HOST.replace("DEVICE", device) + STEPS)
    seen = page(str(tmp_path / "suspends"), "--kernel", IMAGE, option="")
    assert (seen.verdict(""), seen.condition("")) == ("bad", "back"), seen.table()


@pytest.mark.minutes(4)
def test_a_guest_on_a_raid1_in_a_vm_comes_back_from_ram(tmp_path: Path) -> None:
    (tmp_path / "suspends.yaml").write_text(INNER + STEPS)
    seen = page(str(tmp_path / "suspends"))
    assert [(seen.verdict(cell), seen.condition(cell)) for cell in seen.rows] == [("bad", "back")], seen.table()
