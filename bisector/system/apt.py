# SPDX-License-Identifier: GPL-2.0-only
"""The distribution's archive, through the machine's own apt and its signatures, with lists and caches of our own.

Debian's archive carries released kernels of many series at once, most of them in suites that a host has not enabled.
The mirror is the one the host itself uses for its main suite; nothing of the host's apt state is written: the private
configuration also clears the host's hooks, which would otherwise clean the host's own caches after an update.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, retry_if_not_exception_type, stop_after_attempt
from tenacity import wait_exponential as growing

from bisector.errors import InfraError
from bisector.system.proc import Processes, ProcessFailed, ProcessResult, ProcessTimeout, ProgramMissing
from bisector.system.sandbox import HOST
from bisector.system.trees import remove_tree

T = TypeVar("T")

OS_RELEASE = Path("/etc/os-release")
# Debian 12 names it .gpg; Debian 13 brings .pgp and keeps the old name as a link.
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
UPDATE_TIMEOUT = 180.0  # seconds; the lists of four suites are some 40 MB
DOWNLOAD_TIMEOUT = 1800.0  # seconds; a kernel's tarball is 160 MB
TRIES = 3

_NOT_DEBIAN = "give the source yourself, or run on Debian 12 or later"
SUITE = r"[A-Za-z0-9][A-Za-z0-9.+/-]*"
# What apt says when the index lists a file that the mirror no longer has: http(s), then file:.
_GONE = re.compile(r"\b404\b|File not found")


class FileGone(InfraError):
    """The index lists a file that the mirror does not have any more. Asking again does not help."""


class DownloadFailure(InfraError):
    """A download failed in a way that may pass."""


@dataclass(frozen=True)
class Mirror:
    """Where the archive lies. ``trust``: the deb822 line that says whose signature counts."""

    uri: str
    trust: str


@dataclass(frozen=True)
class SourceFile:
    """A file of a source package as the signed index has it. ``size`` in bytes, ``sha256`` 64 hex digits."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class SourceVersion:
    """One version of a source package."""

    package: str
    version: str  # Debian's own: 6.18.5-1~bpo13+1
    files: tuple[SourceFile, ...]

    @property
    def upstream(self) -> tuple[int, ...]:
        """The numbers of the upstream part: (6, 18, 5). A pre-release such as 6.18~rc4 gives (6, 18)."""
        return upstream_of(self.version)

    @property
    def tarball(self) -> SourceFile | None:
        """The upstream tarball, None for a package without one."""
        return next((file for file in self.files if re.search(r"\.orig\.tar\.[a-z0-9]+$", file.name)), None)


