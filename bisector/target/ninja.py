# SPDX-License-Identifier: GPL-2.0-only
"""How QEMU's configure and ninja are called: pure argument lists and environment.

The object folder is a subfolder of the source tree, and configure is called from inside it as "../configure". It names
its source by an absolute path all the same; that path is taken out of what the compiler writes, so that two seats give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import UsageError
from bisector.target import make

SYSTEM = "qemu-system-x86_64"
TARGETS = {
    "qemu-img": "qemu-img",
    "qemu-io": "qemu-io",
    "qemu-nbd": "qemu-nbd",
    "qemu-storage-daemon": "storage-daemon/qemu-storage-daemon",
    SYSTEM: SYSTEM,
}
"""The programs that can be asked for, and what ninja calls them."""

_ALWAYS = (
    "--without-default-features",
    "--disable-user",
    "--enable-tools",
    "--disable-docs",
    "--disable-debug-info",
    "--disable-werror",  # a newer compiler warns of what older revisions do
    "--disable-install-blobs",  # a source package may come without the firmware; what is needed is copied
    "--with-pkgversion=bisector",  # else git describe of whatever repository stands around the tree
)
_TOOLS_ONLY = ("--disable-system",)
_SYSTEM = ("--target-list=x86_64-softmmu", "--enable-tcg", "--enable-kvm", "--enable-fdt=system")
_SINCE = ("--disable-install-blobs", "--with-git-submodules", "--meson=")  # not known to every revision


@dataclass(frozen=True)
class Ninja:
    """One way to build QEMU.

    Args:
        programs: keys of TARGETS.
        jobs: parallel jobs.
        compiler: the C compiler's name.
        meson: path of the meson to use; ``python``: the interpreter that it belongs to, "" when it is none's.
        ccache: the program, "" when there is none.
    """

    programs: tuple[str, ...]
    jobs: int = 1
    compiler: str = "gcc"
    meson: str = "meson"
    python: str = ""
    ccache: str = ""

    def __post_init__(self) -> None:
        for name in self.programs:
            if name not in TARGETS:
                raise UsageError(f"{name} is no program that is built of QEMU", hint=f"known: {', '.join(TARGETS)}")

    @property
    def system(self) -> bool:
        """Whether the emulator itself is asked for, which is four times as much to compile."""
        return SYSTEM in self.programs

    @property
    def wishes(self) -> tuple[str, ...]:
        """What configure is asked for, apart from where the tools lie: it decides what is built."""
        return (*_ALWAYS, *(_SYSTEM if self.system else _TOOLS_ONLY))

    def configure(self, tree: Path, known: str) -> list[str]:
        """The command that configures, for a working folder that is the object folder.

        Args:
            tree: the source.
            known: the text of its configure script and of what it includes: options that it does not know are left out.
        """
        wishes = [wish for wish in self.wishes if wish not in _SINCE or wish in known]
        if "--with-git-submodules" in known:  # to 8.0; later ones fetch nothing that these programs need
            wishes.append("--with-git-submodules=ignore")
        # Since 8.1 configure takes meson out of a Python's packages, and knows no --meson.
        meson = f"--meson={self.meson}" if "--meson=" in known else f"--python={self.python}" if self.python else ""
        compiler = f"{self.ccache} {self.compiler}".strip()
        mapped = f"--extra-cflags=-ffile-prefix-map={tree}=."
        return ["../configure", f"--cc={compiler}", *([meson] if meson else []), *wishes, mapped]

    def build(self) -> list[str]:
        """The command that builds, for the same working folder."""
        return ["ninja", f"-j{self.jobs}", *(TARGETS[name] for name in self.programs)]


def environment(environ: Mapping[str, str], ccache_folder: Path, tree: Path) -> dict[str, str]:
    """The whole environment of configure and ninja, from ours; seats share what ccache knows."""
    return make.environment(environ, ccache_folder) | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
