# SPDX-License-Identifier: GPL-2.0-only
"""How the kernel's make is called: pure argument lists and environment, the same for the same source anywhere.

The object folder is a subfolder of the source tree while make runs. Kbuild then names the source ".." (its top
Makefile: "Building in a subdirectory of the source"), so that no absolute path reaches the compiler: two build
folders give the same bytes, share their ccache hits, and __FILE__ does not say where a kernel was built.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import UsageError
from bisector.layers import arch
from bisector.recipe.words import MAKE_VARIABLES, unsafe

OBJECTS = ".objects"  # name of the object folder inside the tree; every kernel's .gitignore covers ".*"

# Documentation/kbuild/reproducible-builds.rst. LOCALVERSION set but empty keeps scripts/setlocalversion from asking
# git; the build number would count up otherwise.
_FIXED = (
    ("LOCALVERSION", ""),
    ("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC"),
    ("KBUILD_BUILD_USER", "bisector"),
    ("KBUILD_BUILD_HOST", "bisector"),
    ("KBUILD_BUILD_VERSION", "1"),
)
_OURS = ("O", "M", "KBUILD_OUTPUT", "KCONFIG_CONFIG", "KCONFIG_ALLCONFIG", "INSTALL_MOD_PATH", "MAKEFLAGS")
_INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Make:
    """One way to call make. ``variables`` are the user's; ``ccache`` is the program, "" when there is none."""

    variables: tuple[tuple[str, str], ...] = ()
    jobs: int = 1
    ccache: str = ""

    def __post_init__(self) -> None:
        for name, value in self.variables:
            if name in _OURS:
                raise UsageError(f"make variable {name} is set by bisector itself", hint=f"remove {name} from make:")
            if name not in MAKE_VARIABLES:
                raise UsageError(f"{name!r} is no variable for make", hint=f"known: {', '.join(MAKE_VARIABLES)}")
            if found := unsafe(value)[1]:
                raise UsageError(f"make variable {name}: {found!r} in {value!r}", hint="it could become a command")

    @property
    def architecture(self) -> arch.Architecture:
        """The architecture named by ARCH, else this machine's. Raises UsageError for an unknown one."""
        name = dict(self.variables).get("ARCH") or platform.machine()
        found = arch.named(name)
        if found is None:
            known = dict.fromkeys(key for row in arch.ROWS for key in (row.name, row.arch))
            raise UsageError(f"kernels for {name} are not known", hint=f"known: {', '.join(known)}")
        return found

    @property
    def compiler(self) -> tuple[str, ...]:
        """The C compiler that kbuild would take, as its top Makefile chooses (CC, LLVM, CROSS_COMPILE)."""
        return self._tool("CC", "clang", "gcc")

    @property
    def linker(self) -> tuple[str, ...]:
        """The linker that kbuild would take."""
        return self._tool("LD", "ld.lld", "ld")

    def _tool(self, variable: str, llvm_name: str, gnu_name: str) -> tuple[str, ...]:
        given = dict(self.variables)
        if given.get(variable):
            return tuple(shlex.split(given[variable]))
        llvm = given.get("LLVM", "")
        if llvm:  # LLVM=1, LLVM=-18 (suffix), LLVM=/opt/llvm/bin/ (prefix): Documentation/kbuild/llvm.rst
            prefix = llvm if llvm.endswith("/") else ""
            suffix = llvm if llvm.startswith("-") else ""
            return (f"{prefix}{llvm_name}{suffix}",)
        return (given.get("CROSS_COMPILE", "") + gnu_name,)

    def argv(self, tree: Path, *targets: str, settings: Mapping[str, str] | None = None) -> list[str]:
        """The command that makes ``targets`` of ``tree`` in its object folder; ``settings`` are more variables."""
        values = dict(_FIXED) | dict(self.variables)
        if self.ccache and Path(self.compiler[0]).name != "ccache":
            values["CC"] = shlex.join([self.ccache, *self.compiler])
        values |= settings or {}
        assignments = [f"{name}={value}" for name, value in values.items()]
        return ["make", "-C", str(tree), f"O={OBJECTS}", f"-j{self.jobs}", *assignments, *targets]


def environment(environ: Mapping[str, str], ccache_folder: Path) -> dict[str, str]:
    """The whole environment of make, from ours.

    A person's MAKEFLAGS, KCFLAGS, ARCH or CCACHE_* would change the kernel without a trace: only what finds programs is
    taken over. ccache reads no configuration but these variables.
    """
    inherited = {name: environ[name] for name in _INHERITED if name in environ}
    paths = inherited.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return inherited | {
        "PATH": ":".join([*paths, *(path for path in ("/usr/sbin", "/sbin") if path not in paths)]),  # depmod
        "LC_ALL": "C",
        "TZ": "UTC",
        "CCACHE_DIR": str(ccache_folder),
        "CCACHE_CONFIGPATH": os.devnull,  # not in the folder, which builds can write
        "CCACHE_MAXSIZE": "10G",
        # CCACHE_DEPEND never for all: without a look at the preprocessed source ccache does not see .incbin, and
        # piggy.S, whose text names the compressed kernel by its sizes alone, gave an earlier kernel of the same sizes
        # (seen: a child of the culprit that booted as a good commit). ccache.py says where it is safe.
        "CCACHE_NAMESPACE": "2",  # what was stored in that mode is not found any more
    }
