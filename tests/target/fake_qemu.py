# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU tree in small: its configure takes milliseconds, and what it writes is built by the real ninja and compiler.

What it shares with the real one, and tests rely on: configure is called from the object folder and names its source by
an absolute path; headers are found by that path; objects are made by mtime; a compiler writes its object in place.
meson and pkg-config only print their versions, so they are scripts here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bisector.interfaces import NEVER, CancelToken, Progress, ignore
from bisector.model import BuildFailure, Candidate, Image, TargetKind
from bisector.system.proc import Processes
from bisector.target.qemu_source import QemuSource
from tests.target.fake_kernel import FakeSources

CONFIGURE = r"""#!/bin/sh
marks=$CCACHE_DIR/marks-$(basename "$(cd ../.. && pwd)"); mkdir -p $marks
tree=$(cd "$(dirname "$0")" && pwd)
echo configured >> $marks/configured
for option in "$@"; do
  case $option in
    --cc=*) cc=${option#*=} ;;
    --extra-cflags=*) flags=${option#*=} ;;
    --extra-cflags=* | --meson=*) ;;
    --with-git-submodules=*) ;;
    --without-default-features) ;;
    --disable-system) ;;
    --disable-user) ;;
    --enable-tools) ;;
    --disable-docs) ;;
    --disable-debug-info) ;;
    --disable-werror) ;;
    --disable-install-blobs) ;;
    --with-pkgversion=*) ;;
    *) echo "ERROR: unknown option $option" >&2; exit 1 ;;
  esac
done
printf '%s\n' "$@" > options
if [ -e $tree/refuses ]; then cat $tree/refuses >&2; exit 1; fi
source_path=$tree
if ! test -f "$source_path/ui/keycodemapdb/README"; then echo "ERROR: missing GIT submodules"; exit 1; fi
{
  echo "rule cc"
  echo "  command = sh ../compile \$in \$out $cc -O1 $flags -iquote $tree/include -MD -MF \$out.d"
  echo "  depfile = \$out.d"
  echo "  deps = gcc"
  echo "  description = Compiling C object \$out"
  echo "rule link"
  echo "  command = $cc -o \$out \$in"
  for program in qemu-img qemu-io; do
    echo "build $program.o: cc ../$program.c"
    echo "build $program: link $program.o"
  done
} > build.ninja
printf '%%:\n\tninja $@\n' > Makefile
"""

COMPILE = r"""
source=$1 object=$2; shift 2
marks=$CCACHE_DIR/marks-$(basename "$(cd ../.. && pwd)"); mkdir -p $marks
echo $object >> $marks/compiled
if [ -e $marks/pause ] && grep -q PAUSE $source; then
  printf 'half an object' > $object
  touch $marks/reached
  while [ -e $marks/pause ]; do sleep 0.02; done
fi
exec "$@" -c $source -o $object
"""

PROGRAM = r"""
#include <stdio.h>
#include "where.h"
int main(void) { printf("%s\n", where()); return 0; }
"""
OTHER = PROGRAM.replace("where()", '"other"')

FILES = {
    "configure": CONFIGURE,
    "compile": COMPILE,
    "VERSION": "9.9.9\n",
    "meson.build": "project('fake')\n",
    "qemu-img.c": PROGRAM,
    "qemu-io.c": PROGRAM,
    "include/where.h": "static const char *where(void) { return __FILE__; }\n",
    "docs/index.rst": "words\n",
}

MESON = "#!/usr/bin/python3\nprint('1.0.1')\n"
PKG_CONFIG = "#!/bin/sh\ncase $2 in glib-2.0) echo 2.74.6 ;; zlib) echo 1.2.13 ;; *) exit 1 ;; esac\n"


class QemuSources(FakeSources):
    """As git leaves them: configure can be started."""

    def checkout(
        self, candidate: Candidate, folder: Path, cancel: CancelToken = NEVER, like: Path | None = None
    ) -> None:
        """Make ``folder`` hold exactly the tree."""
        super().checkout(candidate, folder, cancel, like)
        if (folder / "configure").exists():
            (folder / "configure").chmod(0o755)


@dataclass
class QemuSetup:
    """One place to build in, with everything that belongs to it below ``root``."""

    root: Path
    sources: QemuSources = field(default_factory=QemuSources)
    messages: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tools = self.root / "tools"
        if not self.tools.exists():
            self.tools.mkdir()
            self.tool("meson", MESON)
            self.tool("pkg-config", PKG_CONFIG)

    def tool(self, name: str, text: str) -> None:
        """Put a program first in PATH."""
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def candidate(self, revision: str = "one", files: dict[str, str] | None = None) -> Candidate:
        """A candidate whose tree has ``files`` over the usual ones."""
        tree = self.root / "upstream" / revision
        for name, text in (FILES | (files or {})).items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.sources.trees[revision] = tree
        return Candidate(TargetKind.QEMU_SOURCE, revision)

    def target(self, *programs: str, name: str = "a", path: str = "") -> QemuSource:
        """A target with its own build folders and cache below ``name``."""
        place = self.root / name
        environ = {**os.environ, "PATH": path or f"{self.tools}:{os.environ['PATH']}"}
        wanted = programs or ("qemu-img", "qemu-io")
        processes = Processes(place / "processes")
        return QemuSource(
            self.sources, place / "build-dirs", place / "cache", wanted, processes, jobs=2, environ=environ
        )

    def build(self, target: QemuSource, candidate: Candidate) -> Image:
        """An image, or the test fails with what the build said."""
        outcome = target.image(candidate, listener=self.messages.append, cancel=CancelToken())
        assert isinstance(outcome, Image), outcome
        return outcome

    def failure(self, target: QemuSource, candidate: Candidate) -> BuildFailure:
        """A failure, or the test fails."""
        outcome = target.image(candidate, listener=ignore, cancel=CancelToken())
        assert isinstance(outcome, BuildFailure), outcome
        return outcome

    def marks(self, name: str = "a") -> Path:
        """Where builds in the first build folder say what they do, and look whether they shall wait."""
        folder = self.root / name / "cache/ccache/marks-0"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def build_dir(self, name: str = "a") -> Path:
        """The first build folder's folder."""
        return self.root / name / "build-dirs" / "0"

    def count(self, what: str, name: str = "a") -> int:
        """How often something was done in the first build folder: ``compiled``, ``configured``."""
        file = self.marks(name) / what
        return len(file.read_text().splitlines()) if file.exists() else 0
