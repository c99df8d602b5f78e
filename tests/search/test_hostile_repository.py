# SPDX-License-Identifier: GPL-2.0-only
"""No command that a repository's configuration or a tree's attributes name is run on this host."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from planted import Planned, chain, git
from searching import SearchSetup

from bisector.errors import BisectorError
from bisector.model import Candidate, TargetKind
from bisector.search import refs
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes

COMMANDS = (
    "core.fsmonitor",
    "core.sshCommand",
    "core.gitProxy",
    "core.askPass",
    "core.editor",
    "core.pager",
    "core.alternateRefsCommand",
    "credential.helper",
    "diff.external",
    "diff.evil.command",
    "diff.evil.textconv",
    "filter.evil.clean",
    "filter.evil.smudge",
    "filter.evil.process",
    "gpg.program",
    "merge.evil.driver",
    "sequence.editor",
    "uploadpack.packObjectsHook",
)
HOOKS = ("post-checkout", "post-index-change", "reference-transaction", "pre-commit", "fsmonitor-watchman")
ATTRIBUTES = "* filter=evil diff=evil merge=evil\n"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The file that a command leaves, were it run."""
    return tmp_path / "ran"


@pytest.fixture
def hostile(setup: SearchSetup, tmp_path: Path, ran: Path) -> UserRepository:
    """A repository whose configuration, hooks and attributes all name a program."""
    planted = setup.plant(
        [
            Planned("a", (), ((".gitattributes", ATTRIBUTES), ("file.c", "one\n"))),
            Planned("b", ("a",), (("file.c", "two\n"),)),
        ]
    )
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\necho $0 >>{ran}\ncat\n")
    program.chmod(0o755)
    for name in COMMANDS:
        git(planted.folder, "config", name, str(program))
    git(planted.folder, "config", "remote.origin.url", f"ext::{program}")
    for name in HOOKS:
        (planted.folder / ".git/hooks").mkdir(exist_ok=True)
        (planted.folder / ".git/hooks" / name).write_text(program.read_text())
        (planted.folder / ".git/hooks" / name).chmod(0o755)
    (planted.folder / ".git/info").mkdir(exist_ok=True)
    (planted.folder / ".git/info/attributes").write_text(ATTRIBUTES)
    ran.unlink(missing_ok=True)
    return UserRepository(planted.folder)


def test_questions_run_nothing(hostile: UserRepository, ran: Path) -> None:
    commit = hostile.resolve("main")
    hostile.changed_files(commit.oid)
    hostile.changed_files(commit.oid, commit.parents[0])
    hostile.describe(commit.oid)
    hostile.log(commit.parents[0], commit.oid, paths=("file.c",))
    refs.mentions(hostile, (commit.oid,), since=commit.parents[0])
    hostile.query("cat_file", "blob", f"{commit.oid}:file.c")
    for revision in (":file.c", ":/b", "main:file.c", "@{upstream}"):
        with pytest.raises(BisectorError) if revision != ":/b" else pytest.MonkeyPatch.context():
            hostile.resolve(revision)
    assert not ran.exists()


def test_a_clone_and_its_checkouts_run_nothing(
    hostile: UserRepository, processes: Processes, tmp_path: Path, ran: Path
) -> None:
    clone = PrivateClone.of(hostile, tmp_path / "state", processes)
    newer = hostile.resolve("main")
    for commit in (newer, hostile.commit(newer.parents[0])):
        clone.checkout(Candidate(TargetKind.KERNEL_SOURCE, commit.oid), tmp_path / "tree")
        with clone.bisect_worktree("campaign"):
            clone.git.run("diff-tree", "-p", "--no-ext-diff", "--no-textconv", newer.oid)
    assert (tmp_path / "tree/file.c").read_text() == "one\n"
    assert not ran.exists()


def forge_parent(graph: bytes, child: str, parent: str) -> bytes:
    """A commit-graph in which ``child`` has ``parent`` for its first one (gitformat-commit-graph(5))."""
    entries = [graph[8 + 12 * number :][:12] for number in range(graph[6])]
    at = {entry[:4]: int.from_bytes(entry[4:], "big") for entry in entries}
    count = int.from_bytes(graph[at[b"OIDF"] + 255 * 4 :][:4], "big")
    oids = [graph[at[b"OIDL"] + 20 * number :][:20].hex() for number in range(count)]
    place = at[b"CDAT"] + 36 * oids.index(child) + 20
    body = graph[:place] + oids.index(parent).to_bytes(4, "big") + graph[place + 4 : -20]
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def test_parents_are_those_that_a_commit_names_and_no_graph_says_otherwise(setup: SearchSetup) -> None:
    """git believes a commit-graph; what a proof tries must not come from there."""
    planted = setup.plant(chain("a", "b", "c", "d"))
    git(planted.folder, "commit-graph", "write", "--reachable")
    file = planted.folder / ".git/objects/info/commit-graph"
    content = forge_parent(file.read_bytes(), planted.oid["d"], planted.oid["a"])
    file.unlink()  # it cannot be written
    file.write_bytes(content)
    assert git(planted.folder, "rev-list", "--no-walk", "--parents", planted.oid["d"]).split()[1:] == [planted.oid["a"]]
    user = UserRepository(planted.folder)
    assert user.commit(planted.oid["d"]).parents == (planted.oid["c"],)
    clone = PrivateClone.of(user, planted.folder.parent / "state", setup.processes)
    assert clone.history().commit(planted.oid["d"]).parents == (planted.oid["c"],)
