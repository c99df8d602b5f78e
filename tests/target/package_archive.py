# SPDX-License-Identifier: GPL-2.0-only
"""An archive of planted packages, and kernels made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deb_archive import DebArchive, build_deb, kernel_files

from bisector.interfaces import CancelToken, Progress, ignore
from bisector.model import Image
from bisector.system.apt import Archive, Mirror
from bisector.system.proc import Processes
from bisector.target.kernel_package import ArchiveSource, KernelPackage

NEEDED = ("9p", "9pnet_virtio", "dm_mod", "dm_raid", "nvme", "raid1")
REL = "6.18.9+deb13-amd64"
VERSION = "6.18.9-1~bpo13+1"


class Place:
    """An archive, a cache, and the target over both."""

    def __init__(self, root: Path, uri: str = "") -> None:
        self.root = root
        self.mirror = DebArchive(root / "mirror")
        self.processes = Processes(root / "records")
        self.uri = uri or f"file:{self.mirror.root}"

    def deb(self, version: str = VERSION, release: str = REL, **how: object) -> Path:
        files = kernel_files(release, **how)  # type: ignore[arg-type]
        return build_deb(self.root / "built", f"linux-image-{release}", version, files)

    def target(self) -> KernelPackage:
        archive = Archive(self.processes, self.root / "apt", ("planted",), Mirror(self.uri, "Trusted: yes"), pause=0.01)
        source = ArchiveSource(archive, self.root / "cache/packages")
        return KernelPackage(source, self.root / "cache", self.processes, NEEDED)

    def images(self) -> list[str]:
        folder = self.root / "cache/images"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def made(target: KernelPackage, wanted: str = "6.18.9", listener: Callable[[Progress], None] = ignore) -> Image:
    image = target.image(target.candidate(wanted), listener=listener, cancel=CancelToken())
    assert isinstance(image, Image), image
    return image


def modules_of(image: Image) -> list[str]:
    return sorted(path.name for path in Path(image.modules).rglob("*.ko"))
