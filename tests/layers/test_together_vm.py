# SPDX-License-Identifier: GPL-2.0-only
"""Steps that run beside each other in a real VM: a disk that goes while it is read, and one that stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_words_vm import tried

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

STORAGE = """
a: {disk: virtio-blk, size: 16M}
b: {disk: scsi, size: 16M}
c: {disk: virtio-blk, size: 16M}
"""
QUIET = "{time: {run: [sleep, '1']}}, {stays: {io: a, read: 4k, count: 16, direct: true, while: time}}"
PULL = "{run: [sh, -c, 'sleep 1; echo 1 >/sys/block/$(basename {b})/device/delete; sleep 1']}"
READ = "{io: b, read: 4k, count: 16, direct: true, while: out}"
STEPS = f"""
- quiet: {{together: [{QUIET}]}}
- pulled: {{together: [{{goes: {READ}}}, {{written: {{stamp: c, size: 4M}}}}, {{out: {PULL}}}]}}
- look: {{verify: c}}
"""


def test_a_disk_that_goes_while_it_is_read_is_an_error_and_one_that_stays_is_none(tmp_path: Path) -> None:
    result = tried(tmp_path, STORAGE, STEPS)
    names = ["time", "stays", "goes", "written", "out", "look"]
    assert [step.name for step in result.steps] == names
    time, stays, goes, written, out, look = result.steps
    assert (stays.exit, stays.errno, stays.failed) == (0, "", 0) and stays.count >= 32
    assert goes.exit == 1 and goes.count and goes.failed  # first it is read, then there is nothing
    assert (written.exit, out.exit, look.blocks) == (0, 0, ("clean",))
    assert max(goes.started, written.started) < out.ended <= goes.ended and stays.ended >= time.ended - 0.1
