# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share."""

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

# A time limit for one example is a timed test; the machine may be busy. What things cost is measured in bench/.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


class InOrder(LoadScopeScheduling):
    """Hands each process a whole file, for its tests share what it sets up; all files with VMs are one.

    A VM has two emulated processors, and two VMs on a host with two wait for each other (docs/performance.md).
    """

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0]
        return "vm" if _boots_vms(name) else name


@functools.cache
def _boots_vms(name: str) -> bool:
    return name.endswith("_vm.py") or "mark.vm" in (ROOT / name).read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InOrder | None:
    """For ``--dist loadfile``, which "make test" gives; None: xdist's own."""
    return InOrder(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the campaigns of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
