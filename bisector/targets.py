# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe tests: kernels, or programs of QEMU. The only place above ``recipe/`` that asks which of the two.

A third kind is one class more here, its key in ``recipe/model.py`` and what builds it in ``target/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bisector.errors import UsageError
from bisector.interfaces import Target
from bisector.layers.row import Program
from bisector.model import Candidate, Cell, TargetKind
from bisector.recipe.model import Recipe
from bisector.recipe.modules import modules_for, not_applied
from bisector.recipe.plan import build_config
from bisector.search.clone import PrivateClone
from bisector.system import shipped
from bisector.target.kconfig import load
from bisector.target.kernel_source import described
from bisector.target.make import Make
from bisector.target.ninja import SYSTEM
from bisector.target.programs import installed
from bisector.target.qemu_tools import ninja_of

KERNEL_BUILD = (
    Program("gcc", "gcc", "compiles kernels (or name another CC in the recipe's make:)"),
    Program("make", "make", "compiles kernels"),
    Program("flex", "flex", "kernel configuration"),
    Program("bison", "bison", "kernel configuration"),
    Program("bc", "bc", "kernel build"),
    Program("ccache", "ccache", "makes repeated builds quick", needed=False),
)
QEMU_BUILD = tuple(
    Program(name, package, "builds QEMU from a repository; the installed one is tried without", needed=False)
    for name, package in (
        ("meson", "meson"),
        ("ninja", "ninja-build"),
        ("make", "make"),
        ("pkg-config", "pkg-config"),
        ("gcc", "gcc"),
        ("ccache", "ccache"),
    )
)


@dataclass(frozen=True)
class BuildFile:
    """A file that a build needs and that no program shows.

    ``name``: a header, or with ``pkg_config`` a library as pkg-config calls it. ``package``: which one has it.
    """

    name: str
    package: str
    purpose: str = ""
    needed: bool = True
    pkg_config: bool = False


KERNEL_FILES = (BuildFile("libelf.h", "libelf-dev"), BuildFile("openssl/opensslv.h", "libssl-dev"))
_FOR_QEMU = "builds QEMU from a repository"
_LIBFDT = BuildFile("libfdt.h", "libfdt-dev", _FOR_QEMU, needed=False)  # it has no .pc file
_PIXMAN = BuildFile("pixman-1", "libpixman-1-dev", _FOR_QEMU, needed=False, pkg_config=True)
QEMU_FILES = (
    BuildFile("glib-2.0", "libglib2.0-dev", _FOR_QEMU, needed=False, pkg_config=True),
    BuildFile("zlib", "zlib1g-dev", _FOR_QEMU, needed=False, pkg_config=True),
)


class TargetMakers(Protocol):
    """What makes the images: the session, with its caches and processes."""

    def kernel_source(self, recipe: Recipe, cells: tuple[Cell, ...], clone: PrivateClone) -> Target:
        """Builds kernels from the clone, with the union of the cells' configs."""
        ...

    def qemu_source(self, programs: tuple[str, ...], clone: PrivateClone) -> Target:
        """Builds programs of QEMU from the clone."""
        ...

    def given(self) -> Target:
        """Takes kernels that somebody else built."""
        ...

    def programs(self, names: tuple[str, ...]) -> Target:
        """Takes programs of QEMU that somebody else built, or that are installed."""
        ...


