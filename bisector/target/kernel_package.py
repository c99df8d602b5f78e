# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that a distribution built: its packages fetched from an archive or a folder, the needed parts unpacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bisector.causes import BuildStage, FailureCause
from bisector.codec import digest
from bisector.errors import InfraError, Interrupted, UsageError
from bisector.interfaces import CancelToken, Listener, Phase, Progress, Target
from bisector.layers import arch
from bisector.model import BuildFailure, Candidate, Image, TargetKind
from bisector.system import debs
from bisector.system.apt import Archive, FileGone
from bisector.system.debs import Package
from bisector.system.distribution import DEBIAN
from bisector.system.proc import Processes
from bisector.target.images import Images
from bisector.target.kernel_file import build_id_of_image
from bisector.target.packages import KernelRelease, Offer, begins, choose, offered
from bisector.target.unpack import UnusableKernel, unpack

FORMAT = 3  # of an unpacked image: a change here makes every earlier one another
LISTS_AGE = 12 * 3600.0  # seconds for which the archive's lists are taken as they are
MB = 1_000_000


class PackageSource(Protocol):
    """Where packages come from."""

    def packages(self) -> tuple[Package, ...]:
        """All kernel packages that are there. Raises InfraError."""
        ...

    def fetch(self, package: Package, on_fraction: Callable[[float], None], cancel: CancelToken) -> Path:
        """The package's whole file. Raises FileGone, InfraError, Interrupted."""
        ...

    def downloads(self, package: Package) -> int:
        """Bytes that ``fetch`` would have to download."""
        ...


@dataclass(frozen=True)
class ArchiveSource:
    """Packages of an archive, kept in ``folder`` once fetched. ``architecture``: as the distribution calls it."""

    archive: Archive
    folder: Path
    architecture: str = arch.VM.debian

    def packages(self) -> tuple[Package, ...]:
        """From the lists, which are fetched when they are not of today. Raises InfraError."""
        self.archive.update_if_older(LISTS_AGE)
        return debs.in_archive(self.archive, DEBIAN.kernels(self.architecture))

    def fetch(self, package: Package, on_fraction: Callable[[float], None], cancel: CancelToken) -> Path:
        """From the mirror, or the file of an earlier fetch. Raises FileGone, InfraError, Interrupted."""
        return debs.fetch(self.archive, package, self.folder, on_fraction=on_fraction, cancelled=cancel.cancelled)

    def downloads(self, package: Package) -> int:
        """The package's size, 0 when it is here."""
        return 0 if (self.folder / package.file_name).is_file() else package.size


@dataclass(frozen=True)
class FolderSource:
    """Packages that lie in folders as ``*.deb`` files; only read."""

    folders: tuple[Path, ...]
    processes: Processes

    def packages(self) -> tuple[Package, ...]:
        """All of them. Raises InfraError for a file that is no package."""
        return tuple(package for folder in self.folders for package in debs.in_folder(folder, self.processes))

    def fetch(self, package: Package, on_fraction: Callable[[float], None], cancel: CancelToken) -> Path:
        """The file itself."""
        return Path(package.path)

    def downloads(self, package: Package) -> int:
        """Nothing."""
        return 0


