# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures over the playing vng of trialing.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from trialing import Bench

from bisector.agent.plan import Plan
from bisector.model import Image, Observation


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    kernel = tmp_path / "bzImage"
    kernel.write_bytes(b"not booted by anything here")
    return Bench(tmp_path, Image("identity", str(kernel), build_id="2b6c42b459e1e798"))


@pytest.fixture
def play(bench: Bench) -> Callable[..., Observation]:
    """Play a scenario and say what was observed."""

    def run(scenario: str, plan: Plan | None = None, **runner: object) -> Observation:
        bench.play(scenario)
        return bench.run(plan, **runner)

    return run
