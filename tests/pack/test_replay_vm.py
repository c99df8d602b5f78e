# SPDX-License-Identifier: GPL-2.0-only
"""A real test of a real kernel, exported and repeated by somebody who has nothing of it but the file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]


def bisector(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, in a home of its own."""
    home.mkdir(exist_ok=True)
    environ = {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    code = "import sys; from bisector.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=environ, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )


def test_a_trial_answers_alike_in_another_home(tmp_path: Path) -> None:
    first = bisector(tmp_path / "a", "test", "virtio-open-lvm-raid1", "--image", IMAGE, "--trials", "1",
                     "--cell", "guest.drives.vda.aio=native", "--cell", "vm.cpus=1",
                     "--cell", "vm.accel=tcg")  # fmt: skip
    assert first.returncode == 1, first.stderr  # bad
    campaign = json.loads(bisector(tmp_path / "a", "campaigns", "--json").stdout)["campaigns"][0]["id"]
    pack = tmp_path / "x.tar.gz"
    assert bisector(tmp_path / "a", "export", campaign, "--with-images", "--out", str(pack)).returncode == 0
    (tmp_path / "a").rename(tmp_path / "gone")
    listed = json.loads(bisector(tmp_path / "b", "replay", str(pack), "--json").stdout)["steps"]
    assert [(step["step"], step["signal"]) for step in listed] == [(1, "reproduced")]
    done = bisector(tmp_path / "b", "replay", str(pack), "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    lines = {line["name"]: line for line in document["lines"]}
    assert lines["condition"]["now"] == "leg-failed"
    assert lines["image identity"]["same"]
    assert lines["layer boot"]["now"].startswith("degraded")
    assert [line["name"] for line in document["lines"] if not line["same"]] == []
    assert float(lines["total"]["now"].removesuffix(" s")) > 1
