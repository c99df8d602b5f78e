# SPDX-License-Identifier: GPL-2.0-only
"""Files in a folder that code of others could write: opened without following a link, and only as plain files.

A build can leave a link to any file of the host where we look for its result, or a device that never ends.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotRegularFile(OSError):
    """What was found is a link, a folder, a device, or too large."""


def open_plain(folder: Path, name: str) -> BinaryIO:
    """Open the file ``name``, a relative path, below ``folder``; no part of it may be a link.

    Raises FileNotFoundError, NotRegularFile, other OSError.
    """
    *parents, last = Path(name).parts
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parents:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=place)
            os.close(place)
            place = inner
        file = os.fdopen(os.open(last, os.O_RDONLY | _FLAGS, dir_fd=place), "rb")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR):
            raise NotRegularFile(error.errno, "not a plain file", str(folder / name)) from error
        raise
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegularFile(errno.EINVAL, "not a plain file", str(folder / name))
    return file


def read_plain(folder: Path, name: str, limit: int) -> bytes:
    """The content of a file of at most ``limit`` bytes. Raises as ``open_plain``."""
    with open_plain(folder, name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotRegularFile(errno.EFBIG, f"larger than {limit} bytes", str(folder / name))
    return data


def copy_plain(folder: Path, name: str, target: Path, limit: int) -> None:
    """Copy a file of at most ``limit`` bytes to ``target``, which must be ours alone. Raises as ``open_plain``."""
    with open_plain(folder, name) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise NotRegularFile(errno.EFBIG, f"larger than {limit} bytes", str(folder / name))
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)


def is_folder(path: Path) -> bool:
    """Whether it is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def leads_out(folder: Path, path: Path) -> bool:
    """Whether ``path``, below ``folder`` by its name, lies elsewhere by its links, or is a link to nothing."""
    real = Path(os.path.realpath(path))
    return not real.is_relative_to(os.path.realpath(folder)) or (path.is_symlink() and not path.exists())


def write_plain(folder: Path, name: str, text: str) -> None:
    """Replace the file ``name``, which is directly below ``folder``, whatever stands there; a link is not followed."""
    handle, draft = tempfile.mkstemp(prefix=".new-", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(draft).chmod(0o644)
    Path(draft).rename(folder / name)
