# SPDX-License-Identifier: GPL-2.0-only
"""Folders that somebody else may have filled (a guest, a hostile tree's build): removed and walked, whatever is there.

``shutil.rmtree``, ``os.walk`` and ``Path.rglob`` of Python 3.11 call themselves once a level, so that a folder 1,000
deep ends them with RecursionError; paths stop at 4,096 bytes (PATH_MAX).
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

AT_ONCE = 10_000  # names of a folder that are held in memory
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, *, ignore_errors: bool = False) -> None:
    """Remove the folder ``path`` and all below it, at any depth, with two open folders at a time.

    No link is followed, and nothing outside of it is touched, also when somebody changes it meanwhile: every step is
    relative to an open folder. A folder inside is emptied after its own folders were moved up beside it, so that there
    is no depth to walk. What cannot be removed stays, and all else is gone; then OSError is raised, of the first one.

    Args:
        ignore_errors: raise nothing.
    """
    errors: list[OSError] = []
    try:
        top = os.open(path, _FOLDER)
        try:
            _empty(top, errors)
        finally:
            os.close(top)
        path.rmdir()
    except OSError as error:
        errors.append(error)
    if errors and not ignore_errors:
        raise errors[0]


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As ``os.walk``: each folder with the names of its folders and of all else in it, at any depth.

    Names are sorted; taken out of the first list, a folder is not entered. No link is followed, and what vanishes or
    cannot be read is empty.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        folders.sort()
        files.sort()
        yield here, folders, files
        waiting += [here / name for name in reversed(folders)]


def paths_below(folder: Path) -> Iterator[Path]:
    """Everything below ``folder``, at any depth; a folder comes before what is in it."""
    for here, folders, files in walk(folder):
        yield from (here / name for name in (*folders, *files))


def _empty(top: int, errors: list[OSError]) -> None:
    """Remove all in the open folder ``top``, until no round gets any further."""
    while names := _names(top):
        failed = []
        for name in names:
            try:
                _remove_entry(name, top)
            except OSError as error:
                failed.append(error)
        if len(failed) == len(names):
            errors += failed[:1]
            return


def _remove_entry(name: str, top: int) -> None:
    try:
        os.unlink(name, dir_fd=top)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # EISDIR, or EPERM by POSIX: a folder
        if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
            raise
    _let_in(name, top)
    inside = os.open(name, _FOLDER, dir_fd=top)
    try:
        _lift(inside, top)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=top)


def _lift(inside: int, top: int) -> None:
    """Remove the files of the open folder ``inside`` and move its folders up into ``top``. Raises OSError."""
    while names := _names(inside):
        for name in names:
            try:
                os.unlink(name, dir_fd=inside)
            except FileNotFoundError:
                continue
            except (IsADirectoryError, PermissionError):
                _let_in(name, inside)  # a folder is moved by whoever may write it
                os.rename(name, f".gone-{secrets.token_hex(12)}", src_dir_fd=inside, dst_dir_fd=top)


def _let_in(name: str, folder: int) -> None:
    """Give us the rights to a folder inside the open one ``folder``; follows no link, and a failure shows later."""
    with suppress(OSError):
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, AT_ONCE)]
