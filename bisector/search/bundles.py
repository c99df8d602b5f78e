# SPDX-License-Identifier: GPL-2.0-only
"""Source trees that go from a campaign's clone to another machine, as git bundles on top of what that one holds.

A build needs a tree and no history. So a bundle holds a commit of our own that names the tree, and what it needs of
git's objects beyond the trees that are there already. The names of such commits depend on the tree alone (``anchor``):
both sides compute them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import InfraError
from bisector.interfaces import NEVER, CancelToken, Change
from bisector.model import Candidate
from bisector.search.clone import SETTINGS, Git, PrivateClone, tree_changes
from bisector.search.worktree import Worktree
from bisector.system.locks import locked
from bisector.system.proc import Processes, ProcessFailed
from bisector.system.sandbox import HOST
from bisector.system.trees import remove_tree

HELD = "refs/trees"  # in a store: a ref for each tree, by its id
SENT = "refs/bisector/sent"  # in a campaign's clone, while a bundle is made
BASES = 8  # trees of the other side that a bundle may build on


def anchor(git: Git, tree: str, *parents: str) -> str:
    """A commit that names the tree; without parents the same one on every machine."""
    on_top = [word for parent in parents for word in ("-p", parent)]
    return git.ask("commit-tree", "-m", "tree", *on_top, tree)


def make_bundle(clone: PrivateClone, tree: str, held: Iterable[str], place: Path, cancel: CancelToken = NEVER) -> None:
    """Write a bundle of ``tree`` to the file ``place``. Raises InfraError, Interrupted.

    Args:
        held: trees that the other side holds, the best to build on first; those that the clone does not know are no
            help.
    """
    git = clone.git
    known = [each for each in held if git.run("cat-file", "-e", each, codes=(0, 1, 128)).returncode == 0]
    bases = [anchor(git, each) for each in known[:BASES]]
    ref = f"{SENT}/{secrets.token_hex(8)}"
    git.run("update-ref", ref, anchor(git, tree, *bases))
    try:
        argv = ["bundle", "create", "--quiet", os.fspath(place), ref, *(f"^{base}" for base in bases)]
        git.stopped_by(cancel).run(*argv)
    finally:
        with clone.changing():
            git.run("update-ref", "-d", ref)


@dataclass(frozen=True)
class TreeStore:
    """Trees that came from elsewhere, in a bare repository of a worker's cache. ``folder`` is named by chance: build
    folders of an earlier store, whose files the new one does not know, are not taken for its own."""

    folder: Path
    processes: Processes

    @classmethod
    def of(cls, cache: Path, processes: Processes) -> TreeStore:
        """The store below our cache folder, made where there is none. Raises InfraError."""
        stores = cache / "trees"
        with locked(stores / ".lock"):
            for found in sorted(stores.glob("*/repo.git")):
                os.utime(found.parent)
                return cls(found.parent, processes)
            folder = stores / secrets.token_hex(4)
            _make(stores / f".{folder.name}", processes).rename(folder)
        return cls(folder, processes)

    @property
    def git(self) -> Git:
        """git in the store."""
        return Git(self.folder / "repo.git", self.processes)

    def trees(self) -> tuple[str, ...]:
        """Ids of the trees that are here."""
        listed = self.git.ask("for-each-ref", "--format=%(refname)", HELD).split()
        return tuple(name.rpartition("/")[2] for name in listed)

    def take(self, bundle: Path, tree: str, cancel: CancelToken = NEVER) -> None:
        """Take in a tree. Raises Interrupted, InfraError for a bundle that is damaged or builds on what is not here."""
        git = self.git.stopped_by(cancel)
        try:
            git.run("bundle", "unbundle", os.fspath(bundle))
            commit = anchor(git, tree)
            git.run("rev-list", "--objects", "--quiet", commit, "--not", f"--glob={HELD}/*")
            git.run("update-ref", f"{HELD}/{tree}", commit)
        except ProcessFailed as error:
            what = f"the tree {tree[:12]} did not arrive: {error.finished.stdout.strip()[-300:]}"
            raise InfraError(what, hint="repeat it; bisector cache --prune 0 removes what came before") from error

    def source(self, tree: str) -> StoredTree:
        """The one tree as what a target builds from."""
        return StoredTree(self, tree)


@dataclass(frozen=True)
class StoredTree:
    """Implements interfaces.Sources for one tree: its candidate's edits are part of it already."""

    store: TreeStore
    tree: str

    def tree_of(self, candidate: Candidate) -> str:
        """Id of the tree."""
        return self.tree

    def checkout(
        self, candidate: Candidate, folder: Path, cancel: CancelToken = NEVER, like: Path | None = None
    ) -> None:
        """Make ``folder`` hold exactly the tree; see interfaces.Sources. Raises InfraError, Interrupted."""
        self.store.processes.reap_orphans()
        worktree = Worktree.at(folder, self.store.folder / "worktrees", self.store.git.stopped_by(cancel))
        if like:
            worktree.begin_like(like, self.store.processes, cancel)
        worktree.put(self.tree)

    def changes(self, old: str, new: str) -> tuple[Change, ...] | None:
        """The paths in which two trees differ; None where one of them did not come here."""
        return tree_changes(self.store.git, old, new)


def _make(draft: Path, processes: Processes) -> Path:
    """An empty store in the folder ``draft``."""
    try:
        remove_tree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        git = Git(draft / "repo.git", processes)
        argv = ["git", "init", "--quiet", "--bare", "--template=", os.fspath(git.git_dir)]
        processes.run(argv, access=HOST, cwd=draft, env=git.environment)
        for setting in SETTINGS:
            git.run("config", *setting.split("=", 1))
    except OSError as error:
        raise InfraError(f"{draft} cannot be written: {error.strerror or error}") from error
    return draft
