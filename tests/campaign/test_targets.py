# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe tests, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from bisector.errors import UsageError
from bisector.model import TargetKind
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
