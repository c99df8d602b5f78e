# SPDX-License-Identifier: GPL-2.0-only
"""Programs of QEMU that somebody else built: those installed on this host, or a folder of a build."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bisector.codec import digest
from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, Listener, Phase, Progress, Target
from bisector.model import BuildFailure, Candidate, Image, TargetKind
from bisector.system.distribution import install
from bisector.system.proc import Processes
from bisector.system.sandbox import Access
from bisector.target.images import Images, identity_of
from bisector.target.ninja import SYSTEM, TARGETS

LDD_TIMEOUT = 60.0  # seconds
INSTALLED = "installed"
"""The revision that stands for what PATH finds."""


_LACKING = (re.compile(r"^\s*(\S+) => not found$", re.MULTILINE), re.compile(r"version [`']([^']+)' not found"))
"""What the dynamic loader says of a library, or of a version of one, that is not there (ldd(1))."""


def missing_libraries(programs: Path, processes: Processes) -> tuple[str, ...]:
    """Libraries, and versions of them, that the programs in a folder need and this host does not have."""
    files = [str(path) for path in sorted(programs.iterdir()) if path.is_file()]
    access, env = Access(readable=(programs,)), {"PATH": os.defpath, "LC_ALL": "C"}
    said = processes.run(["ldd", *files], access=access, env=env, timeout=LDD_TIMEOUT, check=False)
    text = f"{said.stdout}\n{said.stderr}"
    return tuple(dict.fromkeys(name for pattern in _LACKING for name in pattern.findall(text)))


def installed() -> Candidate:
    """The candidate that is the installed QEMU."""
    return Candidate(TargetKind.GIVEN, INSTALLED, label="the installed QEMU")


class Programs(Target):
    """Takes programs by their folder (``Candidate.revision``, or INSTALLED) and keeps copies: an image may not change.

    The emulator alone is not copied but linked to, because it finds its firmware by its own place; its content is part
    of the identity all the same.

    Args:
        cache: our cache folder.
        programs: names of those that the recipe needs.
        environ: PATH is where installed programs are looked for.
        processes: asks them for their version.
    """

    def __init__(self, cache: Path, programs: Sequence[str], environ: Mapping[str, str], processes: Processes) -> None:
        self._processes = processes
        self._images = Images(cache)
        self._programs = tuple(programs)
        self._path = environ.get("PATH", os.defpath)

    def key(self, candidate: Candidate) -> str:
        """Names the content that the programs have now. Raises UsageError when one is not there."""
        return digest("programs", [(name, str(path), identity_of(path)) for name, path in self._found(candidate)])

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """Copy into the cache, or find what was copied before. Raises UsageError, InfraError."""
        try:
            key = self.key(candidate)
            if known := self._images.find(key):
                return known
            listener(Progress(Phase.BUILD, f"copy {candidate}"))
            with self._images.staging() as staged:
                (staged / "bin").mkdir()
                for name, path in self._found(candidate):
                    if name == SYSTEM:
                        (staged / "bin" / name).symlink_to(path)
                        (staged / "share").mkdir()
                        (staged / "share" / "of").write_text(identity_of(path), encoding="utf-8")
                    else:
                        shutil.copy(path, staged / "bin" / name)
                return self._images.keep(key, staged, Image(identity="", kernel="", release=self._release(candidate)))
        except OSError as error:
            raise InfraError(f"{error.filename or candidate.revision}: {error.strerror or error}") from error

    def _release(self, candidate: Candidate) -> str:
        program = self._found(candidate)[0][1]
        access = Access(readable=(program.parent,))
        said = self._processes.run([str(program), "--version"], access=access, timeout=60, check=False).stdout
        version = re.search(r"version (\S+)", said)
        return f"QEMU {version[1]}" if version else ""

    def _found(self, candidate: Candidate) -> list[tuple[str, Path]]:
        return [(name, self._one(candidate, name)) for name in self._programs]

    def _one(self, candidate: Candidate, name: str) -> Path:
        if candidate.revision == INSTALLED:
            found = shutil.which(name, path=self._path)
            if not found:
                package = "qemu-system-x86" if name == SYSTEM else "qemu-utils"
                hint = f"{install(package)}, or give --repo DIR --rev REV, or --image FOLDER"
                raise UsageError(f"{name} is not installed", hint=hint)
            return Path(found).resolve()
        folder = Path(candidate.revision)
        for place in (folder / name, folder / TARGETS.get(name, name), folder / "bin" / name):
            if place.is_file() and os.access(place, os.X_OK):
                return place.resolve()
        raise UsageError(f"{folder} holds no {name}", hint="give the folder of a QEMU build, or one with its programs")
