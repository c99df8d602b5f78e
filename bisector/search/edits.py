# SPDX-License-Identifier: GPL-2.0-only
"""Fixups and reverts laid over a revision, computed as trees: no worktree, no index, nothing to clean up."""

from __future__ import annotations

from typing import Protocol

from bisector.interfaces import EditsDoNotApply
from bisector.model import Candidate, Edit, EditKind
from bisector.search.gitrepo import History
from bisector.system.proc import ProcessResult

CONFLICT = 1  # exit code of git merge-tree --write-tree (git-merge-tree(1))
SHOWN = 3  # conflicting files named in the error


class _Git(Protocol):
    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> ProcessResult: ...
    def ask(self, *arguments: str) -> str: ...


def edited_tree(git: _Git, history: History, candidate: Candidate) -> str:
    """Id of the tree of the candidate's revision with its edits applied in order.

    A fixup that the revision already holds changes nothing; a commit that is to be applied for what it changes must
    change something. A merge is taken against its first parent. Raises EditsDoNotApply; InfraError when a commit is
    not there.
    """
    tree = history.tree(candidate.revision)
    for edit in candidate.edits:
        if edit.kind != EditKind.REVERT and history.is_ancestor(edit.commit, candidate.revision):
            if edit.kind == EditKind.APPLY:
                raise EditsDoNotApply(f"apply of {history.commit(edit.commit)}: {candidate} holds it already")
            continue
        tree = _apply(git, history, tree, edit, candidate)
    return tree


def _apply(git: _Git, history: History, tree: str, edit: Edit, candidate: Candidate) -> str:
    commit = history.commit(edit.commit)
    if not commit.parents:
        raise EditsDoNotApply(f"{edit.kind} of {commit}: it has no parent to compare it with")
    before, after = history.tree(commit.parents[0]), history.tree(commit.oid)
    if edit.kind == EditKind.REVERT:
        before, after = after, before
    # git merge-tree takes --merge-base since 2.40 only; Debian 12 has 2.39. Three commits of our own, which name the
    # three trees, give it the same merge base.
    base = git.ask("commit-tree", "-m", "base", before)
    ours = git.ask("commit-tree", "-m", "ours", "-p", base, tree)
    theirs = git.ask("commit-tree", "-m", "theirs", "-p", base, after)
    merged = git.run(
        "merge-tree", "--write-tree", "--name-only", "-z", "--no-messages", ours, theirs, codes=(0, CONFLICT)
    )
    result, *files = merged.stdout.rstrip("\0").split("\0")
    if merged.returncode == CONFLICT:
        more = " ..." if len(files) > SHOWN else ""
        raise EditsDoNotApply(f"{edit.kind} of {commit} conflicts with {candidate} in {', '.join(files[:SHOWN])}{more}")
    if edit.kind == EditKind.REVERT and result == tree:
        raise EditsDoNotApply(f"revert of {commit}: {candidate} does not hold its change")
    if edit.kind == EditKind.APPLY and result == tree:
        raise EditsDoNotApply(f"apply of {commit}: {candidate} has its change already")
    return result