def upstream_of(version: str) -> tuple[int, ...]:
    """Numbers of a Debian version's upstream part: ``1:6.18.5-1~bpo13+1`` gives (6, 18, 5), no number gives ()."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return tuple(int(number) for number in found[1].split(".")) if found else ()


def host_mirror(processes: Processes, os_release: Path = OS_RELEASE) -> Mirror:
    """The mirror that this host uses for its own main suite (not security, not updates), with its keyring.

    Raises InfraError when the host is not Debian, or its apt has no such suite.
    """
    release = _os_release(os_release)
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not codename:
        name = release.get("PRETTY_NAME", "unknown")
        raise InfraError(f"this host is not Debian ({name}), so its archive has no kernel sources", hint=_NOT_DEBIAN)
    for uri, suites in _indexes(processes):
        if codename in suites:
            return Mirror(uri, f"Signed-By: {_keyring()}")
    raise InfraError(
        f"apt on this host knows no mirror of {codename}",
        hint=f"add a source for {codename} main to /etc/apt/sources.list.d, then apt-get update",
    )


@dataclass(frozen=True)
class Archive:
    """Suites of one mirror, with lists and settings in ``folder`` (made when needed; keep it to save downloads)."""

    processes: Processes
    folder: Path
    suites: tuple[str, ...]
    mirror: Mirror
    pause: float = field(default=1.0, compare=False)  # seconds before the second try; doubled for the next

    def update(self) -> None:
        """Fetch the suites' lists and check their signatures. Raises InfraError, after three tries."""
        self._write_settings()
        argv = ["apt-get", *self.settings, "update"]
        self.patiently(lambda: self.apt(argv, UPDATE_TIMEOUT, f"the lists of {self._archive}"))

    def update_if_older(self, seconds: float) -> bool:
        """Fetch the lists unless those that are here are younger and of these suites. Returns whether it did.

        Raises InfraError, after three tries.
        """
        stamp = self.folder / "lists-of"
        wanted = f"{self.mirror.uri} {' '.join(self.suites)}\n"
        if (
            stamp.is_file()
            and stamp.read_text(encoding="utf-8") == wanted
            and 0 <= time.time() - stamp.stat().st_mtime < seconds
        ):
            return False
        stamp.unlink(missing_ok=True)
        self.update()
        stamp.write_text(wanted, encoding="utf-8")
        return True

    def source_versions(self, package: str) -> tuple[SourceVersion, ...]:
        """Every version of a source package in the lists, oldest upstream first. Raises InfraError when none is."""
        argv = ["apt-cache", *self.settings, "showsrc", "--only-source", package]
        done = self.processes.run(argv, access=HOST, timeout=UPDATE_TIMEOUT, env=environment(), check=False)
        versions = {version.version: version for version in parse_sources(done.stdout) if version.package == package}
        if not versions:
            last = done.stderr.strip().splitlines()[-1:]
            raise InfraError(f"no source package {package} in {self._archive}", hint="\n".join(last))
        return tuple(sorted(versions.values(), key=lambda version: (version.upstream, version.version)))

    def download_source_tarball(self, version: SourceVersion, folder: Path) -> Path:
        """The upstream tarball of ``version`` in ``folder``, whole and with the checksum of the signed index.

        The packaging (.dsc, .debian.tar) is not fetched: superseded versions lose it first.

        Raises FileGone when the mirror has it no more, InfraError for every other failure.
        """
        tarball = version.tarball
        if tarball is None:
            raise InfraError(f"{version.package} {version.version} has no upstream tarball in the index")
        target = folder / tarball.name
        if target.is_file() and sha256_of(target) == tarball.sha256:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        self.patiently(lambda: self._fetch_tarball(version, tarball, target))
        return target

    def download_source_between(
        self,
        package: str,
        first: tuple[int, ...],
        last: tuple[int, ...],
        folder: Path,
        *,
        newest_first: bool = False,
    ) -> tuple[SourceVersion, Path]:
        """The first upstream tarball that is really there of the versions ``first``..``last`` (both included).

        Returns:
            Which version it took, and where its tarball lies.

        Raises:
            InfraError: no version in the range, or the mirror has lost them all; names the range and what there is.
        """
        versions = self.source_versions(package)
        fitting = [version for version in versions if first <= version.upstream <= last]
        if newest_first:
            fitting.reverse()
        gone: dict[str, None] = {}
        for version in fitting:
            tarball = version.tarball
            if tarball is None or tarball.name in gone:  # a rebuild shares the tarball of its predecessor
                continue
            try:
                return version, self.download_source_tarball(version, folder)
            except FileGone:
                gone[tarball.name] = None
        span = f"{'.'.join(map(str, first))} to {'.'.join(map(str, last))}"
        have = ", ".join(dict.fromkeys(version.version for version in versions))
        why = f"listed but gone: {', '.join(gone)}" if gone else "none is listed"
        raise InfraError(
            f"no source of {package} {span} in {self._archive}: {why}",
            hint=f"the index has {have}; take another range, or give a tarball of your own",
        )

    # ---- apt ---------------------------------------------------------------------------------------------------------

    @property
    def _archive(self) -> str:
        return f"{', '.join(self.suites)} on {self.mirror.uri}"

    @property
    def settings(self) -> tuple[str, ...]:
        """The options that make apt's programs use this archive alone."""
        return "--config-file", os.fspath(self.folder / "apt.conf")

    def _write_settings(self) -> None:
        """A configuration file, not -o options: only a file can clear the hooks that the host's own files set."""
        for name in ("lists/partial", "cache/archives/partial", "sources"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        folder = self.folder.absolute()
        for what, pattern, word in (
            *(("suite", SUITE, suite) for suite in self.suites),
            ("mirror", r"[!-~]+", self.mirror.uri),
            ("folder of lists", r'[^"\x00-\x1f\x7f]+', str(folder)),
        ):
            if not re.fullmatch(pattern, word):  # a line more would be another source, and trusted if it says so
                raise InfraError(f"apt cannot be given the {what} {word!r}", hint="use plain characters")
        source = f"Types: deb deb-src\nURIs: {self.mirror.uri}\nSuites: {' '.join(self.suites)}\nComponents: main\n"
        # Targets keeps apt from descriptions, icons and file lists that the host may be set to fetch.
        source += f"Targets: Packages Sources\n{self.mirror.trust}\n"
        (self.folder / "sources/bisector.sources").write_text(source, encoding="utf-8")
        (self.folder / "apt.conf").write_text(
            "#clear APT::Update::Pre-Invoke;\n"
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
            f'Dir::State::Lists "{folder}/lists";\n'
            f'Dir::Cache "{folder}/cache";\n'
            'Dir::Etc::SourceList "/dev/null";\n'
            f'Dir::Etc::SourceParts "{folder}/sources";\n'
            'APT::Update::Error-Mode "any";\n'  # else a list that could not be fetched is a warning and exit 0
            'APT::Sandbox::User "root";\n'  # root's private folders are closed to apt's own user
            'Acquire::Languages "none";\n'
            'Acquire::GzipIndexes "true";\n',  # copies: where a mirror is a folder, apt would link to its files
            encoding="utf-8",
        )

    def apt(
        self,
        argv: Sequence[str],
        timeout: float,
        what: str,
        *,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> ProcessResult:
        """Run one of apt's programs, its messages in English. ``what`` is fetched, for the error.

        Raises DownloadFailure (worth another try), FileGone, ProcessTimeout, ProgramMissing, ProcessCancelled.
        """
        try:
            return self.processes.run(
                argv, access=HOST, timeout=timeout, env=environment(), cwd=cwd, on_line=on_line, cancelled=cancelled
            )
        except ProgramMissing:
            raise
        except ProcessFailed as error:
            printed = error.finished.stderr
            reason = [line for line in printed.splitlines() if line.startswith(("E:", "W:"))] or [error.what]
            kind = FileGone if _GONE.search(printed) else DownloadFailure
            raise kind(f"{what} cannot be fetched: {reason[0]}", hint=NETWORK) from error

    def _fetch_tarball(self, version: SourceVersion, tarball: SourceFile, target: Path) -> None:
        """Into a folder of its own beside the target first: what lies under the final name is always whole."""
        partial = Path(tempfile.mkdtemp(prefix=f".{tarball.name}-", dir=target.parent))
        try:
            argv = ["apt-get", *self.settings, "source", "--only-source", "--tar-only", "--download-only"]
            argv.append(f"{version.package}={version.version}")
            self.apt(argv, DOWNLOAD_TIMEOUT, f"{tarball.name} from {self.mirror.uri}", cwd=partial)
            fetched = partial / tarball.name
            if fetched.is_symlink():  # a mirror on this disk (file:) is linked, and may lose the file later
                fetched = Path(shutil.copy(fetched, partial / "copy"))
            if not fetched.is_file() or sha256_of(fetched) != tarball.sha256:
                raise DownloadFailure(f"{tarball.name} from {self.mirror.uri} is not the file that the index names")
            fetched.replace(target)
        finally:
            remove_tree(partial, ignore_errors=True)

    def patiently(self, job: Callable[[], T]) -> T:
        """Retries what the network may heal, and nothing else."""
        tries = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=growing(multiplier=self.pause),
            retry=retry_if_exception_type((DownloadFailure, ProcessTimeout)) & retry_if_not_exception_type(FileGone),
            reraise=True,
        )
        return tries(job)


NETWORK = "check the network and the host's own 'apt-get update', then try again"


def parse_sources(text: str) -> tuple[SourceVersion, ...]:
    """Read what ``apt-cache showsrc`` prints: paragraphs with Package, Version and Checksums-Sha256."""
    return tuple(
        SourceVersion(fields["Package"], fields["Version"], _files(fields.get("Checksums-Sha256", "")))
        for fields in paragraphs(text)
        if {"Package", "Version"} <= set(fields)
    )


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """The paragraphs of a control file (deb822(5)), each as its fields."""
    yield from map(_paragraph, re.split(r"\n\s*\n", text))


def _paragraph(text: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] = fields.get(name, "") + "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _files(checksums: str) -> tuple[SourceFile, ...]:
    lines = [line.split() for line in checksums.splitlines() if line]
    return tuple(SourceFile(name, int(size), sha256) for sha256, size, name in lines)


def _indexes(processes: Processes) -> Iterator[tuple[str, Sequence[str]]]:
    """Mirrors that the host's apt knows, each with the suite's names."""
    try:
        fields = "$(REPO_URI) $(CREATED_BY) $(RELEASE) $(CODENAME)"
        argv = ["apt-get", "indextargets", "--format", fields]
        for line in processes.run(argv, access=HOST, timeout=60, env=environment()).stdout.splitlines():
            uri, created_by, *suites = line.split()
            if created_by == "Packages":
                yield uri, suites
        # A host whose lists were removed, as in a fresh container, has no index target; what it would fetch it knows.
        argv = ["apt-get", "update", "--print-uris"]
        for line in processes.run(argv, access=HOST, timeout=60, env=environment()).stdout.splitlines():
            if found := re.match(r"'(\S+/)dists/(\S+)/InRelease'", line):
                yield found[1], (found[2],)
    except ProgramMissing as error:
        raise InfraError("this host has no apt-get, so no archive can be read", hint=_NOT_DEBIAN) from error


def _os_release(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: value.strip("\"'") for name, _, value in pairs}


def _keyring() -> Path:
    for path in KEYRINGS:
        if path.is_file():
            return path
    raise InfraError("the archive's keyring is missing", hint="apt-get install debian-archive-keyring")


def environment() -> Mapping[str, str]:
    """Our environment with apt's messages in English: they are read."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
