# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of tree that a watch can follow."""

from __future__ import annotations

from pathlib import Path

from bisector.interfaces import CancelToken
from bisector.nightly.config import Watch
from bisector.nightly.trees.linux_next import LinuxNext
from bisector.nightly.trees.stable_rc import StableRc
from bisector.nightly.trees.tree import Tree
from bisector.system.proc import Processes

KINDS = ("linux-next", "stable-rc")


def tree_of(watch: Watch, folder: Path, processes: Processes, cancel: CancelToken) -> Tree:
    """The tree that a watch follows. ``folder``: of the watch; the clone is in it. ``cancel``: ends a fetch."""
    if watch.tree == "stable-rc":
        return StableRc(folder / "stable-rc.git", watch.repo, processes, branch=watch.branch, cancel=cancel)
    return LinuxNext(folder / "linux-next.git", watch.repo, processes, cancel=cancel)
