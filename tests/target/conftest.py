# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of targets."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_qemu import QemuSetup
from kernel_setup import KernelSetup
from package_archive import Place


@pytest.fixture
def setup(tmp_path: Path) -> KernelSetup:
    """A place to build in."""
    return KernelSetup(tmp_path)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Waits until something happened; fails after 20 s."""

    def wait(happened: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not happened():
            assert time.monotonic() < end, "it did not happen within 20 s"
            time.sleep(0.01)

    return wait


@pytest.fixture
def qemu(tmp_path: Path) -> QemuSetup:
    """A place to build QEMU in."""
    return QemuSetup(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An archive of packages, a cache and the target over both."""
    return Place(tmp_path)
