# SPDX-License-Identifier: GPL-2.0-only
"""Programs of QEMU from source: checked out, configured as small as it goes, built, and kept by their content.

Ninja knows by content hash of the command and by mtime what to build anew, but a folder that was configured for another
revision may hold generated files that a clean one would not have. So the objects are kept only while everything that
configure and meson read is as it was; else they go, and ccache makes up for most of it. After a kill they go too.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bisector.causes import BuildStage
from bisector.codec import digest
from bisector.interfaces import CancelToken, Change, Listener, Phase, Progress, Sources
from bisector.model import Candidate, Image
from bisector.system.foreign import NotRegularFile, copy_plain, leads_out, read_plain, write_plain
from bisector.system.proc import Processes
from bisector.system.trees import walk
from bisector.target.build_dirs import BuildDir
from bisector.target.commands import CannotBeBuilt, Commands
from bisector.target.inputs import Inputs
from bisector.target.ninja import SYSTEM, Ninja, environment
from bisector.target.qemu_inputs import qemu_inputs
from bisector.target.qemu_tools import QemuTools, hosts_firmware
from bisector.target.source import Build, SourceTarget, Tools
from bisector.target.submodules import stand_in

FORMAT = 5  # of a build: a change here, or in how configure is called, makes every earlier build another one
TEXT_LIMIT, PROGRAM_LIMIT = 8 << 20, 1 << 30  # bytes of what a tree and its build hold
OBJECTS_EXPECTED = 600  # steps; ninja says the right figure in its first line
CONFIGURED = "configured-for"  # file in the object folder: what configure and meson had read
_DESCRIPTIONS = ("meson.build", "meson_options.txt", "meson.options", "configure", "pythondeps.toml", "VERSION")
_DESCRIPTION_SUFFIXES = (".mak", ".wrap")
_GENERATORS = ("scripts", "python")  # folders of what configure and meson run, such as minikconf.py
_KNOWN_OPTIONS = ("configure", "scripts/meson-buildoptions.sh")


@dataclass(frozen=True)
class QemuBuild:
    """How programs of QEMU are built, in a form that another machine can use. ``programs``: names (ninja.TARGETS)."""

    programs: tuple[str, ...]


class QemuSource(SourceTarget):
    """Builds programs of QEMU.

    Args:
        programs: what is built, by name (ninja.TARGETS).
        jobs: parallel jobs of one build.
        environ: where PATH is taken from; ours when None.
        The others: see SourceTarget.

    Raises UsageError for a program that is not known.
    """

    kind = "qemu"
    whole = True

    def __init__(
        self,
        sources: Sources,
        build_dirs: Path,
        cache: Path,
        programs: Sequence[str],
        processes: Processes,
        *,
        jobs: int,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sources, build_dirs, cache, processes)
        self._environ = dict(os.environ if environ is None else environ)
        self._host_tools = QemuTools(self._environ, cache / "ccache", processes)
        self._programs = tuple(programs)
        self._jobs = jobs
        Ninja(self._programs)  # an unknown one is the user's error, said at once

    @property
    def how(self) -> QemuBuild:
        """How it builds, for another machine."""
        return QemuBuild(self._programs)

    @cached_property
    def _ninja(self) -> Ninja:
        """How the tools of this host are called. Raises InfraError when one is missing."""
        return self._host_tools.ninja(self._programs, self._jobs)

    def _tools_now(self) -> Tools:
        return self._host_tools.versions(self._programs)

    def _fit_of(self, tools: Tools) -> str:
        return digest("qemu", FORMAT, self._ninja.wishes, sorted(self._programs), tools)

    def _build(
        self,
        candidate: Candidate,
        build_dir: BuildDir,
        changes: Sequence[Change] | None,
        log: Path,
        listener: Listener,
        cancel: CancelToken,
    ) -> Build:
        env = environment(self._environ, self._cache / "ccache", build_dir.tree)
        access = self._access(build_dir, self._ninja.meson, *filter(None, (self._ninja.python,)))
        commands = Commands(self.processes, access, env, log, listener, cancel)
        return _Build(commands, self._ninja, build_dir, listener)


@dataclass
class _Build:
    """One build in a build folder, from configure to files of an image."""

    commands: Commands
    ninja: Ninja
    build_dir: BuildDir
    listener: Listener

    def configure(self) -> None:
        """Configure an empty folder, unless it is configured for the very same. Raises CannotBeBuilt."""
        objects, tree = self.build_dir.objects, self.build_dir.tree
        known = "".join(_text(tree, name) for name in _KNOWN_OPTIONS)
        if not known:
            raise CannotBeBuilt(BuildStage.CONFIG, ("this tree has no configure: it is no QEMU",))
        argv = self.ninja.configure(tree, known)
        for line in stand_in(tree, known):
            self.commands.note(line)
        wanted = digest(argv, list(_descriptions(tree)))
        if _text(objects, CONFIGURED) == wanted:
            return
        self.listener(Progress(Phase.BUILD, "configure"))
        self.build_dir.empty()
        if self.ninja.system:
            _stand_in_for_firmware(tree)
        self.commands.run(BuildStage.CONFIG, argv, cwd=objects)
        write_plain(objects, CONFIGURED, wanted)

    def compile(self) -> None:
        """Build the programs. Raises CannotBeBuilt."""
        build = self.ninja.build(by_make=self._by_make)
        self.commands.run(BuildStage.COMPILE, build, cwd=self.build_dir.objects, expected=(OBJECTS_EXPECTED,))

    @property
    def _by_make(self) -> bool:
        return not (self.build_dir.tree / "meson.build").exists()

    def collect(self, staged: Path) -> Image:
        """The programs, with what the emulator looks for beside it."""
        programs = staged / "bin"
        programs.mkdir()
        for name in self.ninja.programs:
            file = self.ninja.file(name, by_make=self._by_make)
            try:
                copy_plain(self.build_dir.objects, file, programs / name, PROGRAM_LIMIT)
            except (NotRegularFile, FileNotFoundError) as error:
                raise CannotBeBuilt(BuildStage.COMPILE, (f"{file}: {error.strerror}",)) from error
            (programs / name).chmod(0o755)
        if SYSTEM in self.ninja.programs:
            _copy_firmware(self.build_dir, staged / "share" / "qemu")
        return Image(
            identity="",
            kernel="",
            release=f"QEMU {_text(self.build_dir.tree, 'VERSION').strip()[:40]}".strip(),
        )

    def inputs(self, tree: str, fit: str, candidate: str) -> Inputs | None:
        """What ninja noted; None for a tree that make builds."""
        if self._by_make:
            return None
        files = [self.ninja.file(name) for name in self.ninja.programs]
        about = (tree, fit, candidate)
        return qemu_inputs(self.commands, self.build_dir.objects, self.build_dir.tree, files, about)


def _descriptions(tree: Path) -> Iterator[tuple[str, str]]:
    """Name and hash of each file that says what is built and how, and of each that may be run to find out."""
    for folder, folders, files in walk(tree):
        if folder == tree:
            folders[:] = [name for name in folders if not name.startswith(".")]
        run = folder != tree and folder.relative_to(tree).parts[0] in _GENERATORS
        for name in files:
            if run or name in _DESCRIPTIONS or name.startswith("Kconfig") or name.endswith(_DESCRIPTION_SUFFIXES):
                yield str((folder / name).relative_to(tree)), hashlib.sha256(_text(folder, name).encode()).hexdigest()


def _stand_in_for_firmware(tree: Path) -> None:
    """Empty files for packed firmware that meson wants to see (to unpack it where that is wanted) and a tree lacks."""
    for name in re.findall(r"'(edk2-[\w.-]+\.fd)'", _text(tree, "pc-bios/meson.build")):
        packed = tree / "pc-bios" / f"{name}.bz2"
        if not packed.exists() and not leads_out(tree, packed):
            packed.touch()


def _copy_firmware(build_dir: BuildDir, share: Path) -> None:
    """What the emulator looks for at ../share/qemu: the tree's own, and this host's where the tree has none."""
    share.mkdir(parents=True)
    for path in hosts_firmware():
        shutil.copyfile(path, share / path.name)
    for folder in (build_dir.tree / "pc-bios", build_dir.objects / "pc-bios"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            known = path.suffix in (".bin", ".rom", ".dtb", ".img", ".fd")
            if known and path.is_file() and not leads_out(build_dir.tree, path):  # objects stand in the tree
                shutil.copyfile(path, share / path.name)


def _text(folder: Path, name: str) -> str:
    """A file of the tree or of the build, "" where it is none."""
    try:
        return read_plain(folder, name, TEXT_LIMIT).decode(errors="replace")
    except (FileNotFoundError, NotRegularFile):
        return ""
