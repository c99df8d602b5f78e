# SPDX-License-Identifier: GPL-2.0-only
"""The contracts of pyproject.toml hold, and each of them notices a planted violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with its contracts."""
    folder = tmp_path_factory.mktemp("contracts")
    shutil.copytree(ROOT / "bisector", folder / "bisector", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT, "--config", "pyproject.toml"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_the_contracts_hold_as_it_is(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract", "named"),
    [
        ("agent/lines.py", "import bisector.errors", "layers", "bisector.agent.lines -> bisector.errors"),
        ("verdict/rate.py", "import bisector.target.make", "layers", "bisector.verdict.rate -> bisector.target.make"),
        ("search/frontier.py", "import bisector.nightly.night", "layers", "bisector.search.frontier ->"),
        ("report/text.py", "import bisector.cli.app", "layers", "bisector.report.text -> bisector.cli.app"),
        ("report/html.py", "import bisector.session", "layers", "bisector.report.html -> bisector.session"),
        ("mail/draft.py", "import bisector.campaign.single", "layers", "bisector.mail.draft ->"),
        ("unplaced.py", "", "layers", "unplaced"),
        ("campaign/commits.py", "import bisector.campaign.both", "kinds of campaign", "bisector.campaign.commits ->"),
        ("campaign/unplaced.py", "", "kinds of campaign", "unplaced"),
        ("nightly/night.py", "import bisector.agent.steps", "of the agent only the plan", "bisector.nightly.night ->"),
        ("unplaced.py", "import bisector.agent.qemu", "of the agent only the plan", "bisector.unplaced ->"),
    ],
)
def test_a_violation_is_found(tree: Path, module: str, line: str, contract: str, named: str) -> None:
    file = tree / "bisector" / module
    before = file.read_text(encoding="utf-8") if file.exists() else None
    try:
        file.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
        done = lint(tree)
    finally:
        file.unlink() if before is None else file.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stdout
    assert f"{contract} BROKEN" in done.stdout
    assert named in done.stdout
