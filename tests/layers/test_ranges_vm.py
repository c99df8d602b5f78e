# SPDX-License-Identifier: GPL-2.0-only
"""Operations of ``io`` in a real VM: what is discarded reads as zeroes, files and vectors, errors by their names."""

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
img: {file: raw, size: 24k}
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
- put: {io: img, write: 12k, count: 2, vectors: 3, direct: true, sync: true}
- get: {io: img, read: 8k, count: 3, vectors: 2, direct: true}
- part: {io: img, read: 16k, vectors: 4, offset: 16k, direct: true}
"""


def test_what_is_discarded_or_zeroed_reads_as_zeroes_and_what_is_refused_is_an_error(tmp_path: Path) -> None:
    result = tried(tmp_path, STORAGE, STEPS)
    seen = {step.name: (step.blocks, step.failed) for step in result.steps if step.blocks}
    assert seen == {"whole": (("clean",), 0), "hole": (("zeroed",), 64), "zeroes": (("zeroed",), 512)}
    failed = {name: error for name, error in errors(result).items() if error}
    assert failed == {"refused": "ENOTSUP", "no-discard": "EIO", "no-zeroes": "EIO", "beyond": "EINVAL"}
    assert {step.name: step.count for step in result.steps if step.name in ("gone", "zero")} == {"gone": 4, "zero": 2}
    part = result.step("part")
    assert [result.step(name).count for name in ("put", "get")] == [2, 3]  # type: ignore[union-attr]
    assert part is not None and (part.exit, part.detail) == (1, "at 16384: 8192 of 16384 bytes")
