# SPDX-License-Identifier: GPL-2.0-only
"""Where our files live: the XDG base directories, from the environment that is passed in."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """``cache`` holds what can be made again (images); ``state`` holds campaigns and the store."""

    cache: Path
    state: Path


def folders(environ: Mapping[str, str]) -> Folders:
    """Our folders under XDG_CACHE_HOME and XDG_STATE_HOME, else under HOME. Nothing is created.

    A relative value is ignored, as the XDG Base Directory Specification asks.
    """
    home = Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)

    def base(variable: str, default: Path) -> Path:
        value = Path(environ.get(variable, ""))
        return (value if value.is_absolute() else default) / "bisector"

    return Folders(cache=base("XDG_CACHE_HOME", home / ".cache"), state=base("XDG_STATE_HOME", home / ".local/state"))


def private(folder: Path) -> str:
    """Make a folder that nobody else may look into, with what is above it; one that is there is tightened.

    What we keep holds the console of the host's kernel, file names and the person's recipes.
    Gives what was done to one that was open to others, in words, else "". Raises OSError when it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o777
    if not mode & 0o077:
        return ""
    try:
        folder.chmod(0o700)
    except OSError as error:
        return f"{folder} is open to other users and stays so: {error.strerror or error}"
    return f"{folder} was open to other users (mode {mode:o}); only you may look into it now (mode 700)"
