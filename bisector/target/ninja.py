# SPDX-License-Identifier: GPL-2.0-only
"""How QEMU's configure and ninja are called: pure argument lists and environment.

The object folder is a subfolder of the source tree, and configure is called from inside it as "../configure". It names
its source by an absolute path all the same; that path is taken out of what the compiler writes, so that two build
folders give the same bytes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import UsageError
from bisector.layers import arch
from bisector.target import make

SYSTEM = arch.VM.qemu
TARGETS = {
    "qemu-img": "qemu-img",
    "qemu-io": "qemu-io",
    "qemu-nbd": "qemu-nbd",
    "qemu-storage-daemon": "storage-daemon/qemu-storage-daemon",
    SYSTEM: SYSTEM,
}
"""The programs that can be named, and what ninja calls them."""

_BY_MAKE = {"qemu-storage-daemon": "qemu-storage-daemon", SYSTEM: f"{arch.VM.softmmu}/{SYSTEM}"}
"""Where make puts them, to 5.1, if elsewhere."""

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
_SYSTEM = (f"--target-list={arch.VM.softmmu}", "--enable-tcg", "--enable-kvm", "--enable-fdt=system")
_NO_DOWNLOADS = (
    "--with-git-submodules=ignore",  # 6.0 (7d7dbf9dc15b) to 8.0
    "--disable-git-update",  # 2.10 to 6.0, where it came to mean another thing: not beside the one above
    "--disable-pypi",  # while 8.1 was made (0c5f3dcbb2), then:
    "--disable-download",
)
_FEATURES = re.compile(r"^Optional features, enabled with.*?^NOTE:", re.DOTALL | re.MULTILINE)
_NOT_OPTIONAL = ("system", "tools", "coroutine-pool")  # what is built, and how it runs
_FEATURE = re.compile(r"^  ([a-z][\w-]*)  +\S", re.MULTILINE)


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
        """Whether the emulator itself is wanted, which is four times as much to compile."""
        return SYSTEM in self.programs

    @property
    def wishes(self) -> tuple[str, ...]:
        """The options of configure, apart from where the tools lie: it decides what is built."""
        return (*_ALWAYS, *(_SYSTEM if self.system else _TOOLS_ONLY))

    def configure(self, tree: Path, known: str) -> list[str]:
        """The command that configures, for a working folder that is the object folder.

        Args:
            tree: the source.
            known: the text of its configure script and of what it includes: options that it does not know are left out.
        """
        compiler = f"{self.ccache} {self.compiler}".strip()
        options = (self._meson(known), *self.wishes, *_no_downloads(known))
        return [
            "../configure",
            f"--cc={compiler}",
            *_features_off(known),  # first: what comes later has the last word
            *(option for option in options if knows(known, option)),
            f"--extra-cflags={_mapped(tree)}",
        ]

    def described(self, tree: Path) -> tuple[str, ...]:
        """The two commands, as one would type them, for any revision: "[A | B]" is what its configure knows of them."""
        meson = f"[--meson={self.meson} | --python={self.python or 'PYTHON'}]"
        compiler = shlex.quote(f"--cc={f'{self.ccache} {self.compiler}'.strip()}")
        no_downloads = f"[{' | '.join(_NO_DOWNLOADS)}]"
        words = ["../configure", compiler, meson, *self.wishes, no_downloads, f"--extra-cflags={_mapped(tree)}"]
        return tuple(
            f"cd {tree / make.OBJECTS} && {command}" for command in (" ".join(words), shlex.join(self.build()))
        )

    def _meson(self, known: str) -> str:
        """The option that names the installed meson. Since 8.1 configure takes it out of a Python's packages."""
        return f"--meson={self.meson}" if knows(known, "--meson=") else f"--python={self.python}" if self.python else ""

    def build(self, *, by_make: bool = False) -> list[str]:
        """The command that builds, for the same working folder. ``by_make``: the tree is one without meson, to 5.1."""
        if by_make:  # whose rule for the emulator is that of its folder
            wanted = (
                f"{arch.VM.softmmu}/all" if name == SYSTEM else self.file(name, by_make=True) for name in self.programs
            )
            return ["make", f"-j{self.jobs}", *wanted]
        return ["ninja", f"-j{self.jobs}", *map(self.file, self.programs)]

    @staticmethod
    def file(program: str, *, by_make: bool = False) -> str:
        """Where the program appears below the object folder."""
        return _BY_MAKE.get(program, program) if by_make else TARGETS[program]


def environment(environ: Mapping[str, str], ccache_folder: Path, tree: Path) -> dict[str, str]:
    """The whole environment of configure and ninja, from ours; build folders share what ccache knows."""
    return make.environment(environ, ccache_folder) | {"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}


def _mapped(tree: Path) -> str:
    """Takes the place of the tree out of what the compiler writes."""
    return f"-ffile-prefix-map={tree}=."


def knows(known: str, option: str) -> bool:
    """Whether the text of a configure script has a case for ``option`` (a value behind "=" does not count)."""
    name, equals, value = option.partition("=")
    wanted = rf"=(?:\*|{re.escape(value)})" if equals else ""
    return bool(name) and re.search(rf"(?:^|[\s|]){re.escape(name)}{wanted}\s*[)|]", known, re.MULTILINE) is not None


def _no_downloads(known: str) -> tuple[str, ...]:
    return tuple(option for option in _NO_DOWNLOADS if knows(known, option))[:1]


def _features_off(known: str) -> Iterator[str]:
    """Turns off what the help calls optional, for a configure that knows no --without-default-features (to 5.2)."""
    listed = _FEATURES.search(known)
    if listed and not knows(known, "--without-default-features"):
        for name in _FEATURE.findall(listed[0]):
            if knows(known, f"--disable-{name}") and name not in _NOT_OPTIONAL:
                yield f"--disable-{name}"
