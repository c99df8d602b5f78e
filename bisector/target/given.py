# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that somebody else built: an image file, or the object folder of a build."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

from bisector.codec import digest
from bisector.errors import InfraError, UsageError
from bisector.interfaces import CancelToken, Listener, Phase, Progress, Target
from bisector.layers import arch
from bisector.model import BuildFailure, Candidate, Image
from bisector.system.proc import Processes
from bisector.system.sandbox import Access
from bisector.target.images import Images, identity_of
from bisector.target.kernel_file import RELEASE, build_id_of_elf, build_id_of_image, is_kernel, release_of_image

_KERNELS = tuple(row.kernel for row in arch.ROWS)
_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")


class GivenKernel(Target):
    """Takes kernels by their path (``Candidate.revision``) and keeps a copy: the file may change, an image may not.

    Args:
        cache: our cache folder.
        processes: runs depmod for a build folder with modules, and zstd for a kernel packed with it.
    """

    def __init__(self, cache: Path, processes: Processes | None = None) -> None:
        self._images = Images(cache)
        self._processes = processes or Processes(cache / "processes")

    def key(self, candidate: Candidate) -> str:
        """Names the content that lies at the candidate's path now. Raises UsageError when no kernel does."""
        kernel, build = _located(Path(candidate.revision))
        return digest("given", identity_of(kernel), [(str(path), identity_of(path)) for path in _modules(build)])

    def image(self, candidate: Candidate, *, listener: Listener, cancel: CancelToken) -> Image | BuildFailure:
        """Copy into the cache, or find what was copied before. Raises UsageError, InfraError."""
        try:
            key = self.key(candidate)
            if known := self._images.find(key):
                return known
            listener(Progress(Phase.BUILD, f"copy {candidate}"))
            kernel, build = _located(Path(candidate.revision))
            with self._images.staging() as staged:
                copied = self._copied(kernel, build, staged)
                if self.key(candidate) != key:
                    raise InfraError(f"{candidate.revision} changed while it was copied", hint="repeat the command")
                return self._images.keep(key, staged, copied)
        except OSError as error:
            raise InfraError(f"{error.filename or candidate.revision}: {error.strerror or error}") from error

    def _copied(self, kernel: Path, build: Path | None, staged: Path) -> Image:
        shutil.copyfile(kernel, staged / "kernel")
        config = build / ".config" if build else None
        if config and config.is_file():
            shutil.copyfile(config, staged / "config")
        release = _release(kernel, build)
        if list(_modules(build)) and build:
            self._copy_modules(build, release, staged / "modules")
        vmlinux = build / "vmlinux" if build else kernel.with_name("vmlinux")
        build_id = build_id_of_image(kernel, self._processes)
        if not build_id and vmlinux.is_file():
            build_id = build_id_of_elf(vmlinux.read_bytes())
        return Image(identity="", kernel="", build_id=build_id, release=release)

    def _copy_modules(self, build: Path, release: str, into: Path) -> None:
        """What `make modules_install` does, without make: it could begin to build in a folder that is not ours."""
        if not RELEASE.fullmatch(release):
            found = f"names {release!r}, which is no release" if release else "is not there"
            what = f"{build} has modules, and its include/config/kernel.release {found}"
            raise UsageError(what, hint="give a whole build")
        folder = into / "lib" / "modules" / release
        for module in _modules(build):
            target = folder / "kernel" / module.relative_to(build)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(module, target)
        order = (build / "modules.order").read_text(errors="replace", encoding="utf-8").splitlines()
        (folder / "modules.order").write_text("".join(f"kernel/{_module(line)}\n" for line in order), encoding="utf-8")
        for name in _LISTS[1:]:
            if (build / name).is_file():
                shutil.copyfile(build / name, folder / name)
        self._processes.run([_depmod(), "-b", str(into), release], access=Access((into,)), timeout=600)


def release_of(path: Path) -> str:
    """Release that a kernel image or a build folder names ("6.18.5"), "" when it does not say. Raises UsageError."""
    return _release(*_located(path))


def _located(path: Path) -> tuple[Path, Path | None]:
    """The kernel file, and the build folder it lies in (None for a lone file). Raises UsageError."""
    if path.is_dir():
        for name in _KERNELS:
            if (path / name).is_file():
                return path / name, path
        raise UsageError(f"{path} holds no kernel", hint=f"a build folder has one of: {', '.join(_KERNELS)}")
    if not path.is_file():
        raise UsageError(f"{path} is not there", hint="give a kernel image or the folder of a build")
    if not is_kernel(path):
        raise UsageError(f"{path} is no kernel image", hint="give a bzImage, an arm64 Image, or a build folder")
    return path, None


def _modules(build: Path | None) -> Iterator[Path]:
    """The modules of a build, as its modules.order lists them (as .ko, or as .o since 6.4). Raises UsageError."""
    order = build / "modules.order" if build else None
    if build and order and order.is_file():
        for name in map(_module, order.read_text(errors="replace", encoding="utf-8").splitlines()):
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise UsageError(f"{order} names a file outside of that folder: {name}", hint="give a whole build")
            yield build / name


def _module(line: str) -> str:
    return line.strip().removesuffix(".o").removesuffix(".ko").removeprefix("kernel/") + ".ko"


def _release(kernel: Path, build: Path | None) -> str:
    named = build / "include/config/kernel.release" if build else None
    return (
        named.read_text(errors="replace", encoding="utf-8").strip()
        if named and named.is_file()
        else release_of_image(kernel)
    )


def _depmod() -> str:
    found = shutil.which("depmod") or shutil.which("depmod", path="/usr/sbin:/sbin")
    if not found:
        raise InfraError("depmod is missing: modules cannot be loaded without it", hint="install kmod")
    return found
