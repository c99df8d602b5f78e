# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# A time limit for one example is a timed test; the machine may be busy. What things cost is measured in bench/.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files are handed to several processes, those with VMs come first: they take longest."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("vm")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Beside other processes a test in a VM keeps to a processor of its own.

    Of VMs with two emulated processors each, two that share both of a host wait for each other and take twice as long
    (docs/performance.md). One whose threads share a processor takes no more of it than it needs.
    """
    worker, before = os.environ.get("PYTEST_XDIST_WORKER", ""), os.sched_getaffinity(0)
    if not worker or item.get_closest_marker("vm") is None:
        return (yield)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
    try:
        return (yield)
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the campaigns of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def fixed_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Campaigns' ids, by which the seeds of their trials go, are those of one moment: what is drawn is drawn again.

    A bug that not each trial shows is missed at times, by the chance that the recipe allows.
    """
    monkeypatch.setattr("bisector.campaign.commits.time.strftime", lambda *_: "20260101-000000")
