# SPDX-License-Identifier: GPL-2.0-only
"""The kernel that the VM (without one: the guest) boots where QEMU is under test: one for all trials of a campaign.

A recipe that names none takes the newest package there is. A campaign that goes on after another one came keeps the
kernel that it began with: trials of two kernels answer two questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bisector.errors import InfraError, UsageError
from bisector.interfaces import Listener, Phase, Progress, Target
from bisector.model import BuildFailure, Candidate, Image, TargetKind
from bisector.recipe import files
from bisector.recipe.model import Recipe
from bisector.system.files import write_whole
from bisector.target.images import Images
from bisector.target.kernel_package import KernelPackage

MEMORY = "vm-kernel.json"  # in a campaign's folder


@dataclass
class VmKernels:
    """Those of one command.

    Args:
        given: takes kernels that somebody else built.
        packages: takes released kernels, with all modules.
        make: gives a candidate's image.
        cache: folder of the cache, whose images are used without an archive.
        listener: hears which kernel it is.
    """

    given: Callable[[], Target]
    packages: Callable[[Recipe], KernelPackage]
    make: Callable[[Target, Candidate], Image | BuildFailure]
    cache: Path
    listener: Listener
    _known: dict[str, tuple[Image, str]] = field(default_factory=dict)  # as named → image, version of the package

    def of(self, recipe: Recipe) -> Image | None:
        """The kernel of a recipe, None where the VM boots what is tried. It is made or fetched when it is first needed.

        Raises InfraError and UsageError when it is not to be had.
        """
        if (named := recipe.other_kernel) is None:
            return None
        if named not in self._known:
            self._know(recipe, self._made(recipe, named))
        return self._known[named][0]

    def pin(self, recipe: Recipe, folder: Path, campaign: str) -> None:
        """Have the recipe's VMs boot the kernel that a campaign began with; the recipe's own where it begins now.

        ``folder``: of the campaign. Raises InfraError when that kernel is not to be had any more.
        """
        if (named := recipe.other_kernel) is None:
            return
        memory = folder / MEMORY
        began = _remembered(memory)
        if began is None:
            image = self.of(recipe)
            assert image is not None
            write_whole(memory, json.dumps({"image": image.identity, "version": self._known[named][1]}) + "\n")
            return
        identity, version = began
        if held := Images(self.cache).held(identity):
            self._know(recipe, (held, version))
            return
        try:
            image, version = self._made(recipe, version or named)
        except UsageError as error:
            raise self._gone(campaign, version or named, error.what) from error
        if image.identity != identity:
            raise self._gone(campaign, version or named, "what has that name now is another kernel")
        self._know(recipe, (image, version))

    def _know(self, recipe: Recipe, kernel: tuple[Image, str]) -> None:
        assert recipe.other_kernel is not None
        self._known[recipe.other_kernel] = kernel
        name = f"Linux {kernel[0].release}" if kernel[0].release else Path(recipe.other_kernel).name
        self.listener(Progress(Phase.STAGE, f"The {_machine(recipe)} boots {name}, which is not what is tried"))

    def _made(self, recipe: Recipe, named: str) -> tuple[Image, str]:
        """The kernel of that name ("": the newest package), and its version where it is a package."""
        target: Target
        if files.is_file(named):
            files.opened(recipe, named).close()  # it may be another one than when the recipe was read
            path = recipe.beside(named).resolve()
            target, candidate, version = self.given(), Candidate(TargetKind.GIVEN, str(path), label=path.name), ""
        else:
            packages = self.packages(recipe)
            candidate = packages.candidate(named) if named else packages.newest()
            target, version = packages, candidate.revision
        made = self.make(target, candidate)
        if isinstance(made, BuildFailure):
            machine, key = _machine(recipe), "vm" if recipe.vm is not None else "guest"
            what = f"{candidate}, which the {machine} should boot, is not to be had: {'; '.join(made.errors)}"
            raise InfraError(what, hint=f"name another one in the recipe: {key}: {{kernel: VERSION or ./FILE}}")
        return made, version

    @staticmethod
    def _gone(campaign: str, name: str, why: str) -> InfraError:
        return InfraError(
            f"campaign {campaign} began with the kernel {name} in its VMs, which is not to be had any more: {why}",
            hint="begin anew without --resume: trials of two kernels are not compared",
        )


def _machine(recipe: Recipe) -> str:
    return "VM" if recipe.vm is not None else "guest"


def _remembered(memory: Path) -> tuple[str, str] | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(memory.read_bytes())
        return str(found["image"]), str(found["version"])
    return None
