# SPDX-License-Identifier: GPL-2.0-only
"""A worktree's tree folder made to hold exactly one tree, touching only the files that differ.

An index of its own stands beside (not in) the folder: git compares it with the files by stat(2), as `git status` does.
That is trusted only while every earlier checkout ended and the machine has not gone down meanwhile; else the contents
are hashed.

Files have the bytes that the tree holds, whatever its .gitattributes say of line ends, $Id$ and encodings: git applies
these to the files that it writes, so that a folder would depend on which tree was in it before.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bisector.errors import InfraError
from bisector.interfaces import CancelToken
from bisector.system.copies import copy_tree
from bisector.system.foreign import write_plain
from bisector.system.locks import clear_stale, locked
from bisector.system.proc import Processes, ProcessResult

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

ATTRIBUTES = "* -text !eol !ident !filter !working-tree-encoding\n"
"""In info/attributes of a repository, which goes before a tree's own (gitattributes(5))."""

TRIES, PAUSE = 20, 0.2  # seconds between two tries to take git's lock


class _Git(Protocol):
    @property
    def git_dir(self) -> Path: ...

    def run(
        self,
        *arguments: str,
        codes: tuple[int, ...] = (0,),
        env: dict[str, str] | None = None,
        writable: tuple[Path, ...] = (),
    ) -> ProcessResult: ...


@dataclass(frozen=True)
class Worktree:
    """A tree folder and what we know of it in ``notes``: ``index``, ``folder`` (its path), ``done`` (see put)."""

    folder: Path
    notes: Path
    git: _Git

    @classmethod
    def at(cls, folder: Path, all_notes: Path, git: _Git) -> Worktree:
        """The worktree of ``folder``. Raises InfraError when the folder holds something that is not ours."""
        folder = Path(os.path.realpath(folder))
        notes = all_notes / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        with _writing(folder):
            return cls._at(folder, notes, git)

    @classmethod
    def _at(cls, folder: Path, notes: Path, git: _Git) -> Worktree:
        if not notes.exists() and folder.exists() and any(folder.iterdir()):
            raise InfraError(
                f"{folder} is in use: it holds files, and is no worktree", hint="empty it, or name another"
            )
        notes.mkdir(parents=True, exist_ok=True)
        (notes / "folder").write_bytes(os.fsencode(folder))
        return cls(folder, notes, git)

    def begin_like(self, other: Path, processes: Processes, cancel: CancelToken) -> None:
        """Begin with a copy of another checkout's files, with their times, where there are none yet.

        ``put`` makes them right, also where not all could be copied. Raises InfraError, Interrupted.
        """
        with locked(self.notes / "lock"), _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not any(self.folder.iterdir()):
                (self.notes / "done").unlink(missing_ok=True)  # what the index says is of other files
                copy_tree(other, self.folder, processes, cancel.cancelled, check=False)

    def put(self, tree: str) -> None:
        """Make the folder hold exactly ``tree``. Files that are right already keep their mtime; others get a new one.

        Raises InfraError, and Interrupted where git's token is set. After that, and after a kill -9 at any moment,
        the next call still ends exactly right.
        """
        done = self.notes / "done"  # the boot during which the last checkout ended
        with locked(self.notes / "lock"), _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _leave_bytes_alone(self.git.git_dir / "info")
            clear_stale([self.notes / "index.lock"])
            if not self._trusted(done):
                self._from_contents(tree)
            done.unlink(missing_ok=True)
            # --reset takes the tree's side wherever index or file differ from it, also against untracked files.
            self._git("read-tree", "--reset", "-u", tree)
            self._git("clean", "-ffdxq")
            done.write_text(_boot(), encoding="utf-8")

    def _trusted(self, done: Path) -> bool:
        try:
            return done.read_text(encoding="utf-8") == _boot() and (self.notes / "index").exists()
        except OSError:
            return False

    def _from_contents(self, tree: str) -> None:
        """An index that knows each file by its hash, not by an old stat. Costs a read of the whole folder.

        Files that hold what ``tree`` wants are thereby recognised and keep their mtime.
        """
        (self.notes / "index").unlink(missing_ok=True)
        if any(self.folder.iterdir()):
            self._git("read-tree", tree)
            self._git("update-index", "-q", "--ignore-missing", "--refresh", codes=(0, 1))  # 1: some file differs

    def _git(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
        env = {"GIT_INDEX_FILE": os.fspath(self.notes / "index"), "GIT_WORK_TREE": os.fspath(self.folder)}
        for left in reversed(range(TRIES)):
            try:
                place = os.fspath(self.folder)
                self.git.run("-C", place, *arguments, codes=codes, env=env, writable=(self.folder, self.notes))
                return
            except InfraError as error:
                if "index.lock" not in error.hint or not left:
                    raise
                # A git of a campaign that was killed this very moment has taken it; its guard is ending it.
                time.sleep(PAUSE)
                clear_stale([self.notes / "index.lock"])


def _leave_bytes_alone(info: Path) -> None:
    place = info / "attributes"
    if not place.is_file() or place.read_text(encoding="utf-8", errors="replace") != ATTRIBUTES:
        info.mkdir(exist_ok=True)
        write_plain(info, place.name, ATTRIBUTES)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfraError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}", hint="is the disk full?"
        ) from error


def _boot() -> str:
    return BOOT_ID.read_text(encoding="utf-8").strip()
