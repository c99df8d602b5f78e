# SPDX-License-Identifier: GPL-2.0-only
"""A kernel from source: checked out into a build folder, configured, made, and kept by its content."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from bisector.causes import BuildStage
from bisector.codec import digest
from bisector.errors import InfraError
from bisector.interfaces import CancelToken, Change, Listener, Phase, Progress, Sources
from bisector.layers.arch import Architecture
from bisector.model import BuildConfig, Candidate, Image
from bisector.system import shipped
from bisector.system.foreign import NotRegularFile, copy_plain, is_folder, open_plain, read_plain, write_plain
from bisector.system.proc import Processes
from bisector.system.sandbox import Access, installation
from bisector.system.trees import paths_below, remove_tree
from bisector.target.build_dirs import BuildDir
from bisector.target.ccache import CAREFUL, in_depend_mode
from bisector.target.commands import CannotBeBuilt, Commands
from bisector.target.debug_info import VMLINUX, has_lines
from bisector.target.inputs import Inputs
from bisector.target.kconfig import Fragments, final_values, load, may_configure
from bisector.target.kernel_file import RELEASE, build_id_of_elf, build_id_of_image
from bisector.target.kernel_inputs import kernel_inputs
from bisector.target.make import Make, environment
from bisector.target.source import Build, SourceTarget, Tools

FORMAT = 4  # of a build: a change here, or in how make is called, makes every earlier build another one
P = ParamSpec("P")
T = TypeVar("T")

CONFIG_LIMIT, KERNEL_LIMIT, VMLINUX_LIMIT = 4 << 20, 1 << 30, 8 << 30  # bytes of what a build leaves
_LINKS = ("build", "source")  # of lib/modules/RELEASE, to the build folder: no part of the content
DEEPEST = 64  # folders of installed modules, one in the other
CONFIG, WANTED, NEW = "config", "wanted.config", "new.config"
"""Of a build folder: the folder of what Kconfig is given, that file, and what Kconfig made of it."""
STEPS_PER_SYMBOL = 2.8  # printed by make for each symbol that is on: 1,861 lines for 662 symbols on 6.18


@dataclass(frozen=True)
class KernelBuild:
    """How kernels are built, in a form that another machine can use: no file is named. ``make``: variables for it."""

    wanted: Fragments
    make: tuple[tuple[str, str], ...] = ()


class KernelSource(SourceTarget):
    """Builds kernels.

    Args:
        config: fragments, base config, and variables for make; or what another KernelSource made of them.
        jobs: parallel jobs of one build.
        folder: what relative paths of fragments start from.
        environ: where PATH is taken from; ours when None.
        The others: see SourceTarget.

    Raises UsageError for fragments or variables that cannot be used, RecipeError for malformed fragments.
    """

    kind = "kernel"
    harmless = ("make",)

    def __init__(
        self,
        sources: Sources,
        build_dirs: Path,
        cache: Path,
        config: BuildConfig | KernelBuild,
        processes: Processes,
        *,
        jobs: int,
        folder: Path = Path(),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sources, build_dirs, cache, processes)
        if isinstance(config, BuildConfig):
            config = KernelBuild(load(config, shipped=shipped.kconfigs(), folder=folder), config.make)
        self._wanted = config.wanted
        environ = os.environ if environ is None else environ
        self._environment = environment(environ, cache / "ccache")
        self._ccache = shutil.which("ccache", path=self._environment["PATH"]) or ""
        self._make = Make(config.make, jobs, "ccache" if self._ccache else "")
        _ = self._make.architecture  # an unknown one is the user's error, said at once

    @property
    def how(self) -> KernelBuild:
        """How it builds, for another machine."""
        return KernelBuild(self._wanted, self._make.variables)

    def _tools_now(self) -> Tools:
        return toolchain(self._make, self._environment, self.processes)

    @property
    def _programs(self) -> tuple[str, ...]:
        return _programs(self._make, self._environment)

    def _fit_of(self, tools: Tools) -> str:
        versions = [version for _, version in tools]
        return digest("kernel", FORMAT, self._wanted.digest(), sorted(self._make.variables), versions)

    @property
    def _base(self) -> str:
        """All but the config: kbuild knows by include/config/ which objects read an option that has changed."""
        deciding = self._deciding(self._pinned[0] if self._pinned else self.tools)
        return digest("kernel", FORMAT, sorted(self._make.variables), [version for _, version in deciding])

    def _own_config(self, lines: tuple[str, ...]) -> str:
        return self._wanted.over(lines).digest()

    def _build(
        self,
        candidate: Candidate,
        build_dir: BuildDir,
        changes: Sequence[Change] | None,
        log: Path,
        listener: Listener,
        cancel: CancelToken,
    ) -> Build:
        access, environ = self._access(build_dir, *self._programs), self._environment
        if self._ccache:
            environ = in_depend_mode(environ, self._ccache, self._cache / "programs")
        commands = Commands(self.processes, access, environ, log, listener, cancel)
        settings = self._settings(candidate)
        same = build_dir.notes.configured == settings and changes is not None and not may_configure(changes)
        wanted = self._wanted.over(candidate.config_lines)
        return _Build(commands, self._make, build_dir, listener, wanted, settings, same)


def toolchain(make: Make, environ: Mapping[str, str], processes: Processes) -> Tools:
    """Name and version of compiler, linker and make. Raises InfraError when one is missing."""
    access = Access(readable=tuple(place for tool in _programs(make, environ) for place in installation(tool)))
    versions = []
    for name, argv in (("compiler", make.compiler), ("linker", make.linker), ("make", ("make",))):
        finished = processes.run([*argv, "--version"], access=access, env=environ, timeout=60)
        versions.append((name, f"{argv[0]}: {finished.stdout.splitlines()[0]}"))
    return tuple(versions)


def _programs(make: Make, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of the compiler and the linker, which may lie below a home folder."""
    wanted = (make.compiler[0], make.linker[0])
    return tuple(filter(None, (shutil.which(name, path=environ["PATH"]) for name in wanted)))


