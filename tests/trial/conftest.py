# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures over the playing vng of trialing.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trialing import TrialSetup

from bisector.agent.plan import Plan
from bisector.model import Image, Observation


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[TrialSetup]:
    kernel = tmp_path / "bzImage"
    kernel.write_bytes(b"not booted by anything here")
    made = TrialSetup(tmp_path, Image("identity", str(kernel), build_id="2b6c42b459e1e798"))
    yield made
    subprocess.run(["rm", "-rf", made.work], check=True)  # pytest itself cannot remove a folder that is 1,000 deep


@pytest.fixture
def play(setup: TrialSetup) -> Callable[..., Observation]:
    """Play a scenario and say what was observed."""

    def run(scenario: str, plan: Plan | None = None, **runner: object) -> Observation:
        setup.play(scenario)
        return setup.run(plan, **runner)

    return run
