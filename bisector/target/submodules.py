# SPDX-License-Identifier: GPL-2.0-only
"""What stands in for the parts of QEMU that its git tree names and does not hold: submodules, since 8.1 wraps.

A checkout of a revision alone has none of them, and nothing is downloaded. The programs that are built here need no
code of theirs. configure and meson ask for their files all the same; which ones is read from the tree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bisector.system.foreign import leads_out

_ASKED_FOR = re.compile(r"test -[ef] \"?\$\{?source_path\}?/([\w./-]+)/(README(?:\.\w+)?)\b")
"""configure looks at a submodule's README to see whether it is there: of ui/keycodemapdb to 8.0, of
subprojects/keycodemapdb since (c53648abba, 2019cabfee), between 2019cabfee and d2dfe0b506 of the testfloat, too."""

_KEYMAP_GEN = '''#!/usr/bin/env python3
"""Stands in for keymap-gen of keycodemapdb: writes a map that knows no key, in the form that QEMU includes."""
import sys

name = sys.argv[sys.argv.index("--varname") + 1]
print(f"const guint16 {name}[1] = {{ 0 }};")
print(f"const guint {name}_len = 0;")
'''
_KEYCODEMAPDB_MESON = """project('keycodemapdb')
keymap_gen = find_program('tools/keymap-gen')
keymaps_csv = files('data/keymaps.csv')
"""

_FLOAT_TESTS = Path("tests/fp/meson.build")
_FLOAT_PLACES = ("tests/fp/berkeley-testfloat-3/source", "subprojects/berkeley-testfloat-3/source")
_WRITTEN = 1_000_000_000  # seconds since 1970
_NO_FLOAT_TESTS = "# The submodules that these tests are made of are not in this tree: left out.\n"


def stand_in(tree: Path, configure: str) -> tuple[str, ...]:
    """Put what is missing into ``tree``. What lies in a submodule's folder may stay there over a checkout.

    Args:
        configure: the text of the tree's configure script.

    Returns what stood in, a line each, for the log of the build.
    """
    return (*_stand_in_for_readmes(tree, configure), *_leave_out_float_tests(tree))


def _stand_in_for_readmes(tree: Path, configure: str) -> Iterator[str]:
    for name, readme in dict.fromkeys(_ASKED_FOR.findall(configure)):
        folder = tree / name
        if leads_out(tree, folder / readme) or _has_content(folder / readme):
            continue
        _write(folder / readme, "")
        if folder.name == "keycodemapdb":
            _write_keycodemapdb(folder)
            yield f"{name} is not in this tree: in its place stands a map without keys"
        else:
            yield f"{name} is not in this tree: an empty {readme} stands in its place"


def _has_content(readme: Path) -> bool:
    """Whether it is a submodule's own: an empty one is ours, from an earlier build in this folder."""
    return readme.is_file() and readme.stat().st_size > 0


def _write_keycodemapdb(folder: Path) -> None:
    """The files of keycodemapdb that QEMU's build reads. To 6.0 it looks for the program also where no map is made."""
    if any(leads_out(folder, folder / name) for name in ("meson.build", "data/keymaps.csv", "tools/keymap-gen")):
        return
    _write(folder / "meson.build", _KEYCODEMAPDB_MESON)
    _write(folder / "data" / "keymaps.csv", "")
    _write(folder / "tools" / "keymap-gen", _KEYMAP_GEN)
    (folder / "tools" / "keymap-gen").chmod(0o755)


def _leave_out_float_tests(tree: Path) -> Iterator[str]:
    """The tests of floating point are made of two submodules whose files meson wants to see."""
    described = tree / _FLOAT_TESTS
    if (
        described.is_file()
        and not leads_out(tree, described)
        and not any((tree / place).is_dir() for place in _FLOAT_PLACES)
    ):
        _write(described, _NO_FLOAT_TESTS)
        yield "berkeley-testfloat-3 is not in this tree: its tests (tests/fp) are left out"


def _write(path: Path, text: str) -> None:
    """Write it with the same time in every build, so that ninja does not take it for changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (_WRITTEN, _WRITTEN))
