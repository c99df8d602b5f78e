# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share."""

import pytest
from hypothesis import settings

# A time limit for one example is a timed test; the machine may be busy. What things cost is measured in bench/.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the campaigns of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
