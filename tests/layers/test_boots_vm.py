# SPDX-License-Identifier: GPL-2.0-only
"""A VM that is booted again inside a trial: storage is assembled, and what was flushed before is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_words_vm import errors, said, tried

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

STORAGE = """
a: {disk: nvme, size: 16M}
b: {disk: virtio-blk, size: 16M}
c: {disk: nvme, size: 16M}
d: {disk: nvme, size: 16M}
e: {disk: virtio-blk, size: 16M}
far: {disk: nvmf, of: b, transport: tcp}
m: {md: raid1, of: [a, far]}
v: {lvm: raid1, of: [c, d], size: 8M}
"""
STEPS = """
- write-m: {stamp: m, size: 4M}
- write-v: {stamp: v, size: 4M}
- write-e: {stamp: e, size: 4M}
- hurt: {corrupt: e, class: zeroed}
- torn: {stamp: m, size: 4M, for: 1s, kill: true}
- whole: {verify: [m, v]}
- damaged: {verify: e}
- clean: {reboot: vm}
- again: {verify: [m, v]}
"""


def test_what_was_flushed_outlives_a_power_cut_and_a_reboot(tmp_path: Path) -> None:
    result = tried(tmp_path, STORAGE, STEPS)
    seen = {step.name: step.blocks for step in result.steps if step.blocks}
    assert seen == {"whole": ("clean",), "again": ("clean",), "damaged": ("zeroed",)}
    assert {step.name: step.exit for step in result.steps if step.exit} == {"damaged": 1}
    assert set(errors(result).values()) == {""}
    torn, whole = result.step("torn"), result.step("whole")
    assert torn is not None and torn.count >= 1024 and torn.ended - torn.started > 2
    assert whole is not None and whole.count == torn.count + 1024
    health = {layer.name: layer.health for layer in result.layers}
    assert (health["m"], health["v"]) == ("healthy", "healthy")
    assert [step.started for step in result.steps] == sorted(step.started for step in result.steps)


CACHES = """
a: {disk: virtio-blk, size: 16M, volatile: true}
b: {disk: virtio-blk, size: 16M, volatile: true}
c: {disk: virtio-blk, size: 16M}
d: {disk: nvme, size: 16M, volatile: true, write_cache: false}
"""
CUT = """
- no-flush: {run: [sh, -c, 'for d in {b} {c}; do
    echo write through >/sys/block/$(basename $d)/queue/write_cache; done']}
- write-a: {stamp: a, size: 1M}
- write-b: {stamp: b, size: 1M}
- write-c: {stamp: c, size: 1M}
- write-d: {stamp: d, size: 1M}
- cut: {power_cut: vm}
- flushed: {verify: a}
- not-flushed: {verify: b}
- plain: {verify: c}
- through: {verify: d}
"""


def test_a_flush_that_the_kernel_leaves_out_is_seen_on_a_disk_with_a_volatile_cache(tmp_path: Path) -> None:
    """The kernel is told that there is no cache; a plain disk cannot show what that loses."""
    result = tried(tmp_path, CACHES, CUT)
    seen = {step.name: step.blocks for step in result.steps if step.blocks}
    assert seen == {"flushed": ("clean",), "not-flushed": ("zeroed",), "plain": ("clean",), "through": ("clean",)}


PULLED = """
a: {disk: nvme, size: 16M, write_cache: false}
b: {disk: virtio-blk, size: 16M}
c: {disk: scsi, size: 16M}
m: {md: raid1, of: [a, b]}
"""
PULL = """
- before: {stamp: c, size: 1M}
- out: {unplug: [a, c]}
- gone: {io: c, read: 4k}
- on: {io: m, write: 4k, count: 4, direct: true}
- back: {plug: [a, c]}
- there: {verify: c}
- too: {io: a, read: 4k, direct: true}
- words: {run: [sh, -c, 'cat /sys/block/$(basename {a})/queue/write_cache; ls /sys/block/$(basename {c})/mq | wc -l']}
"""


def test_a_disk_is_pulled_out_and_put_in_again(tmp_path: Path) -> None:
    result = tried(tmp_path, PULLED, PULL, cpus=2)
    assert {step.name: step.exit for step in result.steps if step.exit} == {"gone": 1}
    assert errors(result)["gone"] in ("ENOENT", "ENXIO", "ENODEV")
    there = result.step("there")
    assert there is not None and there.blocks == ("clean",)
    assert {layer.name: layer.health for layer in result.layers}["m"] == "degraded"
    assert said(result, "words").split("\n") == ["write through", "2"]  # a queue for each processor


MADE = """
- write: {stamp: v, size: 1M}
- stamped: {stamp: e, size: 1M}
- hurt: {corrupt: e, class: zeroed}
- older: {reboot: {kernel: good-end}}
- name: {run: [uname, -r]}
- look: {verify: v}
- damaged: {verify: e}
"""
TWO = """
c: {disk: nvme, size: 16M}
d: {disk: nvme, size: 16M}
e: {disk: virtio-blk, size: 16M}
v: {lvm: raid1, of: [c, d], size: 8M}
"""


def test_what_one_kernel_made_another_one_uses_in_the_same_trial(tmp_path: Path) -> None:
    """Here the other kernel is the same one as another image; docs/recipes.md says on which two it was tried."""
    result = tried(tmp_path, TWO, MADE)
    assert [kernel.whose for kernel in (result.kernel, *result.later_kernels)] == ["candidate", "good-end"]
    assert len({kernel.build_id for kernel in (result.kernel, *result.later_kernels)}) == 1
    seen = {step.name: (step.exit, step.blocks) for step in result.steps if step.name in ("look", "damaged", "older")}
    assert seen == {"look": (0, ("clean",)), "damaged": (1, ("zeroed",)), "older": (0, ())}
