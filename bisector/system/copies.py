# SPDX-License-Identifier: GPL-2.0-only
"""Copies of folders with all times, by the host's cp, which shares the blocks where the file system can."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bisector.system.proc import Processes
from bisector.system.sandbox import Access


def copy_tree(
    folder: Path, target: Path, processes: Processes, cancelled: Callable[[], bool], *, check: bool = True
) -> None:
    """Copy what is in ``folder`` into the folder ``target``; links are copied, none is followed.

    ``check``: raise ProcessFailed where something could not be copied. Raises ProcessCancelled.
    """
    argv = ["cp", "--archive", "--reflink=auto", f"{os.fspath(folder)}/.", os.fspath(target)]
    processes.run(argv, access=Access((target,), (folder,)), check=check, cancelled=cancelled)
