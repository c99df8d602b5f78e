# SPDX-License-Identifier: GPL-2.0-only
"""A gibibyte of churn with the inner guest killed in between: no finding, however its last write was torn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from booking import IMAGE, needs_image

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
GIB = 1 << 30
RECIPE = """\
recipe: churn
target: {{kernel: {{config: [base, ext4]}}}}
trials: 1
deadline: 25m
storage:
  disk: {{disk: virtio-blk, size: 512M}}
guest:
  os: linux
  drives: {{vda: {{of: disk, device: virtio-blk}}}}
  storage: {{usr: {{fs: ext4, of: vda}}}}
steps:
  - boot: {{start: guest}}
{steps}
bad_when:
  found: {{blocks: {{{looks}}}}}
good_when:
  same: {{blocks: {{last: clean}}}}
"""
BAD = "[zeroed, stale, torn, flipped, duplicate, misdirected, foreign, unreadable]"


def recipe(kills: int, seconds: int) -> str:
    steps = []
    for number in range(kills):
        size = "128M" if number % 2 else "96M"
        steps += [
            f"  - write{number}: {{stamp: usr, in: guest, size: {size}, for: {seconds}s}}",
            f"  - kill{number}: {{stamp: usr, in: guest, size: {size}, for: {3 + number}s, kill: true}}",
            f"  - again{number}: {{start: guest}}",
            f"  - look{number}: {{verify: usr, in: guest}}",
        ]
    steps.append("  - last: {verify: usr, in: guest, direct: true}")
    looks = "last: " + BAD
    return RECIPE.format(steps="\n".join(steps), looks=looks)


def test_no_finding_on_a_gibibyte_of_churn_with_the_guest_killed(tmp_path: Path) -> None:
    file = tmp_path / "churn.yaml"
    file.write_text(recipe(kills=2, seconds=25))
    argv = [sys.executable, "-m", "bisector.cli", "test", str(file), "--image", IMAGE, "--json"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    answer = json.loads(ended.stdout)
    (trial,) = answer["cells"][0]["judgement"]["trials"]
    steps = {step["name"]: step for step in trial["observation"]["result"]["steps"]}
    assert answer["exit_code"] == 0, ended.stderr
    assert [steps[name]["exit"] for name in ("kill0", "kill1")] == [-9, -9]
    for name in ("look0", "look1", "last"):
        assert steps[name]["blocks"] == ["clean"], steps[name]
    written = sum(steps[f"write{number}"]["count"] for number in range(2)) * 4096
    assert written >= GIB, f"{written >> 20} MiB were written: give the writers more time"
