# SPDX-License-Identifier: GPL-2.0-only
"""Each of two workers keeps to a core of its own."""

import os


def pytest_configure() -> None:
    """An emulated VM whose threads share a core takes no more of it than it needs; two that share both wait for each
    other (50 % of the time in the kernel, and twice as long for each trial, was seen)."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    cores = sorted(os.sched_getaffinity(0))
    if worker and len(cores) > 1:
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