class Subject(Protocol):
    """What one recipe tests."""

    @property
    def commits(self) -> TargetKind:
        """What a commit of the repository is."""
        ...

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that an image holds; () when it is a kernel."""
        ...

    @property
    def installed(self) -> Candidate | None:
        """What is tested when nothing is named; None when something must be named."""
        ...

    @property
    def is_vm_kernel(self) -> bool:
        """Whether the VM boots what is tested. Else it boots another kernel (``vm: {kernel: ...}``)."""
        ...

    @property
    def has_releases(self) -> bool:
        """Whether the distribution's packages can be tested."""
        ...

    @property
    def make(self) -> tuple[tuple[str, str], ...]:
        """Variables that the recipe gives to make, which runs on this host."""
        ...

    @property
    def build_programs(self) -> tuple[Program, ...]:
        """The programs that building it from source needs on this host."""
        ...

    @property
    def build_files(self) -> tuple[BuildFile, ...]:
        """The headers and libraries that building it from source needs on this host."""
        ...

    def source(self, makers: TargetMakers, cells: tuple[Cell, ...], clone: PrivateClone) -> Target:
        """What makes images of commits."""
        ...

    def given(self, makers: TargetMakers) -> Target:
        """What makes images of what somebody else built."""
        ...

    def check_package(self) -> None:
        """Raises UsageError when no package can be tested."""
        ...

    def config(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """The config's base and fragments, in order; () when nothing is configured. Raises InfraError."""
        ...

    def build_commands(self, cells: Iterable[Cell], jobs: int, path: str) -> tuple[str, ...]:
        """The commands that build a commit in the folder BUILD, in order. ``path``: PATH. Raises InfraError."""
        ...

    def notes(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """What else can be tested than a commit, and what is not done for it."""
        ...


@dataclass(frozen=True)
class Kernels:
    """Kernels, built with the recipe's config or taken from packages. The VM boots them."""

    recipe: Recipe
    commits = TargetKind.KERNEL_SOURCE
    programs = ()
    installed = None
    is_vm_kernel = True
    build_programs = KERNEL_BUILD
    build_files = KERNEL_FILES

    @property
    def has_releases(self) -> bool:
        """All that is asked of a kernel is in packages, but what looks for leaks."""
        return not self.recipe.looks_for_leaks

    @property
    def make(self) -> tuple[tuple[str, str], ...]:
        """The recipe's ``make:``."""
        kernel = self.recipe.target.kernel
        return tuple(kernel.make.items()) if kernel else ()

    def source(self, makers: TargetMakers, cells: tuple[Cell, ...], clone: PrivateClone) -> Target:
        """Built with the union of the cells' configs."""
        return makers.kernel_source(self.recipe, cells, clone)

    def given(self, makers: TargetMakers) -> Target:
        """Kernel images and build folders."""
        return makers.given()

    def check_package(self) -> None:
        """Raises UsageError where no packaged kernel answers the recipe."""
        if self.recipe.looks_for_leaks:
            why = "the recipe asks for leaks, and packaged kernels are built without what looks for them (kmemleak)"
            raise UsageError(why, hint="build one: --repo LINUX --rev REV, or give one that has it: --image BZIMAGE")

    def config(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """The base config, then the fragments. Raises InfraError."""
        config = build_config(self.recipe, cells)
        return ((config.base_config,) if config.base_config else ()) + config.fragments

    def build_commands(self, cells: Iterable[Cell], jobs: int, path: str) -> tuple[str, ...]:
        """By kbuild. Raises InfraError, UsageError for fragments that are not there."""
        config = build_config(self.recipe, cells)
        ccache = "ccache" if shutil.which("ccache", path=path) else ""
        wanted = load(config, shipped=shipped.kconfigs(), folder=Path())
        return described(Make(config.make, jobs, ccache), Path("BUILD"), wanted)

    def notes(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """Packaged kernels, and what of the config they do not get."""
        needed = " ".join(modules_for(self.recipe, (cell for cell in cells if not cell.not_applicable)))
        if not self.has_releases:
            return ("no packaged kernel: those are built without what looks for leaks",)
        packaged = f"a packaged kernel (releases, --package): nothing is built; modules {needed}, and what they need"
        return (packaged, *not_applied(self.recipe))


@dataclass(frozen=True)
class QemuPrograms:
    """Programs of QEMU, built or as they are installed. A VM around them boots a kernel that is not tested."""

    programs: tuple[str, ...]
    commits = TargetKind.QEMU_SOURCE
    is_vm_kernel = False
    has_releases = False
    make = ()
    build_programs = QEMU_BUILD

    @property
    def installed(self) -> Candidate:
        """The QEMU of this host."""
        return installed()

    @property
    def build_files(self) -> tuple[BuildFile, ...]:
        """What QEMU's configure looks for."""
        return (_LIBFDT, *QEMU_FILES, _PIXMAN) if SYSTEM in self.programs else QEMU_FILES

    def source(self, makers: TargetMakers, cells: tuple[Cell, ...], clone: PrivateClone) -> Target:
        """The same build for every cell."""
        return makers.qemu_source(self.programs, clone)

    def given(self, makers: TargetMakers) -> Target:
        """A folder with the programs, or the installed ones."""
        return makers.programs(self.programs)

    def check_package(self) -> None:
        """Raises UsageError: packages hold kernels."""
        raise UsageError("--package names a kernel, and the recipe tests QEMU", hint="leave it out: the installed QEMU")

    def config(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """None: configure takes the same options for all."""
        return ()

    def build_commands(self, cells: Iterable[Cell], jobs: int, path: str) -> tuple[str, ...]:
        """By configure and ninja."""
        return ninja_of(self.programs, jobs, path).described(Path("BUILD") / "tree")

    def notes(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """Older trees, and programs that are there already."""
        by_make = (
            "a tree without meson (to 5.1) is built by make; options that its configure does not know are left out"
        )
        others = "without --repo: the installed QEMU, or the programs in the folder of --image; nothing is built"
        return (by_make, others)


def subject_of(recipe: Recipe) -> Subject:
    """What the recipe tests."""
    return QemuPrograms(recipe.programs) if recipe.programs else Kernels(recipe)
