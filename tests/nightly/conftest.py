# SPDX-License-Identifier: GPL-2.0-only
"""A linux-next to be rebuilt daily, and the nights that watch it."""

from pathlib import Path

import pytest
from nextgen import LinuxNext
from night_session import Nights


@pytest.fixture
def tree(tmp_path: Path) -> LinuxNext:
    return LinuxNext.make(tmp_path / "linux-next.git")


@pytest.fixture
def nights(tmp_path: Path, tree: LinuxNext) -> Nights:
    return Nights(tmp_path, tree.folder, recipes="[./legs.yaml]")
