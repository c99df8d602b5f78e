# SPDX-License-Identifier: GPL-2.0-only
"""Who names a commit: mainline, the stable series, and reverts there, in the words that each of them uses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bisector.errors import UsageError
from bisector.search import refs
from bisector.search.gitrepo import History


class Tree:
    """A repository whose commits are messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "master")

    def git(self, *words: str) -> str:
        argv = ["git", "-C", str(self.folder), "-c", "user.name=T", "-c", "user.email=t@example.org", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def mentions(self, *names: str) -> dict[str, str]:
        """Id of each commit that names one of ``names`` → how."""
        found = refs.mentions(History(self.folder), names, since=names[0])
        assert len(found) == len({each.oid for each in found})
        return {each.oid: each.kind for each in found}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "linux")


@pytest.mark.parametrize(
    "words",
    [
        "This reverts commit {backport} which is commit {mainline} upstream.",
        "This reverts commit {backport} which is\ncommit {mainline} upstream.",
        "This reverts commit {backport}, which is upstream commit {mainline}.",
        "This reverts commit {backport} (commit {mainline} upstream).",
        "This reverts commit {backport}.",
        "This reverts commit {short}.",
    ],
)
def test_a_revert_in_a_stable_series_is_found_from_mainlines_commit(tree: Tree, words: str) -> None:
    tree.commit("base")
    tree.git("branch", "linux-6.18.y")
    mainline = tree.commit("block: simplify")
    tree.git("checkout", "-q", "linux-6.18.y")
    backport = tree.commit(f"block: simplify\n\ncommit {mainline} upstream.\n")
    said = words.format(backport=backport, mainline=mainline, short=backport[:12])
    reverted = tree.commit(f'Revert "block: simplify"\n\n{said}\n')
    assert tree.mentions(mainline) == {backport: "backport", reverted: "revert"}
    assert tree.mentions(backport, mainline) == {reverted: "revert"}


def test_a_revert_whose_backport_is_not_at_hand_names_mainline_too(tree: Tree) -> None:
    mainline = tree.commit("block: simplify")
    tree.git("checkout", "-q", "--orphan", "linux-6.18.y")
    reverted = tree.commit(f"Revert\n\nThis reverts commit {'a' * 40} which is commit {mainline} upstream.\n")
    assert tree.mentions(mainline) == {reverted: "revert"}


def test_what_fixes_a_sibling_backport_is_found(tree: Tree) -> None:
    tree.commit("base")
    for series in ("linux-6.17.y", "linux-6.18.y"):
        tree.git("branch", series)
    mainline = tree.commit("block: simplify")
    tree.git("checkout", "-q", "linux-6.17.y")
    own = tree.commit(f"block: simplify\n\n[ Upstream commit {mainline} ]\n")
    tree.git("checkout", "-q", "linux-6.18.y")
    sibling = tree.commit(f"block: simplify\n\ncommit {mainline} upstream.\n")
    repaired = tree.commit(f'block: mend\n\nFixes: {sibling[:12]} ("block: simplify")\n')
    assert tree.mentions(own, mainline) == {sibling: "backport", repaired: "fixes"}


def test_a_revert_of_something_else_that_speaks_of_the_commit_is_none(tree: Tree) -> None:
    mainline = tree.commit("block: simplify")
    tree.commit(f"Revert\n\nThis reverts commit {'b' * 40}.\n\nIt came after commit {mainline} upstream.\n")
    assert tree.mentions(mainline) == {}


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\u3000", "\xa0"])
def test_a_name_that_looks_like_several_is_one(tree: Tree, end: str) -> None:
    """git takes them in names of refs; Python's splitlines and split take some of them for a line's end or a blank."""
    true, forged = tree.commit("true"), tree.commit("forged")
    tree.git("tag", "v6.18", true)
    for name in (f"v6.18{end}x", f"v6.19{end}"):
        tree.git("tag", name, forged)
        tree.git("branch", name, forged)
    history = History(tree.folder)
    assert refs.tags(history)["v6.18"] == true
    assert set(refs.tags(history)) == {"v6.18", f"v6.18{end}x", f"v6.19{end}"}
    assert set(refs.branches(history, forged)) == {"master", f"heads/v6.18{end}x", f"heads/v6.19{end}"}
    with pytest.raises(UsageError) as caught:
        history.resolve("v6.19")
    assert f"v6.19{end}" in caught.value.hint
