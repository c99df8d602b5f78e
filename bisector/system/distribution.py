# SPDX-License-Identifier: GPL-2.0-only
"""What differs between distributions: their kernels' packages and the command that installs one. A row for each."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


def debian_kernels(architecture: str) -> str:
    """Names of the generic kernels' packages, for apt-cache. Cloud and rt flavours are other kernels: without 9p."""
    return f"^linux-(image|binary|modules|base)-[0-9][^-]*(-[0-9]+)?-{architecture}(-unsigned)?$"


@dataclass(frozen=True)
class Distribution:
    """One distribution. For its kernels it needs a PackageSource that reads its index, too.

    Args:
        ids: what ``ID`` or ``ID_LIKE`` of os-release(5) says on it.
        suites: of its archive in which kernels are looked for, where the recipe names none: the most series at once,
            with small lists.
        kernels: its name of a processor to the names of its kernels' packages.
        command: installs packages; ``{}`` stands for their names.
        packages: its name of a package, by Debian's, where the two differ.
    """

    name: str
    ids: tuple[str, ...]
    suites: tuple[str, ...]
    kernels: Callable[[str], str]
    command: str
    packages: Mapping[str, str] = field(default_factory=dict)

    def install(self, *packages: str) -> str:
        """The command that installs these packages, by Debian's names."""
        return self.command.format(" ".join(self.packages.get(name, name) for name in packages))


DEBIAN = Distribution(
    "Debian",
    ("debian", "ubuntu"),
    ("trixie-backports", "bookworm-backports"),
    debian_kernels,
    "apt-get install {}",
)
ROWS = (DEBIAN,)


def of_host() -> Distribution:
    """The row of this host; Debian's where none fits, as the names of packages are."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return DEBIAN
    ids = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((row for one in ids for row in ROWS if one in row.ids), DEBIAN)


def install(*packages: str) -> str:
    """The command that installs these packages (by Debian's names) on this host."""
    return of_host().install(*packages)
