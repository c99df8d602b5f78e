# SPDX-License-Identifier: GPL-2.0-only
"""Which packages make one kernel release, in every layout that was seen. Pure.

    up to 6.18   linux-image-REL[-unsigned]: image and modules in one; lib/modules (Debian 12) or usr/lib/modules
    later        linux-image-REL is an empty shell over linux-binary-REL and linux-modules-REL, which archives may lose
                 one without the other; linux-base-REL holds .config and the list of what is built in

REL is the kernel's own release with its flavour, such as 6.18.9+deb13-amd64.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bisector.system.apt import upstream_of
from bisector.system.debs import Package

_NAME = re.compile(r"linux-(image|binary|modules|base)-(?:unsigned-)?(\d.*?)(-unsigned)?")
_DEBUG = re.compile(r"-dbg(sym)?$")


@dataclass(frozen=True)
class KernelRelease:
    """A released kernel as packages. ``release``: what its uname -r says; ``version``: the package's."""

    version: str
    release: str
    packages: tuple[Package, ...]

    @property
    def upstream(self) -> tuple[int, ...]:
        """Series and patch level: (6, 18, 9)."""
        return upstream_of(self.version)

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(package.size for package in self.packages)


@dataclass(frozen=True)
class IncompleteRelease:
    """A kernel that cannot be put together. ``missing``: the package that is not there."""

    version: str
    missing: str

    @property
    def upstream(self) -> tuple[int, ...]:
        """Series and patch level."""
        return upstream_of(self.version)

    def __str__(self) -> str:
        return f"{self.version} left out: {self.missing} is not there"


@dataclass(frozen=True)
class Offer:
    """What there is, and what is listed and cannot be had; both oldest first."""

    releases: tuple[KernelRelease, ...]
    left_out: tuple[IncompleteRelease, ...] = ()


def offered(packages: Iterable[Package]) -> Offer:
    """Group packages to releases. Of a signed and an unsigned image of one release the signed one is taken."""
    groups: dict[tuple[str, str], dict[str, Package]] = {}
    for package in packages:
        found = _NAME.fullmatch(package.name)
        if found and not _DEBUG.search(package.name):
            parts = groups.setdefault((found[2], package.version), {})
            if not found[3] or found[1] not in parts:
                parts[found[1]] = package
    usable, left_out = [], []
    for (release, version), parts in groups.items():
        missing = _missing(release, parts)
        if not missing:
            usable.append(KernelRelease(version, release, tuple(parts[kind] for kind in sorted(parts))))
        elif set(parts) != {"base"}:
            left_out.append(IncompleteRelease(version, missing))
    return Offer(tuple(sorted(usable, key=_age)), tuple(sorted(left_out, key=_age)))


def _missing(release: str, parts: dict[str, Package]) -> str:
    image = parts.get("image")
    if image is None:
        return f"linux-image-{release}"
    for kind in ("binary", "modules"):
        name = f"linux-{kind}-{release}"
        if kind not in parts and any(needed.removesuffix("-unsigned") == name for needed in image.depends):
            return name
    return ""


def choose(offer: Offer, wanted: str) -> KernelRelease | None:
    """The release called ``wanted``: a package version, a uname -r, a file name, an upstream version (6.18.9, 6.18).

    Of several that fit, the newest: highest patch level, then newest packaging revision. None when nothing fits.
    """
    numbers = tuple(map(int, wanted.split("."))) if re.fullmatch(r"\d+(\.\d+)+", wanted) else ()
    exact = [one for one in offer.releases if wanted in (one.version, one.release, *map(_file, one.packages))]
    upstream = [one for one in offer.releases if numbers and one.upstream[: len(numbers)] == numbers]
    started = [one for one in offer.releases if begins(one.version, wanted)]
    return next((found[-1] for found in (exact, upstream, started) if found), None)


def begins(version: str, wanted: str) -> bool:
    """Whether ``version`` begins with ``wanted``, whose last number is whole: 6.18.9-1 does with 6.18, not with 6.1."""
    return re.match(rf"{re.escape(wanted)}(?!(?<=\d)\d)", version) is not None


def _age(one: KernelRelease | IncompleteRelease) -> tuple[tuple[int, ...], bool, tuple[tuple[int, str], ...]]:
    """A pre-release (7.3~rc7) is older than its release; after that the packaging revision counts."""
    return one.upstream, not re.match(r"[\d:.]+~rc", one.version), _numbers(one.version)


def _file(package: Package) -> str:
    return package.path.rpartition("/")[2] or package.file_name


def _numbers(text: str) -> tuple[tuple[int, str], ...]:
    """For sorting: numbers as numbers."""
    return tuple((int(number or 0), word) for word, number in re.findall(r"(\D*)(\d*)", text))
