# SPDX-License-Identifier: GPL-2.0-only
"""A gibibyte of churn with the inner guest killed in between: no finding, however its last write was torn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from booking import IMAGE, needs_image

pytestmark = [pytest.mark.vm, pytest.mark.book, needs_image]
MIB = 1 << 20
KILLS = 2
SIZE = 64  # MiB of a generation
GENERATIONS = 8  # before each kill; an amount and not a time, which a busy host would make less of
RECIPE = """\
recipe: churn
target: {{kernel: {{config: [base, ext4]}}}}
trials: 1
vm: {{cpus: 1}}
deadline: 25m
storage:
  disk: {{disk: virtio-blk, size: 256M}}
guest:
  os: linux
  drives: {{vda: {{of: disk, device: virtio-blk}}}}
  storage: {{usr: {{fs: ext4, of: vda}}}}
steps:
  - boot: {{start: guest}}
{steps}
bad_when:
  found: {{blocks: {{last: {{not: clean}}}}}}
good_when:
  same: {{blocks: {{last: clean}}}}
"""


def recipe() -> str:
    steps = []
    for kill in range(KILLS):
        for number in range(GENERATIONS):
            direct = "true" if number % 2 else "false"
            steps.append(f"  - write{kill}x{number}: {{stamp: usr, in: guest, size: {SIZE}M, direct: {direct}}}")
        steps += [
            f"  - kill{kill}: {{stamp: usr, in: guest, size: {SIZE}M, for: {2 + kill}s, kill: true}}",
            f"  - again{kill}: {{start: guest}}",
            f"  - look{kill}: {{verify: usr, in: guest}}",
        ]
    steps.append("  - remounted: {verify: usr, in: guest, caches: remount}")
    steps.append("  - last: {verify: usr, in: guest, direct: true}")
    return RECIPE.format(steps="\n".join(steps))


def cut_short(log: Path) -> int:
    """How many writers ended with a write on its way, as the journal that outlived them tells."""
    count, pending = 0, False
    for line in log.read_text().splitlines():
        kind = line.split()[1]
        count += kind == "B" and pending
        pending = {"W": True, "F": False, "B": False}.get(kind, pending)
    return count + pending


@pytest.mark.minutes(10)
def test_no_finding_on_a_gibibyte_of_churn_with_the_guest_killed(tmp_path: Path) -> None:
    file = tmp_path / "churn.yaml"
    file.write_text(recipe())
    argv = [sys.executable, "-m", "bisector.cli", "test", str(file), "--image", IMAGE, "--json"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    answer = json.loads(ended.stdout)
    (trial,) = answer["cells"][0]["judgement"]["trials"]
    steps = {step["name"]: step for step in trial["observation"]["result"]["steps"]}
    assert answer["exit_code"] == 0, (ended.stderr[-2000:], steps)
    assert [steps[f"kill{kill}"]["exit"] for kill in range(KILLS)] == [-9] * KILLS
    for name in (*(f"look{kill}" for kill in range(KILLS)), "remounted", "last"):
        assert steps[name]["blocks"] == ["clean"], steps[name]
    written = sum(step["count"] for name, step in steps.items() if name.startswith("write")) * 4096
    assert written >= 1024 * MIB
    assert cut_short(Path(answer["folder"], trial["folder"], "guest/stamps.log")) == KILLS
