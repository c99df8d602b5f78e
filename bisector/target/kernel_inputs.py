# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's build read, from what kbuild leaves in the object folder.

The compiler lists each file that it read; fixdep keeps that list in the object's ``.cmd`` file
(scripts/basic/fixdep.c), with the command, in which the files stand that sed, awk and their like were given. That holds
for C, assembler and their headers alone. Kconfig, Makefiles, tables, scripts and linker scripts are read in ways that
leave no list, and are few: each of them counts as read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from bisector.system.foreign import NotRegularFile, read_plain
from bisector.system.trees import walk
from bisector.target.ccache import Embeds
from bisector.target.inputs import Inputs, Places
from bisector.target.kconfig import final_values
from bisector.target.leftovers import COMMAND_LIMIT
from bisector.target.make import OBJECTS

KINDS = frozenset((".c", ".h", ".S"))
SELDOM = (".rs", ".dts", ".dtsi", ".dtso")
"""Kinds that are recorded as well, for which a build that has read none of them has no tool."""

WHOLE = ("scripts", "tools")
UNREAD = (
    "Documentation", "LICENSES", "tools/perf", "tools/testing",
    "*/MAINTAINERS", "*/CREDITS", "*/COPYING", "*/README", "*/.gitignore", "*/.mailmap", "*/.clang-format",
)  # fmt: skip
BUILD_FILES = ("Kconfig", "Kbuild", "Makefile")
HEADERS_READ = {
    "IKHEADERS": "kernel/gen_kheaders.sh packs every header",
    "HEADERS_INSTALL": "every header for user space is installed",
    "UAPI_HEADER_TEST": "every header for user space is compiled",
}
"""Options by which headers are read that nothing includes, and why."""

SOURCE_LIMIT = 4 << 20  # bytes
_WORD = re.compile(rb"[^\s\"'`();|<>&\\]+")
_WITHIN = re.compile(r"[=,]")  # between words of an option, and in names: dt-bindings/clock/qcom,rpmcc.h
_LISTED = re.compile(rb"^ +(\S+) \\$", re.MULTILINE)
_HAS_INCLUDE = re.compile(rb"__has_include(?:_next)?\s*\(\s*[<\"]([^>\"]+)[>\"]")


def kernel_inputs(
    objects: Path, tree: Path, arch: str, config: str, about: tuple[str, str, str], *, careful: bool = True
) -> Inputs:
    """What the build in the object folder ``objects`` of ``tree`` read.

    Args:
        arch: the folder of the architecture below arch/.
        config: the final .config.
        about: the tree's id, the name of the settings, and what was built.
        careful: whether the compiler's cache has looked at the preprocessed sources.

    Raises OSError; Embeds where it has not, and would have had to.
    """
    places, listed = Places(tree, OBJECTS), set[str]()
    for word in _words(objects, listed):
        places.take(word)
    read = frozenset(places.read)
    names, embedding = _looked_through(tree, read)
    if not careful and (included := min(_included(objects, tree, embedding, listed), default="")):
        raise Embeds(included)
    suffixes = {PurePosixPath(path).suffix for path in read}
    compiled = (path for path in read if not path.rpartition("/")[2].startswith(BUILD_FILES))
    folders = {str(folder) for path in compiled for folder in PurePosixPath(path).parents}
    others = [f"arch/{entry.name}" for entry in (tree / "arch").glob("*/") if entry.name != arch]
    return Inputs(
        *about,
        read=read,
        names=frozenset(places.names | names),
        kinds=KINDS | {kind for kind in SELDOM if kind not in suffixes},
        whole=(*WHOLE, *_read_whole(config, arch)),
        unread=tuple(each for each in (*UNREAD, *others) if each not in folders),
        unless=BUILD_FILES,
    )


def _words(objects: Path, listed: set[str]) -> Iterator[str]:
    """The words of all commands and lists of what was read, each once. Most lines stand in many lists.

    ``listed``: is given what stands in lists of fixdep: what an object was made of beside its source.
    """
    seen: set[bytes] = set()
    lines: set[bytes] = set()
    for folder, _, files in walk(objects):
        for file in files:
            if file.endswith((".cmd", ".d")):
                try:
                    text = read_plain(folder, file, COMMAND_LIMIT)
                except (NotRegularFile, FileNotFoundError):
                    continue
                others = set(text.split(b"\n")) - lines
                lines |= others
                joined = b"\n".join(others)
                listed |= set(map(os.fsdecode, _LISTED.findall(joined)))
                new = set(_WORD.findall(joined)) - seen
                seen |= new
                for word in new:
                    yield from _names(os.fsdecode(word))


def _names(word: str) -> Iterator[str]:
    """What may be a path in a word of a command, and words in one of an option. A name may hold a comma."""
    for part in {word, *word.split("="), *_WITHIN.split(word)} if _WITHIN.search(word) else (word,):
        name = part.removesuffix(":")
        yield from filter(None, (name, name[2:] if name.startswith(("-I", "-T")) else ""))


def _looked_through(tree: Path, read: Iterable[str]) -> tuple[set[str], set[str]]:
    """Of what was read: names that ``__has_include`` looks for, and the files that have the word incbin."""
    names, embedding = set(), set()
    for path in read:
        try:
            text = read_plain(tree, path, SOURCE_LIMIT)
        except (NotRegularFile, FileNotFoundError):
            continue
        names |= {os.fsdecode(name).rpartition("/")[2] for name in _HAS_INCLUDE.findall(text)}
        if b"incbin" in text and path.endswith(tuple(KINDS)):
            embedding.add(path)
    return names, embedding


def _included(objects: Path, tree: Path, embedding: set[str], listed: set[str]) -> Iterator[str]:
    """Of the files that embed others those that another one includes, whether or not they are compiled too: an object
    may be there from a tree that compiled it by itself."""
    last = {path.rpartition("/")[2] for path in embedding}
    included = Places(tree, OBJECTS)
    for word in listed:
        if word.rpartition("/")[2] in last:
            included.take(word)
    yield from (path for path in embedding if path in included.read or not _compiled(objects, path))


def _compiled(objects: Path, path: str) -> bool:
    """Whether a source was compiled by itself, into an object or a program of the host."""
    stem = objects / path.rpartition(".")[0]
    return path.endswith((".c", ".S")) and (stem.is_file() or stem.with_name(f"{stem.name}.o").is_file())


def _read_whole(config: str, arch: str) -> tuple[str, ...]:
    values = final_values(config)
    packed = any(values.get(option) in ("y", "m") for option in HEADERS_READ)
    return ("include", f"arch/{arch}/include") if packed else ()
