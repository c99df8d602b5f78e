# SPDX-License-Identifier: GPL-2.0-only
"""A distribution is one row: the hints that say what to install follow it."""

import platform
import shutil
from pathlib import Path

import pytest

from bisector import doctor
from bisector.system import distribution
from bisector.system.distribution import DEBIAN, Distribution, of_host
from bisector.system.xdg import Folders

FEDORA = Distribution(
    "Fedora", ("fedora",), (), lambda processor: "", "dnf install {}", {"qemu-system-x86": "qemu-system-x86-core"}
)


def host_is(monkeypatch: pytest.MonkeyPatch, **release: str) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)


def test_a_row_more_is_all_that_doctor_needs_to_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host_is(monkeypatch, ID="fedora")
    monkeypatch.setattr(distribution, "ROWS", (DEBIAN, FEDORA))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    folders = Folders(tmp_path / "cache", tmp_path / "state")
    remedies = [finding.remedy for finding in doctor.examine(None, folders, {}) if "install" in finding.remedy]
    assert any(remedy.startswith("dnf install qemu-system-x86-core ") for remedy in remedies)
    assert not [remedy for remedy in remedies if "apt-get" in remedy]


def test_a_derivative_goes_by_what_it_is_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "ROWS", (DEBIAN, FEDORA))
    host_is(monkeypatch, ID="almalinux", ID_LIKE="rhel centos fedora")
    assert of_host() is FEDORA
    host_is(monkeypatch, ID="mint", ID_LIKE="ubuntu debian")
    assert of_host() is DEBIAN
    host_is(monkeypatch, ID="plan9")
    assert of_host() is DEBIAN


def test_several_packages_are_one_command() -> None:
    assert DEBIAN.install("qemu-system-data", "seabios") == "apt-get install qemu-system-data seabios"
