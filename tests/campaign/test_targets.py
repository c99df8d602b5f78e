# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe tests, and what follows from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bisector.campaign import single
from bisector.errors import UsageError
from bisector.model import Candidate, TargetKind
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.targets import Kernels, QemuPrograms, subject_of

EMULATOR = "qemu-system-x86_64"
KERNEL = load("virtio-dio-lvm-raid1")
QEMU = load("enospc-unseen")


class Makers:
    """Says which target it is to make."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given: (name, *given)


def test_a_kernel_is_built_with_the_recipe_and_booted_by_the_vm() -> None:
    subject, makers = subject_of(KERNEL), Makers()
    assert isinstance(subject, Kernels)
    assert (subject.commits, subject.programs, subject.installed) == (TargetKind.KERNEL_SOURCE, (), None)
    assert subject.is_vm_kernel and subject.has_releases
    assert subject.source(makers, (), "clone") == ("kernel_source", KERNEL, (), "clone")  # type: ignore[arg-type]
    assert subject.given(makers) == ("given",)
    subject.check_package()
    assert subject.config(cells(KERNEL))


def test_programs_of_qemu_have_no_releases_and_run_on_another_kernel() -> None:
    subject, makers = subject_of(QEMU), Makers()
    assert isinstance(subject, QemuPrograms)
    assert (subject.commits, subject.programs) == (TargetKind.QEMU_SOURCE, (EMULATOR,))
    assert not (subject.is_vm_kernel or subject.has_releases or subject.config(cells(QEMU)))
    assert subject.source(makers, (), "clone") == ("qemu_source", (EMULATOR,), "clone")  # type: ignore[arg-type]
    assert subject.given(makers) == ("programs", (EMULATOR,))
    assert str(subject.installed) == "the installed QEMU"
    with pytest.raises(UsageError, match="--package names a kernel"):
        subject.check_package()


def test_only_the_emulator_needs_a_library_for_pixels() -> None:
    assert "pixman-1" in [file.name for file in QemuPrograms((EMULATOR,)).build_files]
    assert "pixman-1" not in [file.name for file in QemuPrograms(("qemu-img",)).build_files]


@pytest.mark.parametrize(("size", "said"), [(52_400_000, ["6.18.5: 52 MB to download"]), (0, [])])
def test_a_package_says_how_much_it_downloads_before_it_does(size: int, said: list[str]) -> None:
    recipe, lines = load("virtio-open-lvm-raid1"), []
    package = Candidate(TargetKind.KERNEL_PACKAGE, "6.18.5-1", label="6.18.5")
    packages = SimpleNamespace(candidate=lambda _: package, to_download=lambda _: size)
    setting = SimpleNamespace(listener=lambda progress: lines.append(progress.detail))
    session = SimpleNamespace(setting=setting, kernel_package=lambda *_: packages)
    request = single.SingleRequest(recipe, "", None, "", None, package="6.18.5")
    found, _ = single._candidate(request, session, ())  # type: ignore[arg-type]
    assert found is package
    assert [line for line in lines if "download" in line] == said