def configuring(folder: Path, *, base: bool) -> tuple[str, dict[str, str]]:
    """Target and variables of the make that configures in ``folder``; ``base``: from a whole .config."""
    place = folder / CONFIG
    final = {"KCONFIG_CONFIG": str(place / NEW)}
    return ("olddefconfig", final) if base else ("allnoconfig", final | {"KCONFIG_ALLCONFIG": str(place / WANTED)})


def boots_vmlinux(architecture: Architecture, config: Mapping[str, str]) -> bool:
    """Whether QEMU can boot the ELF file of a kernel with that config (arch/x86/platform/pvh of the kernel, from 5.0).

    Then nothing is compressed by the build, and nothing unpacked by each VM. One with debug info has hundreds of MiB.
    """
    return config.get(architecture.direct) == "y" and config.get("DEBUG_INFO") != "y"


def described(make: Make, folder: Path, wanted: Fragments) -> tuple[str, ...]:
    """The commands of a build in the build folder ``folder``, as one would type them."""
    target, settings = configuring(folder, base=bool(wanted.base))
    direct = boots_vmlinux(make.architecture, final_values(wanted.text()))
    tree, kernel = folder / "tree", VMLINUX if direct else make.architecture.target
    modules = make.argv(tree, "modules_install", settings={"INSTALL_MOD_PATH": "IMAGE/modules"})
    return (
        shlex.join(make.argv(tree, target, settings=settings)),
        f"{shlex.join(make.argv(tree, kernel))} [modules]",
        f"[{shlex.join(modules)}]",
    )


