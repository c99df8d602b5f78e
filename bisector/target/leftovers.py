# SPDX-License-Identifier: GPL-2.0-only
"""Objects whose source is gone. See build_dirs.py for why they must not be seen by make.

Kbuild leaves a file ``.NAME.cmd`` beside each target ``NAME``: the command that made it, and for what a compiler made a
line ``source_TARGET := PATH`` (scripts/basic/fixdep.c). Headers that went away need nothing here: each object has them
as prerequisites without a rule, so make makes it anew. Programs below tools/ (objtool) are left alone: their build
system names sources relative to other places, and what they are made from is not part of the kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bisector.system.foreign import NotRegularFile, read_plain
from bisector.system.trees import walk
from bisector.target.ccache import HEADERS

_LAST_PART = re.compile(rb"/([\w.+,-]+)(?![\w./+,-])")
COMMAND_LIMIT = 4 << 20  # bytes of a command file, which lists the headers of its object too
NINJA_LIMIT = 256 << 20  # bytes of ninja's notes of headers

_SOURCE = re.compile(rb"^source_\S+ := (\S+)", re.MULTILINE)
_COMMAND = re.compile(rb"^(?:saved)?cmd_\S+ := (.*)", re.MULTILINE)
_IN_TREE = re.compile(rb"(?<![\w./=-])\.\./(?!\.\./)[\w./+,-]*[\w+]")  # kbuild calls the tree ".." (make.py)


def remove_leftovers(objects: Path, tree: Path, name: str) -> tuple[str, ...]:
    """Delete every target whose source is gone, and what was made from such a target in turn.

    Args:
        objects: the object folder; commands in it were given with its place being ``tree/name``.

    Returns the deleted targets, relative to ``objects``.
    """
    sources = {target: tuple(_sources(command)) for target, command in _commands(objects)}
    removed: list[str] = []
    while gone := [target for target, needed in sources.items() if not all(map(_Places(objects, tree, name), needed))]:
        for target in gone:
            (objects / target).unlink(missing_ok=True)
            _command_file(objects / target).unlink(missing_ok=True)
            del sources[target]
        removed += gone
    return tuple(sorted(removed))


def remove_shadowed(objects: Path, names: frozenset[str]) -> tuple[str, ...]:
    """Delete every target of whose command or list of headers a path ends in one of ``names``.

    Args:
        names: last parts of paths that the tree has now and had not when the objects were made. A header among them
            may be found before the one that was read, which make does not see.

    Returns the deleted targets, relative to ``objects``.
    """
    wanted = {os.fsencode(name) for name in names}
    removed = []
    for target, command in _commands(objects) if wanted else ():
        if not wanted.isdisjoint(_LAST_PART.findall(command)):
            (objects / target).unlink(missing_ok=True)
            _command_file(objects / target).unlink(missing_ok=True)
            removed.append(target)
    return tuple(sorted(removed))


def lists_header(objects: Path, names: frozenset[str]) -> bool:
    """Whether what ninja noted of headers, or a compiler for make, may have a path that ends in one of ``names``: more
    is not told apart. Of files that are not headers nothing is looked for."""
    wanted = [os.fsencode(name) for name in names if name.endswith(HEADERS)]
    for folder, _, files in walk(objects) if wanted else ():
        for file in files:
            if file == ".ninja_deps" or file.endswith(".d"):
                try:
                    noted = read_plain(folder, file, NINJA_LIMIT)
                except NotRegularFile:
                    return True
                if any(name in noted for name in wanted):
                    return True
    return False


class _Places:
    """Says whether a path in a command still stands for something."""

    def __init__(self, objects: Path, tree: Path, name: str) -> None:
        self._objects, self._tree, self._prefix = os.fspath(objects), os.fspath(tree), os.fspath(tree / name) + "/"

    def __call__(self, path: str) -> bool:
        if path.startswith("../"):
            return os.path.lexists(f"{self._tree}/{path[3:]}")
        return os.path.lexists(f"{self._objects}/{path.removeprefix(self._prefix)}")


def _commands(objects: Path) -> Iterator[tuple[str, bytes]]:
    """Target (relative to ``objects``) and contents of its command file."""
    for folder, folders, files in walk(objects):
        if folder == objects and "tools" in folders:
            folders.remove("tools")
        for file in files:
            if file.startswith(".") and file.endswith(".cmd"):
                try:
                    command = read_plain(folder, file, COMMAND_LIMIT)
                except NotRegularFile:
                    continue
                yield os.path.relpath(folder / file[1:-4], objects), command


def _sources(command: bytes) -> Iterator[str]:
    """What a target was made from: its source where fixdep noted one, else the tree's files that its command names."""
    if source := _SOURCE.search(command):
        yield os.fsdecode(source[1])
    elif line := _COMMAND.search(command):
        yield from (os.fsdecode(path) for path in _IN_TREE.findall(line[1]))


def _command_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.cmd")
