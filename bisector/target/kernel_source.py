# SPDX-License-Identifier: GPL-2.0-only
"""A kernel from source: checked out into a seat, configured, made, and kept by its content."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from bisector.errors import InfraError, Interrupted, UsageError
from bisector.model import BuildConfig, BuildFailure, Candidate, Image, digest
from bisector.seams import CancelToken, EditsDoNotApply, Listener, Progress, Sources, Target
from bisector.system import shipped
from bisector.system.proc import Processes
from bisector.target.commands import CannotBeBuilt, Commands
from bisector.target.debug_info import VMLINUX, has_lines
from bisector.target.images import Images
from bisector.target.kconfig import Wanted, final_values, load
from bisector.target.kernel_file import build_id_of_elf, build_id_of_image
from bisector.target.make import Make, environment
from bisector.target.seats import Seat, take

FORMAT = 2  # of a build: a change here, or in how make is called, makes every earlier build another one
STEPS_PER_SYMBOL = 2.8  # printed by make for each symbol that is on: 1,861 lines for 662 symbols on 6.18


class KernelSource(Target):
    """Builds kernels.

    Args:
        sources: where trees come from.
        seats: folder of the seats; its path may hold no blank and no colon (the kernel's make refuses both).
        cache: our cache folder, for images and ccache.
        config: fragments, base config, and variables for make.
        jobs: parallel jobs of one build.
        folder: what relative paths of fragments start from.
        environ: where PATH is taken from; ours when None.

    Raises UsageError for fragments or variables that cannot be used, RecipeError for malformed fragments.
    """

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
        self._sources = sources
        self._seats = Path(os.path.realpath(seats))
        if any(character.isspace() or character == ":" for character in str(self._seats)):
            raise UsageError(
                f"kernels cannot be built in {self._seats}: their make refuses blanks and colons in paths",
                hint="name another cache folder by XDG_CACHE_HOME",
            )
        self._cache = cache
        self._processes = processes
        self._wanted = load(config, shipped=shipped.kconfigs(), folder=folder)
        environ = os.environ if environ is None else environ
        self._environment = environment(environ, cache / "ccache")
        ccache = shutil.which("ccache", path=self._environment["PATH"]) or ""
        self._make = Make(config.make, jobs, "ccache" if ccache else "")
        self._images = Images(cache)
        _ = self._make.architecture  # an unknown one is the user's error, said at once

    def key(self, candidate: Candidate) -> str:
        """Names the build: source tree, config, make variables, compiler. Raises EditsDoNotApply, InfraError."""
        return digest("kernel", self._sources.tree_of(candidate), self._fit)

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """Look up or build. A failure of the candidate's own is recorded; one of this host is raised as InfraError."""
        try:
            key = self.key(candidate)
        except EditsDoNotApply as error:
            return BuildFailure("edits", tuple(str(error).splitlines()))
        try:
            if known := self._images.find(key):
                return known
            if cancel.cancelled():
                raise Interrupted(f"the build of {candidate} was not started")
            with take(self._seats, self._fit) as seat:
                listener(Progress("checkout", str(candidate)))
                self._sources.checkout(candidate, seat.tree)
                return self._built(key, candidate, seat, listener, cancel)
        except OSError as error:
            what = f"building {candidate}: {error.filename or self._seats}: {error.strerror or error}"
            raise InfraError(what, hint="bisector cache shows what can go") from error

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
        """What objects must have been made with to be of use; with the tree it names the build."""
        tools = [version for name, version in self._tools if name != "make"]
        return digest("kernel", FORMAT, self._wanted.digest(), sorted(self._make.variables), tools)

    def _built(
        self, key: str, candidate: Candidate, seat: Seat, listener: Listener, cancel: CancelToken
    ) -> Image | BuildFailure:
        log = self._images.log_of(key)
        log.write_text(f"# {candidate.revision}: {candidate}\n")
        begin = time.monotonic()
        commands = Commands(self._processes, self._environment, log, listener, cancel)
        build = _Build(commands, self._make, seat, listener, self._wanted)
        with seat.at_work(self._fit):
            try:
                build.configure()
                build.compile()
                with self._images.staging() as staged:  # not before: the cache may be emptied while a build takes hours
                    facts = build.collect(staged)
                    image = replace(facts, tools=self._tools, seconds=round(time.monotonic() - begin, 1))
                    return self._images.keep(key, staged, image)
            except CannotBeBuilt as error:  # an orderly end: kbuild deletes the target that failed (.DELETE_ON_ERROR)
                failure = replace(error.failure, log=str(log), seconds=round(time.monotonic() - begin, 1))
                self._images.keep_failure(key, failure)
                return failure


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
            final.write_text(self.wanted.text())
            self._make("config", "olddefconfig", KCONFIG_CONFIG=str(final))
        else:
            wish.write_text(self.wanted.text())
            self._make("config", "allnoconfig", KCONFIG_CONFIG=str(final), KCONFIG_ALLCONFIG=str(wish))
        text = final.read_text()
        if missing := [entry for entry in self.wanted.dropped(text) if not entry.line.optional]:
            raise CannotBeBuilt("config", tuple(f"dropped by Kconfig: {entry}" for entry in missing))
        current = self.seat.objects / ".config"
        if not current.exists() or current.read_text() != text:
            current.write_text(text)

    def compile(self) -> None:
        """Make kernel and modules. Raises CannotBeBuilt."""
        cold = "cold" if not (self.seat.objects / "vmlinux").exists() else "warm"
        values = final_values((self.seat.objects / ".config").read_text())
        default = STEPS_PER_SYMBOL * sum(value in ("y", "m") for value in values.values())
        expected = self.seat.notes.lines.get(cold, int(default if cold == "cold" else default / 40))
        targets = [self.make.architecture.target, *(["modules"] if self._modular else [])]
        self.seat.notes.lines[cold] = self._make("compile", *targets, expected=expected)

    def collect(self, staged: Path) -> Image:
        """Put the image's files into ``staged``. Returns what is known of it, without identity and paths."""
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
            release=(objects / "include/config/kernel.release").read_text().strip(),
            commands=self.commands.done,
        )

    @property
    def _modular(self) -> bool:
        return final_values((self.seat.objects / ".config").read_text()).get("MODULES") == "y"

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
