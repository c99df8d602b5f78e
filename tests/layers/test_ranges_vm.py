# SPDX-License-Identifier: GPL-2.0-only
"""Discards and zeroes without data in a real VM: what lay there is gone, the rest is not, errors have their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_words_vm import errors, tried

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

STORAGE = """
a: {disk: virtio-blk, size: 16M, discard: true}
b: {disk: virtio-blk, size: 16M, discard: true}
off: {disk: virtio-blk, size: 16M, discard: false}
worn: {disk: virtio-blk, size: 16M, errors: [{write_zeroes: any}, {discard: any}], discard: true}
"""
STEPS = """
- of-a: {stamp: a, size: 4M}
- of-b: {stamp: b, size: 4M}
- behind: {io: a, discard: 64k, count: 4, offset: 4M}
- whole: {verify: [a, b]}
- gone: {io: a, discard: 64k, count: 4, offset: 1M}
- hole: {verify: a}
- zero: {io: b, write_zeroes: 1M, size: 2M}
- zeroes: {verify: b}
- refused: {io: off, discard: 4k}
- no-discard: {io: worn, discard: 4k}
- no-zeroes: {io: worn, write_zeroes: 4k}
- beyond: {io: a, discard: 64k, offset: 16M}
"""


def test_what_is_discarded_or_zeroed_reads_as_zeroes_and_a_refusal_is_an_error(tmp_path: Path) -> None:
    result = tried(tmp_path, STORAGE, STEPS)
    seen = {step.name: (step.blocks, step.failed) for step in result.steps if step.blocks}
    assert seen == {"whole": (("clean",), 0), "hole": (("zeroed",), 64), "zeroes": (("zeroed",), 512)}
    failed = {name: error for name, error in errors(result).items() if error}
    assert failed == {"refused": "ENOTSUP", "no-discard": "EIO", "no-zeroes": "EIO", "beyond": "EINVAL"}
    assert {step.name: step.count for step in result.steps if step.name in ("gone", "zero")} == {"gone": 4, "zero": 2}
