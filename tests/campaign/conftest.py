# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of campaigns share."""

from __future__ import annotations

from pathlib import Path

import acting
import pytest
from acting import Act, Acted, World
from file_session import History

from bisector.interfaces import ignore
from bisector.session import Setting
from bisector.system.xdg import Folders


@pytest.fixture
def act(tmp_path: Path, fixed_ids: None) -> Act:
    """Makes a strand of commits and what runs campaigns on it."""

    def made(count: int, world: World | None = None, **files: range) -> Acted:
        planted = acting.history(tmp_path / "linux", count, **files)
        return Acted(planted, Folders(tmp_path / "cache", tmp_path / "state"), world or World())

    return made


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Where a campaign keeps its things."""
    return Setting(Folders(tmp_path / "cache", tmp_path / "state"), {}, ignore, 1)


@pytest.fixture
def history(tmp_path: Path, fixed_ids: None) -> History:
    """An empty repository."""
    made = History(tmp_path / "linux")
    made.folder.mkdir()
    made.git("init", "-q")
    return made
