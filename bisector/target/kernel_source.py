# SPDX-License-Identifier: GPL-2.0-only
"""A kernel from source: checked out into a seat, configured, made, and kept by its content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bisector.errors import InfraError
from bisector.model import BuildConfig, Image, digest
from bisector.seams import CancelToken, Listener, Progress, Sources
from bisector.system import shipped
from bisector.system.proc import Processes
from bisector.target.commands import CannotBeBuilt, Commands
from bisector.target.debug_info import VMLINUX, has_lines
from bisector.target.kconfig import Wanted, final_values, load
from bisector.target.kernel_file import build_id_of_elf, build_id_of_image
from bisector.target.make import Make, environment
from bisector.target.seats import Seat
from bisector.target.source import Build, FromSource

FORMAT = 2  # of a build: a change here, or in how make is called, makes every earlier build another one
STEPS_PER_SYMBOL = 2.8  # printed by make for each symbol that is on: 1,861 lines for 662 symbols on 6.18


class KernelSource(FromSource):
    """Builds kernels.

    Args:
        config: fragments, base config, and variables for make.
        jobs: parallel jobs of one build.
        folder: what relative paths of fragments start from.
        environ: where PATH is taken from; ours when None.
        The others: see FromSource.

    Raises UsageError for fragments or variables that cannot be used, RecipeError for malformed fragments.
    """

    kind = "kernel"

    def __init__(
        self,
        sources: Sources,
        seats: Path,
        cache: Path,
        config: BuildConfig,
        processes: Processes,
        *,
        jobs: int,
        folder: Path = Path(),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sources, seats, cache, processes)
        self._wanted = load(config, shipped=shipped.kconfigs(), folder=folder)
        environ = os.environ if environ is None else environ
        self._environment = environment(environ, cache / "ccache")
        ccache = shutil.which("ccache", path=self._environment["PATH"]) or ""
        self._make = Make(config.make, jobs, "ccache" if ccache else "")
        _ = self._make.architecture  # an unknown one is the user's error, said at once

    @cached_property
    def _tools(self) -> tuple[tuple[str, str], ...]:
        asked = (("compiler", self._make.compiler), ("linker", self._make.linker), ("make", ("make",)))
        versions = []
        for name, argv in asked:
            finished = self._processes.run([*argv, "--version"], env=self._environment, timeout=60)
            versions.append((name, f"{argv[0]}: {finished.stdout.splitlines()[0]}"))
        return tuple(versions)

    @cached_property
    def _fit(self) -> str:
        tools = [version for name, version in self._tools if name != "make"]
        return digest("kernel", FORMAT, self._wanted.digest(), sorted(self._make.variables), tools)

    def _build(self, seat: Seat, log: Path, listener: Listener, cancel: CancelToken) -> Build:
        commands = Commands(self._processes, self._environment, log, listener, cancel)
        return _Build(commands, self._make, seat, listener, self._wanted)


@dataclass
class _Build:
    """One build in a seat, from the pristine fragments to files of an image."""

    commands: Commands
    make: Make
    seat: Seat
    listener: Listener
    wanted: Wanted

    def configure(self) -> None:
        """Make the .config from the fragments alone, never from an earlier .config; replace that only if it differs.

        A new mtime of .config costs a look at every symbol. Raises CannotBeBuilt when a line was dropped.
        """
        self.listener(Progress("build", "config"))
        wish, final = self.seat.folder / "wanted.config", self.seat.folder / "new.config"
        final.unlink(missing_ok=True)
        if self.wanted.base:
            final.write_text(self.wanted.text(), encoding="utf-8")
            self._make("config", "olddefconfig", KCONFIG_CONFIG=str(final))
        else:
            wish.write_text(self.wanted.text(), encoding="utf-8")
            self._make("config", "allnoconfig", KCONFIG_CONFIG=str(final), KCONFIG_ALLCONFIG=str(wish))
        text = final.read_text(encoding="utf-8")
        if missing := [entry for entry in self.wanted.dropped(text) if not entry.line.optional]:
            raise CannotBeBuilt("config", tuple(f"dropped by Kconfig: {entry}" for entry in missing))
        current = self.seat.objects / ".config"
        if not current.exists() or current.read_text(encoding="utf-8") != text:
            current.write_text(text, encoding="utf-8")

    def compile(self) -> None:
        """Make kernel and modules. Raises CannotBeBuilt."""
        cold = "cold" if not (self.seat.objects / "vmlinux").exists() else "warm"
        values = final_values((self.seat.objects / ".config").read_text(encoding="utf-8"))
        default = STEPS_PER_SYMBOL * sum(value in ("y", "m") for value in values.values())
        expected = self.seat.notes.lines.get(cold, int(default if cold == "cold" else default / 40))
        targets = [self.make.architecture.target, *(["modules"] if self._modular else [])]
        self.seat.notes.lines[cold] = self._make("compile", *targets, expected=expected)

    def collect(self, staged: Path) -> Image:
        """Kernel, config, modules. Raises CannotBeBuilt; InfraError for a kernel that is not the one just linked."""
        objects = self.seat.objects
        if self._modular:
            self._make("compile", "modules_install", INSTALL_MOD_PATH=str(staged / "modules"))
            self._settle(staged / "modules" / "lib" / "modules")
        build_id = build_id_of_elf((objects / "vmlinux").read_bytes())
        shutil.copyfile(objects / self.make.architecture.kernel, staged / "kernel")
        if (inside := build_id_of_image(staged / "kernel", self.commands.processes)) not in ("", build_id):
            raise InfraError(
                f"{self.make.architecture.kernel} holds another kernel than vmlinux: build id {inside}, not {build_id}",
                hint=f"no verdict may come of it; remove {self.seat.folder}, and try without ccache",
            )
        shutil.copyfile(objects / ".config", staged / "config")
        if has_lines(objects / VMLINUX):  # somebody asked for debug info: a report's trace needs it
            shutil.copyfile(objects / VMLINUX, staged / VMLINUX)
        return Image(
            identity="",
            kernel="",
            build_id=build_id,
            release=(objects / "include/config/kernel.release").read_text(encoding="utf-8").strip(),
        )

    @property
    def _modular(self) -> bool:
        return final_values((self.seat.objects / ".config").read_text(encoding="utf-8")).get("MODULES") == "y"

    @staticmethod
    def _settle(modules: Path) -> None:
        for release in modules.iterdir():
            for name in ("build", "source"):  # links to this seat: no part of the content
                (release / name).unlink(missing_ok=True)
            if not (release / "modules.dep").exists():
                raise InfraError("depmod is missing: modules cannot be loaded without it", hint="install kmod")

    def _make(self, stage: str, *targets: str, expected: int = 0, **settings: str) -> int:
        """Run make. Returns the number of steps it printed. Raises CannotBeBuilt, InfraError, Interrupted."""
        return self.commands.run(stage, self.make.argv(self.seat.tree, *targets, settings=settings), expected=expected)