@dataclass
class _Build:
    """One build in a build folder, from the pristine fragments to files of an image.

    Args:
        settings: names what the config is made by, the tree apart.
        same_config: whether Kconfig would read what it read for the folder's objects, and with the same settings.
    """

    commands: Commands
    make: Make
    build_dir: BuildDir
    listener: Listener
    wanted: Fragments
    settings: str
    same_config: bool

    def configure(self) -> None:
        """Make the .config from the fragments alone, never from an earlier .config; replace that only if it differs.

        A new mtime of .config costs a look at every symbol. Raises CannotBeBuilt when a line was dropped.
        """
        if self.same_config and self._config():
            target, settings = configuring(self.build_dir.folder, base=bool(self.wanted.base))
            argv = self.make.argv(self.build_dir.tree, target, settings=settings)
            self.commands.leave_out(argv, "nothing has changed that Kconfig reads")
            return
        self.build_dir.notes.configured = ""
        self._configure()
        self.build_dir.notes.configured = self.settings

    def _configure(self) -> None:
        self.listener(Progress(Phase.BUILD, "config"))
        folder = self.build_dir.folder / CONFIG  # new each time, and empty when the tree's Kconfig comes to it
        remove_tree(folder, ignore_errors=True)
        folder.mkdir()
        target, settings = configuring(self.build_dir.folder, base=bool(self.wanted.base))
        first = folder / (NEW if self.wanted.base else WANTED)
        first.write_text(self.wanted.text(), encoding="utf-8")
        self._make(BuildStage.CONFIG, target, writable=(folder,), settings=settings)
        text = _plain(BuildStage.CONFIG, read_plain, folder, NEW, CONFIG_LIMIT).decode(errors="replace")
        if missing := [entry for entry in self.wanted.dropped(text) if not entry.line.optional]:
            raise CannotBeBuilt(BuildStage.CONFIG, tuple(f"dropped by Kconfig: {entry}" for entry in missing))
        if self._config() != text:
            write_plain(self.build_dir.objects, ".config", text)

    def compile(self) -> None:
        """Make kernel and modules. Raises CannotBeBuilt."""
        cold = "cold" if not (self.build_dir.objects / "vmlinux").exists() else "warm"
        values = final_values(self._config())
        default = int(STEPS_PER_SYMBOL * sum(value in ("y", "m") for value in values.values()))
        lines = self.build_dir.notes.lines
        steps = {"warm": lines.get("warm", default // 40), "cold": lines.get("cold", default)}
        expected = (steps["cold"],) if cold == "cold" else (steps["warm"], steps["cold"])
        direct = boots_vmlinux(self.make.architecture, values)
        targets = [VMLINUX if direct else self.make.architecture.target, *(["modules"] if self._modular else [])]
        lines[cold] = self._make(BuildStage.COMPILE, *targets, expected=expected)

    def collect(self, staged: Path) -> Image:
        """Kernel, config, modules. Raises CannotBeBuilt; InfraError for a kernel that is not the one just linked."""
        objects = self.build_dir.objects
        if self._modular:
            modules = staged / "modules"
            modules.mkdir()
            self._make(
                BuildStage.COMPILE, "modules_install", writable=(modules,), settings={"INSTALL_MOD_PATH": str(modules)}
            )
            self._settle(modules)
        with _plain(BuildStage.COMPILE, open_plain, objects, VMLINUX) as vmlinux:
            build_id = build_id_of_elf(vmlinux.read(VMLINUX_LIMIT))
            lines = has_lines(Path(f"/proc/self/fd/{vmlinux.fileno()}"))
        direct = boots_vmlinux(self.make.architecture, final_values(self._config()))
        kernel = VMLINUX if direct else self.make.architecture.kernel
        _plain(BuildStage.COMPILE, copy_plain, objects, kernel, staged / "kernel", KERNEL_LIMIT)
        if (inside := build_id_of_image(staged / "kernel", self.commands.processes)) not in ("", build_id):
            raise InfraError(
                f"{kernel} holds another kernel than vmlinux: build id {inside}, not {build_id}",
                hint=f"no verdict may come of it; remove {self.build_dir.folder}, and try without ccache",
            )
        _plain(BuildStage.COMPILE, copy_plain, objects, ".config", staged / "config", CONFIG_LIMIT)
        if lines:  # debug info is wanted: a report's trace needs it
            _plain(BuildStage.COMPILE, copy_plain, objects, VMLINUX, staged / VMLINUX, VMLINUX_LIMIT)
        return Image(
            identity="",
            kernel="",
            build_id=build_id,
            release=self._release(),
        )

    def inputs(self, tree: str, fit: str, candidate: str) -> Inputs:
        """What kbuild noted. Raises OSError; Embeds where the build is to be repeated as CAREFUL says."""
        arch, objects = Path(self.make.architecture.kernel).parts[1], self.build_dir.objects
        careful = not self.make.ccache or CAREFUL.items() <= self.commands.environment.items()
        about = (tree, fit, candidate)
        return kernel_inputs(objects, self.build_dir.tree, arch, self._config(), about, careful=careful)

    def _release(self) -> str:
        data = _plain(BuildStage.COMPILE, read_plain, self.build_dir.objects, "include/config/kernel.release", 4096)
        release = data.decode(errors="replace").strip()
        if not RELEASE.fullmatch(release):
            raise CannotBeBuilt(BuildStage.COMPILE, ("include/config/kernel.release names no release",))
        return release

    def _config(self) -> str:
        """The .config that the objects were made with, "" before the first."""
        try:
            return read_plain(self.build_dir.objects, ".config", CONFIG_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    @property
    def _modular(self) -> bool:
        return final_values(self._config()).get("MODULES") == "y"

    @staticmethod
    def _settle(installed: Path) -> None:
        for place in paths_below(installed):
            inner = place.relative_to(installed)
            if len(inner.parts) > DEEPEST:
                raise CannotBeBuilt(BuildStage.COMPILE, (f"modules_install left a folder {DEEPEST} deep",))
            if place.is_symlink() and not (len(inner.parts) == 4 and inner.name in _LINKS):
                raise CannotBeBuilt(BuildStage.COMPILE, (f"modules_install left a link: {inner}",))
        releases = installed / "lib" / "modules"
        for release in filter(is_folder, releases.iterdir() if releases.is_dir() else ()):
            for link in (release / name for name in _LINKS):
                if link.is_symlink():
                    link.unlink()
            if not (release / "modules.dep").exists():
                raise InfraError("depmod is missing: modules cannot be loaded without it", hint="install kmod")

    def _make(
        self,
        stage: BuildStage,
        *targets: str,
        expected: Sequence[int] = (),
        writable: tuple[Path, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> int:
        """Run make. Returns the number of steps it printed. Raises CannotBeBuilt, InfraError, Interrupted."""
        argv = self.make.argv(self.build_dir.tree, *targets, settings=settings)
        return self.commands.run(stage, argv, expected=expected, writable=writable)


def _plain(stage: BuildStage, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What ``read`` gives of a file that the build left. Raises CannotBeBuilt where that is no plain file."""
    try:
        return read(*arguments, **named)
    except (NotRegularFile, FileNotFoundError) as error:
        raise CannotBeBuilt(stage, (f"{error.filename}: {error.strerror}",)) from error
