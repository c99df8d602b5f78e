# SPDX-License-Identifier: GPL-2.0-only
"""What this host builds QEMU with: tools, and the libraries that its programs are linked to.

configure is called with all optional features turned off. What it still looks for is glib, zlib, and for the emulator
pixman and libfdt (QEMU's meson.build: the dependencies that are required). Their versions and that of the C library
name a build with the tools: two hosts with other ones make two programs of one source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.codec import digest
from bisector.errors import InfraError
from bisector.system.child import ProcessResult
from bisector.system.distribution import install
from bisector.system.proc import Processes
from bisector.system.sandbox import Access, installation
from bisector.target import make
from bisector.target.ninja import Ninja

FIRMWARE = ("bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin")
"""What a PC needs to start a kernel; a distribution's source package comes without."""
HOSTS_FIRMWARE = ("/usr/share/qemu", "/usr/share/seabios")
REMEDY = "{}   (bisector doctor RECIPE names all that is missing)"
LIBRARIES = (("glib-2.0", "libglib2.0-dev"), ("zlib", "zlib1g-dev"))
LIBRARIES_OF_SYSTEM = (("pixman-1", "libpixman-1-dev"),)
TIMEOUT = 60.0  # seconds for a tool that says its version
Tools = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class QemuTools:
    """This host's. ``environ``: where PATH is taken from; ``ccache``: folder of the compiler's cache."""

    environ: Mapping[str, str]
    ccache: Path
    processes: Processes

    @property
    def _path(self) -> str:
        return self.environ.get("PATH", os.defpath)

    def ninja(self, programs: Sequence[str], jobs: int = 1) -> Ninja:
        """How the tools are called. Raises InfraError when one is missing."""
        self._which("meson", "meson")
        self._which("ninja", "ninja-build")
        return ninja_of(programs, jobs, self._path)

    def versions(self, programs: Sequence[str]) -> Tools:
        """Name and version of each tool and library that ``programs`` are made with. Raises InfraError."""
        ninja = self.ninja(programs)
        tools = (("compiler", ninja.compiler), ("linker", "ld"), ("meson", "meson"), ("ninja", "ninja"))
        versions = [(name, f"{program}: {self._printed(program, '--version')}") for name, program in tools]
        for library, package in (*LIBRARIES, *(LIBRARIES_OF_SYSTEM if ninja.system else ())):
            versions.append((library, self._printed("pkg-config", "--modversion", library, package=package)))
        if ninja.system:
            versions.append(("libfdt", self._libfdt(ninja.compiler)))
            versions.append(("firmware", digest([(path.name, _hash(path)) for path in hosts_firmware()])[:12]))
        versions.append(("C library", self._c_library()))
        return tuple(versions)

    def _libfdt(self, compiler: str) -> str:
        """The file that -lfdt means: it has no .pc file."""
        found = Path(self._printed(compiler, "-print-file-name=libfdt.so"))
        return found.resolve().name if found.is_absolute() else "none"

    def _c_library(self) -> str:
        if not shutil.which("getconf", path=self._path):
            return "unknown"
        said = self._run("getconf", "GNU_LIBC_VERSION").stdout.strip()
        return said or "not glibc"

    def _which(self, program: str, package: str) -> str:
        found = shutil.which(program, path=self._path)
        if not found:
            raise InfraError(f"{program} is missing: QEMU is built with it", hint=REMEDY.format(install(package)))
        return found

    def _printed(self, program: str, *arguments: str, package: str = "") -> str:
        """The first line of what a tool says. Raises InfraError."""
        self._which(program, {"pkg-config": "pkg-config", "ld": "binutils"}.get(program, program))
        finished = self._run(program, *arguments)
        if finished.returncode:
            what = f"{' '.join((program, *arguments))}: {(finished.stderr or finished.stdout).strip()[:200]}"
            raise InfraError(what, hint=REMEDY.format(install(package)) if package else "")
        return finished.stdout.splitlines()[0]

    def _run(self, program: str, *arguments: str) -> ProcessResult:
        env = make.environment(self.environ, self.ccache)
        access = Access(readable=installation(shutil.which(program, path=self._path) or program))
        return self.processes.run([program, *arguments], access=access, env=env, timeout=TIMEOUT, check=False)


def ninja_of(programs: Sequence[str], jobs: int, path: str) -> Ninja:
    """How the tools in ``path`` are called; one that is not there is called by its name."""
    meson = shutil.which("meson", path=path) or "meson"
    return Ninja(
        tuple(programs),
        jobs,
        "gcc" if shutil.which("gcc", path=path) else "cc",
        meson,
        _interpreter(Path(meson)) if "/" in meson else "",
        "ccache" if shutil.which("ccache", path=path) else "",
    )


def hosts_firmware() -> list[Path]:
    """The files of this host that stand in for firmware that a tree lacks. Raises InfraError."""
    found = [next((p for place in HOSTS_FIRMWARE if (p := Path(place, name)).is_file()), None) for name in FIRMWARE]
    missing = [name for name, path in zip(FIRMWARE, found, strict=True) if path is None]
    if missing:
        hint = REMEDY.format(install("qemu-system-data", "seabios"))
        raise InfraError(f"firmware for QEMU is missing: {', '.join(missing)}", hint=hint)
    return [path for path in found if path]


def _interpreter(program: Path) -> str:
    """The interpreter in a script's first line, "" when it is none or env's choice."""
    with program.open("rb") as file:
        first = os.fsdecode(file.readline(256)).strip()
    words = first.removeprefix("#!").split()
    return words[0] if first.startswith("#!") and words and Path(words[0]).name != "env" else ""


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
