# SPDX-License-Identifier: GPL-2.0-only
"""In the book each of two workers keeps to a core of its own, and the longest tests come first."""

import os

import pytest
from booking import IMAGE


def pytest_configure() -> None:
    """Where the book is run, and not where its tests are only collected with the others.

    An emulated VM whose threads share a core takes no more of it than it needs; two that share both wait for each
    other (50 % of the time in the kernel, and twice as long for each trial, was seen)."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    cores = sorted(os.sched_getaffinity(0))
    if IMAGE and worker and len(cores) > 1:
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By ``minutes``, as seen on one emulated core: a long test that begins last leaves the other core idle (two
    minutes and more of a pass were seen)."""
    items.sort(key=_minutes, reverse=True)


def _minutes(item: pytest.Item) -> float:
    mark = item.get_closest_marker("minutes")
    return mark.args[0] if mark else 0.0
