# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the search share: a state folder, and a search over a planted history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from planted import Planted
from searching import SearchSetup

from bisector.system.proc import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "records")


@pytest.fixture
def setup(tmp_path: Path) -> SearchSetup:
    return SearchSetup(tmp_path)


@pytest.fixture
def plant(setup: SearchSetup) -> Callable[..., Planted]:
    return setup.plant
