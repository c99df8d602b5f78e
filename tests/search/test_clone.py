# SPDX-License-Identifier: GPL-2.0-only
"""Our clone: the user's repository is only read, nothing of the user's configuration acts, a kill leaves no half."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from planted import PerfectJudge, Planned, Planted, candidate, chain, fingerprint, git
from searching import SearchSetup

from bisector.errors import InfraError
from bisector.model import Candidate, Edit, TargetKind
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository

LINE = chain(*"abcdefgh")


def test_users_repository_is_as_it_was(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant(LINE)
    work = repository.folder
    git(work, "worktree", "add", "-q", "--detach", os.fspath(work / "linked"), repository.oid["c"])
    (work / "own" / "a").write_text("being edited")
    (work / "staged").write_text("staged")
    git(work, "add", "staged")
    (work / "untracked").write_text("untracked")
    os.utime(work / "own" / "b", (0, 0))  # its index is stale: a refresh on the side would show
    before = fingerprint(work)
    user = UserRepository(work)
    assert user.resolve("HEAD").oid == repository.oid["h"]
    user.describe(repository.oid["h"]), user.changed_files(repository.oid["h"])
    assert setup.search(PerfectJudge(repository, "f"), "a", "h").first_bad
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "e"), tmp_path / "worktree")
    edits = (Edit("revert", repository.oid["c"]),)
    clone.checkout(Candidate(TargetKind.KERNEL_SOURCE, repository.oid["e"], edits), tmp_path / "worktree")
    assert fingerprint(work) == before


def test_names_are_those_of_the_users_repository_as_it_is_now(setup: SearchSetup) -> None:
    repository = setup.plant(LINE)
    git(repository.folder, "branch", "mend", repository.oid["c"])
    clone = setup.clone(repository)
    git(repository.folder, "branch", "-f", "mend", repository.oid["d"])
    git(repository.folder, "tag", "later", repository.oid["e"])
    assert clone.history().resolve("mend").oid == repository.oid["d"]
    assert clone.history().resolve("later").oid == repository.oid["e"]


def test_a_clone_that_was_made_anew_knows_nothing_of_the_one_before(setup: SearchSetup) -> None:
    """A tree with edits is an object of the clone's own."""
    repository = setup.plant(LINE)
    edited = replace(candidate(repository, "e"), edits=(Edit("revert", repository.oid["c"]),))
    first = setup.clone(repository)
    tree = first.tree_of(edited)
    shutil.rmtree(first.folder)
    second = setup.clone(repository)
    assert second.tree_of(edited) == tree
    assert second.git.ask("cat-file", "-t", tree) == "tree"


def test_hooks_and_configuration_of_the_user_do_not_act(
    setup: SearchSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"]:
        (hooks / hook).write_text(f"#!/bin/sh\necho {hook} >> {trace}\n")
        (hooks / hook).chmod(0o755)
    home = tmp_path / "home"
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".config" / "git" / "attributes").write_text("* text eol=crlf\n")
    (home / ".gitconfig").write_text(
        f"[init]\ntemplateDir = {hooks.parent}\n[core]\nhooksPath = {hooks}\nautocrlf = true\nfsmonitor = {hooks}/x\n"
        "[commit]\ngpgSign = true\n[gc]\nauto = 1\n[clone]\ndefaultRemoteName = elsewhere\n[alias]\nbisect = !false\n"
    )
    repository = setup.plant([Planned("a", (), (("f.c", "int a;\n"),)), *chain("b", "c", "d", start="a")])
    monkeypatch.setenv("HOME", os.fspath(home))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", os.fspath(hooks.parent))
    monkeypatch.setenv("GIT_INDEX_FILE", os.fspath(tmp_path / "no-such-index"))
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/nowhere")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    found = setup.search(PerfectJudge(repository, "c"), "a", "d")
    assert found.first_bad and repository.name[found.first_bad.oid] == "c"
    setup.clone(repository).checkout(candidate(repository, "b"), tmp_path / "worktree")
    assert (tmp_path / "worktree" / "f.c").read_bytes() == b"int a;\n"
    assert not trace.exists()


