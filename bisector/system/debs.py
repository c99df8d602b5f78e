# SPDX-License-Identifier: GPL-2.0-only
"""Binary packages: what an archive's signed index or a folder has, and one of them as a whole file on this disk."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import InfraError
from bisector.system.apt import Archive, DownloadFailure, FileGone, environment, paragraphs, sha256_of
from bisector.system.proc import Processes, ProcessFailed
from bisector.system.sandbox import HOST

HELPER = "/usr/lib/apt/apt-helper"  # of the package apt; unlike "apt-get download" it goes on with half a file
DOWNLOAD_TIMEOUT = 3600.0  # seconds for one package: 170 MB at 50 kB/s
LIST_TIMEOUT = 120.0  # seconds
DAMAGED = "the mirror and its index do not fit together: try again later, or use another mirror"


@dataclass(frozen=True)
class Package:
    """A binary package. ``size`` in bytes; ``sha256`` 64 hex digits; ``depends``: the names of packages it needs."""

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    depends: tuple[str, ...] = ()
    path: str = ""  # of the file, for a package that lies on this disk

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def file_name(self) -> str:
        """As archives name it; an epoch's colon is no part of it."""
        return f"{self.name}_{self.version.rpartition(':')[2]}_{self.architecture}.deb"


def in_archive(archive: Archive, pattern: str) -> tuple[Package, ...]:
    """All versions of the packages whose name matches ``pattern`` (a POSIX regular expression), from the lists.

    Raises InfraError when the lists cannot be read.
    """
    argv = ["apt-cache", *archive.settings, "search", "--names-only", pattern]
    found = archive.apt(argv, LIST_TIMEOUT, "the package names").stdout
    names = sorted({line.split()[0] for line in found.splitlines() if line.strip()})
    if not names:
        return ()
    text = archive.apt(["apt-cache", *archive.settings, "show", *names], LIST_TIMEOUT, "the package records").stdout
    packages = {str(package): package for package in parse(text)}
    return tuple(packages.values())


def in_folder(folder: Path, processes: Processes) -> tuple[Package, ...]:
    """The packages that lie in ``folder`` as ``*.deb``, by name. Raises InfraError for a file that is no package."""
    return tuple(from_file(path, processes) for path in sorted(folder.glob("*.deb")))


def from_file(path: Path, processes: Processes) -> Package:
    """What a .deb says of itself. Raises InfraError when it is damaged."""
    argv = ["dpkg-deb", "--field", os.fspath(path), "Package", "Version", "Architecture", "Depends"]
    try:
        printed = processes.run(argv, access=HOST, timeout=60, env=environment()).stdout
        fields = next(paragraphs(printed))
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
    except (ProcessFailed, KeyError) as error:
        raise InfraError(f"{path} is no whole package: {error}", hint="fetch it again, or take it away") from error
    depends = _names(fields.get("Depends", ""))
    return Package(name, version, architecture, path.stat().st_size, sha256_of(path), depends, os.fspath(path))


def parse(text: str) -> tuple[Package, ...]:
    """Read what ``apt-cache show`` prints. Records without file (installed here, from nowhere) are left out."""
    return tuple(
        Package(
            fields["Package"],
            fields["Version"],
            fields["Architecture"],
            int(fields["Size"]),
            fields["SHA256"],
            _names(fields.get("Depends", "")),
        )
        for fields in paragraphs(text)
        if {"Package", "Version", "Architecture", "Size", "SHA256"} <= set(fields)
    )


def fetch(
    archive: Archive,
    package: Package,
    folder: Path,
    *,
    on_fraction: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> Path:
    """The package's file in ``folder``, whole and with the checksum of the signed index.

    Half a file that an earlier call left is gone on with, where the mirror can. What lies under the final name is
    always whole.

    Raises FileGone when the mirror has it no more, InfraError for every other failure, Interrupted.
    """
    target = folder / package.file_name
    if target.is_file() and target.stat().st_size == package.size and sha256_of(target) == package.sha256:
        os.utime(target)  # the oldest go first when space is needed
        return target
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, package)

    def once() -> Path:
        return _fetch(archive, package, target, on_fraction, cancelled)

    return archive.patiently(once)


def _fetch(
    archive: Archive,
    package: Package,
    target: Path,
    on_fraction: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> Path:
    partial = target.with_name(f".{target.name}.part")
    what = f"{package} from {archive.mirror.uri}"
    argv = [HELPER, *archive.settings, "-o", "APT::Status-Fd=1", "-o", "APT::Sandbox::User=root"]
    argv += ["download-file", _uri(archive, package), os.fspath(partial), f"SHA256:{package.sha256}"]

    def listen(line: str) -> None:
        if found := re.match(r"dlstatus:\d+:([0-9.]+):", line):
            on_fraction(min(1.0, float(found[1]) / 100))

    try:
        archive.apt(argv, DOWNLOAD_TIMEOUT, what, on_line=listen, cancelled=cancelled)
    finally:
        partial.with_name(partial.name + ".FAILED").unlink(missing_ok=True)  # apt keeps what had a wrong checksum
    if partial.is_symlink():  # a mirror on this disk (file:) is linked, and may lose the file later
        source = partial.resolve()
        partial.unlink()
        shutil.copyfile(source, partial)
    if partial.stat().st_size != package.size or sha256_of(partial) != package.sha256:
        partial.unlink()
        raise DownloadFailure(f"{what} is not the file that the index names", hint=DAMAGED)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)
    return target


def _uri(archive: Archive, package: Package) -> str:
    argv = ["apt-get", *archive.settings, "download", "--print-uris", f"{package.name}={package.version}"]
    printed = archive.apt(argv, LIST_TIMEOUT, f"the address of {package}").stdout
    found = re.match(r"'([^']+)'", printed)
    if not found:
        raise FileGone(f"{package} is not in the lists any more", hint="the index changed meanwhile; try again")
    return found[1]


def _check_room(folder: Path, package: Package) -> None:
    free = shutil.disk_usage(folder).free
    if free < package.size:
        raise InfraError(
            f"{folder} has {free // 1000000} MB free, and {package} is {package.size // 1000000} MB",
            hint="'bisector cache' shows what can go, and 'bisector cache --prune SIZE' removes it",
        )


def _names(depends: str) -> tuple[str, ...]:
    """Package names of a Depends field; of alternatives the first."""
    first: Sequence[str] = [entry.split("|")[0] for entry in depends.split(",")]
    return tuple(re.split(r"[\s(:]", entry.strip())[0] for entry in first if entry.strip())
