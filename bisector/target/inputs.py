# SPDX-License-Identifier: GPL-2.0-only
"""What a build read, and whether a change to its tree is read by it.

A record answers one question: would a build of another tree, with the same settings, have read the same bytes? "No" is
always allowed. "Yes" needs a reason for every path in which the two trees differ, so what is not known is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from bisector.interfaces import Change

PLAIN = ("000000", "100644", "100755")
"""Modes of a file, or of none, in a tree of git; the others are links and submodules."""


@dataclass(frozen=True)
class Inputs:
    """What one build read of its tree; all paths are relative to the tree.

    Args:
        tree: id of the tree that was built.
        fit: names config, tools and options of the build.
        candidate: what was built, as people name it.
        read: files that the build read.
        names: last parts of paths that a search for a header comes to, found or not; a new file of such a name may be
            found before the one that was read.
        kinds: suffixes (".c") of which every file that is read is in ``read``. Any other file counts as read.
        whole: folders of which every file counts as read.
        unread: folders, and files of any folder by their name (``*/NAME``), of which nothing is read.
        unless: last parts of paths, by their beginning, that count as read even below ``unread``.
    """

    tree: str
    fit: str
    candidate: str
    read: frozenset[str]
    names: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    whole: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    def as_json(self) -> str:
        """As ``from_json`` reads it."""
        rows = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(
            {name: sorted(value) if isinstance(value, frozenset) else value for name, value in rows.items()}
        )

    @classmethod
    def from_json(cls, text: str) -> Inputs:
        """Raises ValueError for what is none; so it is with one of a version that has other fields."""
        rows = json.loads(text)
        if not isinstance(rows, dict) or set(rows) != {field.name for field in fields(cls)}:
            raise ValueError("not a record of inputs")
        made: dict[str, Any] = {}
        for field in fields(cls):
            value = rows[field.name]
            one = isinstance(value, str)
            if one is not (field.type == "str") or not (one or all(isinstance(each, str) for each in value)):
                raise ValueError(f"{field.name} is not what a record of inputs has")
            made[field.name] = value if one else tuple(value) if "tuple" in str(field.type) else frozenset(value)
        return cls(**made)

    def why_read(self, change: Change) -> str | None:
        """Why the build of the changed tree may differ; None where it reads the same bytes."""
        path, name = change.path, PurePosixPath(change.path).name
        if path in self.read:
            return "it was read"
        if not path.isascii() or not path.isprintable():
            return "its name is not plain"
        if change.added_or_gone and name in self.names:
            return "a file of that name was searched for"
        if self._is_unread(path, name):
            return None
        if not {change.old_mode, change.new_mode} <= set(PLAIN):
            return "it is a link or a submodule"
        if below(path, self.whole):
            return "everything in its folder is taken for read"
        if PurePosixPath(name).suffix not in self.kinds:
            return "readers of such files are not recorded"
        if change.added_or_gone:
            return "names are searched for, and listed by wildcards"
        return None

    def first_read(self, changes: Iterable[Change]) -> tuple[str, str] | None:
        """The first change that may matter, as (path, why); None where the two builds read the same bytes."""
        for change in changes:
            if why := self.why_read(change):
                return change.path, why
        return None

    def _is_unread(self, path: str, name: str) -> bool:
        if name.startswith(self.unless):
            return False
        return below(path, self.unread) or f"*/{name}" in self.unread or path in self.unread


def below(path: str, folders: Iterable[str]) -> bool:
    """Whether ``path`` lies below one of the folders."""
    return any(path.startswith(f"{folder}/") for folder in folders)


class Places:
    """Sorts words of commands into files of a tree, and names of any file.

    The object folder stood at ``tree/inner`` when the commands ran.
    """

    def __init__(self, tree: Path, inner: str) -> None:
        self._inner = inner
        self._tree = os.path.realpath(tree)
        self.read: set[str] = set()
        self.names: set[str] = set()
        self._seen: set[str] = set()
        self._real_folder = cache(os.path.realpath)  # of thousands of files most share a folder

    def take(self, word: str) -> None:
        """Sort a word: a path from the object folder, from the tree or of this host, or anything else."""
        if not word:
            return
        self.names.add(word.rpartition("/")[2])
        for place in self._in_tree(word):
            if place in self._seen or place.startswith(("../", f"{self._inner}/")):
                continue
            self._seen.add(place)
            path = f"{self._tree}/{place}"
            if os.path.isfile(path):  # noqa: PTH113  # ten thousand times a build
                self.read.add(place)
                real = self._real(path)  # a folder on the way may be a link
                self.read.add(os.path.relpath(real, self._tree) if real.startswith(f"{self._tree}/") else place)

    def _in_tree(self, word: str) -> tuple[str, ...]:
        """What a word may name, from the tree; where it leaves it, it begins with "..", or there is nothing."""
        if word[0] != "/":
            return os.path.normpath(f"{self._inner}/{word}"), os.path.normpath(word)
        path = os.path.normpath(word)
        return (path[len(self._tree) + 1 :],) if path.startswith(f"{self._tree}/") else ()

    def _real(self, path: str) -> str:
        if os.path.islink(path):  # noqa: PTH114
            return os.path.realpath(path)
        folder, _, name = path.rpartition("/")
        return f"{self._real_folder(folder)}/{name}"