def test_new_commits_of_the_user_are_seen(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    (repository.folder / "new").write_text("new")
    git(repository.folder, "add", "new")
    git(repository.folder, "commit", "-q", "-m", "came later")
    later = UserRepository(repository.folder).resolve("HEAD")
    assert clone.history().commit(later.oid) == later
    clone.checkout(Candidate(TargetKind.KERNEL_SOURCE, later.oid), tmp_path / "worktree")
    assert (tmp_path / "worktree" / "new").read_text() == "new"


def test_one_clone_per_repository(setup: SearchSetup, tmp_path: Path) -> None:
    first, second = setup.plant(LINE, "one"), setup.plant(LINE, "two")
    git(first.folder, "worktree", "add", "-q", "--detach", os.fspath(tmp_path / "linked"), "main")
    linked = PrivateClone.of(UserRepository(tmp_path / "linked"), setup.state, setup.processes)
    assert setup.clone(first) == linked
    assert setup.clone(first) != setup.clone(second)
    assert setup.clone(first).git.run("count-objects", "-v").stdout.startswith("count: 0\n")


def test_clone_travels_to_another_process(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant(LINE)
    clone = pickle.loads(pickle.dumps(setup.clone(repository)))
    clone.checkout(candidate(repository, "b"), tmp_path / "worktree")
    assert (tmp_path / "worktree" / "own" / "b").exists()


def test_clone_killed_while_it_was_made_is_made_again(setup: SearchSetup) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    half = clone.folder.with_name(f"{clone.folder.name}.making-x1")
    clone.folder.rename(half)
    (half / "repo.git" / "HEAD").unlink()
    again = setup.clone(repository)
    assert again.history().commit(repository.oid["h"])
    assert not half.exists()


def test_stale_locks_of_a_killed_campaign_are_cleared(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), tmp_path / "worktree")
    with clone.bisect_worktree("c") as worktree:
        left = clone.git.git_dir / "worktrees" / worktree.name
        git(worktree, "bisect", "start", "--no-checkout", repository.oid["h"], repository.oid["a"])
        saved = {path.relative_to(left): path.read_bytes() for path in left.rglob("*") if path.is_file()}
    for path, content in saved.items():
        (left / path).parent.mkdir(parents=True, exist_ok=True)
        (left / path).write_bytes(content)
    (left / "locked").write_text("initializing")
    (left / "index.lock").touch()
    (left / "HEAD.lock").touch()
    (clone.git.git_dir / "packed-refs.lock").touch()
    (clone.git.git_dir / "config.lock").touch()
    (index_lock,) = [path.parent / "index.lock" for path in clone.folder.glob("worktrees/*/index")]
    index_lock.touch()
    assert setup.search(PerfectJudge(repository, "f"), "a", "h").first_bad
    clone.checkout(candidate(repository, "b"), tmp_path / "worktree")
    assert (tmp_path / "worktree" / "own" / "b").exists()
    assert not list((clone.git.git_dir / "worktrees").iterdir())


def test_lock_of_a_living_git_is_waited_for(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), tmp_path / "worktree")
    (index,) = clone.folder.glob("worktrees/*/index")
    program = "import sys, time; lock = open(sys.argv[1], 'w'); print('held', flush=True); time.sleep(1)"
    argv = [sys.executable, "-c", program, f"{index}.lock"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        begin = time.monotonic()
        clone.checkout(candidate(repository, "b"), tmp_path / "worktree")
        assert time.monotonic() - begin > 0.5
        assert holder.wait() == 0


def test_repository_that_lost_its_objects_is_infrastructure(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    repository.folder.rename(tmp_path / "moved")
    with pytest.raises(InfraError):
        clone.checkout(candidate(repository, "b"), tmp_path / "worktree")


def test_unwritable_state_is_infrastructure(setup: SearchSetup) -> None:
    repository = setup.plant(LINE)
    setup.state.write_text("a file, no folder")
    with pytest.raises(InfraError):
        setup.clone(repository)


def test_planted_merge_holds_both_sides(setup: SearchSetup) -> None:
    # the histories of these tests are what they claim to be
    repository: Planted = setup.plant([*chain("a", "b"), *chain("s", start="a"), Planned("m", ("b", "s"))])
    assert set(git(repository.folder, "ls-files").split()) == {"own/a", "own/b", "own/s", "own/m"}