class KernelPackage(Target):
    """Takes kernels from packages. ``Candidate.revision`` is a package version.

    Args:
        source: where packages come from.
        cache: our cache folder, for images.
        modules: names of the modules that the recipe needs.
    """

    def __init__(self, source: PackageSource, cache: Path, processes: Processes, modules: tuple[str, ...]) -> None:
        self._source = source
        self._processes = processes
        self._modules = modules
        self._images = Images(cache)
        self.downloaded = 0  # bytes, by this object

    @cached_property
    def offer(self) -> Offer:
        """The releases that there are, and those left out with the reason. Raises InfraError."""
        return offered(self._source.packages())

    def candidate(self, wanted: str) -> Candidate:
        """The candidate called ``wanted``: a package version, or an upstream one. Raises UsageError."""
        found = choose(self.offer, wanted)
        if found is None:
            have = ", ".join(".".join(map(str, one.upstream)) for one in self.offer.releases) or "nothing"
            left = [str(one) for one in self.offer.left_out if begins(one.version, wanted)]
            raise UsageError(f"no kernel package {wanted}", hint="\n".join([f"there is: {have}", *left]))
        return candidate(found)

    def newest(self) -> Candidate:
        """The newest release that is no pre-release. Raises UsageError when there is none."""
        found = [one for one in self.offer.releases if "~rc" not in one.version]
        if not found:
            raise UsageError("there is no kernel package", hint="bisector doctor says what it looks for")
        return candidate(found[-1])

    def key(self, candidate: Candidate) -> str:
        """Names what its packages and the wanted modules give. Raises UsageError, InfraError."""
        release = self._release(candidate)
        return digest("package", FORMAT, release.release, [one.sha256 for one in release.packages], self._modules)

    def to_download(self, candidate: Candidate) -> int:
        """Bytes of the packages that ``image`` would download; 0 where they, or the image, are here."""
        if self._images.find(self.key(candidate)):
            return 0
        return sum(map(self._source.downloads, self._release(candidate).packages))

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """Fetch and unpack, or look up. A package that is gone or unfit is a BuildFailure: left out, no verdict.

        Raises InfraError for a failing network, a damaged package, a full disk; Interrupted.
        """
        release, key = self._release(candidate), self.key(candidate)
        try:
            if known := self._images.find(key):
                return known
            if cancel.cancelled():
                raise Interrupted(f"the download of {candidate} was not started")
            files = [self._fetched(package, listener, cancel) for package in release.packages]
            listener(Progress(Phase.UNPACK, f"{candidate}: kernel and the modules that the recipe needs"))
            return self._unpacked(key, release, files, cancel)
        except FileGone as error:
            return BuildFailure(BuildStage.DOWNLOAD, (error.what,), cause=FailureCause.LACKING)
        except OSError as error:
            what = f"unpacking {candidate}: {error.filename or self._images.folder}: {error.strerror or error}"
            raise InfraError(what, hint="'bisector cache' shows what can go; then repeat the command") from error

    def _fetched(self, package: Package, listener: Listener, cancel: CancelToken) -> Path:
        todo = self._source.downloads(package)
        words = f"{package} ({package.size / MB:.0f} MB)"

        def on_fraction(fraction: float) -> None:
            listener(Progress(Phase.DOWNLOAD, words, fraction))

        if todo:
            on_fraction(0.0)
        path = self._source.fetch(package, on_fraction, cancel)
        self.downloaded += todo
        return path

    def _unpacked(
        self, key: str, release: KernelRelease, files: list[Path], cancel: CancelToken
    ) -> Image | BuildFailure:
        with self._images.staging() as staged:
            try:
                modules = unpack(files, release.release, self._modules, staged, self._processes, cancel)
            except UnusableKernel as error:
                failure = BuildFailure(BuildStage.UNPACK, (f"{release.version} left out: {error}",))
                self._images.keep_failure(key, failure)
                return failure
            image = Image(
                identity="",
                kernel="",
                build_id=build_id_of_image(staged / "kernel", self._processes),
                release=release.release,
                commands=(f"# of {', '.join(str(one) for one in release.packages)}: {', '.join(modules)}",),
            )
            return self._images.keep(key, staged, image)

    def _release(self, candidate: Candidate) -> KernelRelease:
        for one in self.offer.releases:
            if one.version == candidate.revision:
                return one
        raise UsageError(f"the package version {candidate.revision} is not there any more")


def candidate(release: KernelRelease) -> Candidate:
    """A release as a candidate; people call it by its upstream version."""
    label = ".".join(map(str, release.upstream))
    return Candidate(TargetKind.KERNEL_PACKAGE, release.version, label=label + _suffix(release))


def _suffix(release: KernelRelease) -> str:
    return "-rc" if "~rc" in release.version else ""
