# SPDX-License-Identifier: GPL-2.0-only
"""A worktree's tree folder holds exactly the candidate's tree, and only files that differ are touched."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from planted import Planned, Planted, candidate, chain, git
from searching import SearchSetup

from bisector.errors import InfraError
from bisector.interfaces import EditsDoNotApply
from bisector.model import Candidate, Edit, TargetKind

LINE = chain("a", "b", "c")


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    return tmp_path / "build-dirs" / "0" / "tree"


def contents(folder: Path) -> dict[str, str]:
    """Everything in a folder: kind, execute bit and content by path; empty folders too."""
    found = {}
    for path in folder.rglob("*"):
        name = os.fspath(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = "empty folder"
        else:
            found[name] = f"{'x' if os.access(path, os.X_OK) else '-'} {path.read_text()}"
    return found


def wanted(repository: Planted, oid: str) -> dict[str, str]:
    """What git says the commit holds."""
    found = {}
    for line in git(repository.folder, "ls-tree", "-r", "-z", oid).split("\0"):
        if line:
            (mode, _, blob), name = line.partition("\t")[0].split(), line.partition("\t")[2]
            text = subprocess.check_output(["git", "-C", repository.folder, "cat-file", "blob", blob], text=True)
            found[name] = f"link {text}" if mode == "120000" else f"{'x' if mode == '100755' else '-'} {text}"
    return found


def commit_worktree(repository: Planted, name: str) -> str:
    """Commit what is in the user's work tree under a planted name."""
    git(repository.folder, "add", "-A")
    git(repository.folder, "commit", "-q", "-m", name)
    oid = git(repository.folder, "rev-parse", "HEAD")
    repository.oid[name] = oid
    return oid


def mtimes(folder: Path) -> dict[str, int]:
    return {os.fspath(p.relative_to(folder)): p.lstat().st_mtime_ns for p in folder.rglob("*") if not p.is_dir()}


def test_folder_is_made_and_follows_the_candidate(setup: SearchSetup, worktree: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    for name in ["b", "c", "a", "c"]:
        clone.checkout(candidate(repository, name), worktree)
        assert contents(worktree) == wanted(repository, repository.oid[name])


def test_attributes_of_a_tree_change_no_byte_of_its_files(setup: SearchSetup, tmp_path: Path) -> None:
    repository = setup.plant([Planned("a", (), (("lines.c", "one\ntwo\n"), ("name.c", "$Id$\n")))])
    (repository.folder / ".gitattributes").write_text("lines.c text eol=crlf\nname.c ident\n")
    commit_worktree(repository, "b")
    clone = setup.clone(repository)
    for number, names in enumerate(["b", "ab", "ba"]):
        folder = tmp_path / "build-dirs" / str(number) / "tree"
        for name in names:
            clone.checkout(candidate(repository, name), folder)
        assert (folder / "lines.c").read_bytes() == b"one\ntwo\n"
        assert (folder / "name.c").read_bytes() == b"$Id$\n"


def test_only_files_that_differ_get_a_new_mtime(setup: SearchSetup, worktree: Path) -> None:
    same, changed = ("same.c", "int same;"), "changed.c"
    plan = [Planned("a", (), (same, (changed, "one"))), Planned("b", ("a",), ((changed, "two"),))]
    repository = setup.plant(plan)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), worktree)
    before = mtimes(worktree)
    clone.checkout(candidate(repository, "b"), worktree)
    after = mtimes(worktree)
    assert {name for name in before if before[name] != after[name]} == {changed}
    clone.checkout(candidate(repository, "a"), worktree)
    assert mtimes(worktree)[changed] > after[changed]  # older content with an old mtime would be taken for built


def test_deletions_modes_links_and_kinds_follow(setup: SearchSetup, worktree: Path) -> None:
    repository = setup.plant(chain("a"))
    work = repository.folder

    (work / "script").write_text("#!/bin/sh\n")
    (work / "link").symlink_to("script")
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "er" / "file").write_text("deep")
    (work / "kind").write_text("a file")
    (work / "name with ünïcode\tand tab").write_text("x")
    commit_worktree(repository, "one")

    (work / "script").chmod(0o755)
    (work / "link").unlink()
    (work / "link").symlink_to("deep")
    (work / "deep" / "er" / "file").unlink()
    (work / "deep" / "er").rmdir()
    (work / "deep").rmdir()
    (work / "deep").symlink_to("kind")
    (work / "kind").unlink()
    (work / "kind").mkdir()
    (work / "kind" / "inside").write_text("now a folder")
    commit_worktree(repository, "two")

    clone = setup.clone(repository)
    for name in ["one", "two", "one", "a", "two"]:
        clone.checkout(candidate(repository, name), worktree)
        assert contents(worktree) == wanted(repository, repository.oid[name])


def test_strangers_and_changes_in_the_folder_are_undone(setup: SearchSetup, worktree: Path) -> None:
    repository = setup.plant(
        [Planned("a", (), ((".gitignore", "*.o"), ("drivers/md.c", "int md;"), ("Makefile", "all:")))]
    )
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), worktree)
    (worktree / "left.o").write_text("ignored, and still a stranger")
    (worktree / "empty").mkdir()
    (worktree / "drivers" / "nested.git").mkdir()
    git(worktree / "drivers" / "nested.git", "init", "-q")
    (worktree / "Makefile").unlink()
    (worktree / "Makefile").mkdir()
    (worktree / "Makefile" / "inside").write_text("a folder in the way")
    (worktree / "drivers" / "md.c").chmod(0o755)
    (worktree / "own" / "a").write_text("edited")
    clone.checkout(candidate(repository, "a"), worktree)
    assert contents(worktree) == wanted(repository, repository.oid["a"])


def test_link_out_of_the_folder_is_not_followed(setup: SearchSetup, worktree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("not ours")
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "c"), worktree)
    for path in (worktree / "own").iterdir():
        path.unlink()
    (worktree / "own").rmdir()
    (worktree / "own").symlink_to(outside)
    clone.checkout(candidate(repository, "a"), worktree)
    assert contents(worktree) == wanted(repository, repository.oid["a"])
    assert contents(outside) == {"a": "- not ours"}


def test_folder_with_foreign_files_is_refused_and_left_alone(setup: SearchSetup, worktree: Path) -> None:
    worktree.mkdir(parents=True)
    (worktree / "thesis.tex").write_text("years of work")
    repository = setup.plant(LINE)
    with pytest.raises(InfraError, match="is no worktree"):
        setup.clone(repository).checkout(candidate(repository, "a"), worktree)
    assert contents(worktree) == {"thesis.tex": "- years of work"}


def test_folder_that_vanished_is_filled_again(setup: SearchSetup, worktree: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "c"), worktree)
    worktree.rename(worktree.with_name("gone"))
    clone.checkout(candidate(repository, "b"), worktree)
    assert contents(worktree) == wanted(repository, repository.oid["b"])


def test_submodule_is_an_empty_folder(setup: SearchSetup, worktree: Path) -> None:
    repository = setup.plant(chain("a"))
    link = f"160000,{repository.oid['a']},roms/seabios"
    git(repository.folder, "update-index", "--add", "--cacheinfo", link)
    git(repository.folder, "commit", "-q", "-m", "with submodule")
    repository.oid["linked"] = git(repository.folder, "rev-parse", "HEAD")
    clone = setup.clone(repository)
    for _ in range(2):
        clone.checkout(candidate(repository, "linked"), worktree)
        assert contents(worktree) == {"own/a": "- a", "roms/seabios": "empty folder"}
    clone.checkout(candidate(repository, "a"), worktree)
    assert contents(worktree) == {"own/a": "- a"}


def test_folder_that_cannot_be_made_is_infrastructure(setup: SearchSetup, worktree: Path) -> None:
    worktree.parent.parent.mkdir(parents=True)
    worktree.parent.write_text("a file")
    repository = setup.plant(LINE)
    with pytest.raises(InfraError, match="cannot be written"):
        setup.clone(repository).checkout(candidate(repository, "a"), worktree)


def notes(setup: SearchSetup) -> Path:
    (found,) = setup.state.glob("clones/*/worktrees/*")
    return found


@pytest.mark.parametrize("damage", [b"", b"DIRC\0\0", None])
def test_damaged_or_lost_index_costs_no_mtime(setup: SearchSetup, worktree: Path, damage: bytes | None) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "b"), worktree)
    before = mtimes(worktree)
    (notes(setup) / "index").unlink()
    if damage is not None:  # what a power failure leaves: the checkout had not ended
        (notes(setup) / "index").write_bytes(damage)
        (notes(setup) / "done").unlink()
    clone.checkout(candidate(repository, "c"), worktree)
    assert contents(worktree) == wanted(repository, repository.oid["c"])
    assert {name: time for name, time in mtimes(worktree).items() if name in before} == before


def test_files_whose_content_was_lost_in_a_power_failure_are_noticed(setup: SearchSetup, worktree: Path) -> None:
    repository = setup.plant(LINE)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), worktree)
    (worktree / "own" / "a").write_text("\0")
    os.utime(worktree / "own" / "a", (1, 1))  # git hashes what is as young as its index
    env = {"GIT_INDEX_FILE": os.fspath(notes(setup) / "index"), "GIT_WORK_TREE": os.fspath(worktree)}
    right = git(repository.folder, "rev-parse", f"{repository.oid['a']}:own/a")
    git(worktree, f"--git-dir={clone.git.git_dir}", "update-index", "own/a", env=env)
    wrong = git(repository.folder, "hash-object", os.fspath(worktree / "own" / "a"))
    index = (notes(setup) / "index").read_bytes()[:-20].replace(bytes.fromhex(wrong), bytes.fromhex(right))
    (notes(setup) / "index").write_bytes(index + hashlib.sha1(index).digest())  # as if stat(2) said nothing

    clone.checkout(candidate(repository, "a"), worktree)
    assert (worktree / "own" / "a").read_text() == "\0", "the trap is none: git noticed by itself"
    (notes(setup) / "done").write_text("another boot")
    clone.checkout(candidate(repository, "a"), worktree)
    assert contents(worktree) == wanted(repository, repository.oid["a"])


KILLED = """
import sys
from pathlib import Path
from bisector.model import Candidate, TargetKind
from bisector.search.clone import PrivateClone
from bisector.search.gitrepo import UserRepository
from bisector.system.proc import Processes
folder, worktree, *oids = sys.argv[1:]
folder = Path(folder)
clone = PrivateClone.of(UserRepository(folder / "linux"), folder / "state", Processes(folder / "records"))
print("ready", flush=True)
while True:
    for oid in oids:
        clone.checkout(Candidate(TargetKind.KERNEL_SOURCE, oid), Path(worktree))
"""


def test_checkout_killed_anywhere_ends_exactly_right_the_next_time(setup: SearchSetup, worktree: Path) -> None:
    draw = random.Random(20261121)
    many = [f"d{number % 40}/f{number}.c" for number in range(3000)]
    plan = [
        Planned("a", (), tuple((name, "one") for name in many)),
        Planned("b", ("a",), tuple((name, draw.choice(["two", "one", None])) for name in many)),
        Planned("c", ("b",), tuple((f"new/{name}", "three") for name in many[::3])),
    ]
    repository = setup.plant(plan)
    oids = [repository.oid[name] for name in "abc"]
    clone = setup.clone(repository)
    for turn in range(8):
        argv = [sys.executable, "-c", KILLED, os.fspath(setup.folder), os.fspath(worktree), *oids]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
        ) as one:
            assert one.stdout and one.stdout.readline() == b"ready\n"
            time.sleep(draw.uniform(0.02, 0.8))
            one.kill()
        name = "abc"[turn % 3]
        clone.checkout(candidate(repository, name), worktree)  # at once: the killed one's git may still be dying
        assert contents(worktree) == wanted_quickly(repository, name)


def wanted_quickly(repository: Planted, name: str) -> dict[str, str]:
    """``wanted`` from the plan, for trees of thousands of files."""
    tree: dict[str, str] = {}
    for commit in repository.plan:
        tree[f"own/{commit.name}"] = f"- {commit.name}"
        for path, content in commit.files:
            if content is None:
                tree.pop(path, None)
            else:
                tree[path] = f"- {content}"
        if commit.name == name:
            return tree
    raise AssertionError(name)


# ---- edits

BASE = "\n".join(str(number) for number in range(30)) + "\n"


def edited(text: str, **lines: str) -> str:
    """The text with line number N replaced, by ``lN="..."``."""
    rows = text.splitlines(keepends=True)
    for name, line in lines.items():
        rows[int(name[1:])] = line + "\n"
    return "".join(rows)


@pytest.fixture
def with_edits(setup: SearchSetup) -> Planted:
    culprit = edited(BASE, l5="culprit")
    later = edited(culprit, l25="later")
    over = edited(later, l5="built on the culprit")
    fixed = edited(BASE, l15="fixup")
    return setup.plant(
        [
            Planned("base", (), (("f.c", BASE),)),
            Planned("culprit", ("base",), (("f.c", culprit),)),
            Planned("later", ("culprit",), (("f.c", later),)),
            Planned("over", ("later",), (("f.c", over),)),
            Planned("fixup", ("base",), (("f.c", fixed),)),
            Planned("other", ("base",)),
            Planned("backport", ("base",), (("f.c", culprit), ("own/culprit", "culprit"))),
        ]
    )


def with_edit(repository: Planted, name: str, *edits: tuple[str, str]) -> Candidate:
    laid = tuple(Edit(kind, repository.oid[commit]) for kind, commit in edits)
    return Candidate(TargetKind.KERNEL_SOURCE, repository.oid[name], laid)


def test_revert_takes_the_change_out_and_keeps_the_rest(
    setup: SearchSetup, with_edits: Planted, worktree: Path
) -> None:
    clone = setup.clone(with_edits)
    reverted = with_edit(with_edits, "later", ("revert", "culprit"))
    clone.checkout(reverted, worktree)
    assert (worktree / "f.c").read_text() == edited(BASE, l25="later")
    assert clone.tree_of(reverted) != clone.tree_of(candidate(with_edits, "later"))
    assert clone.tree_of(reverted) == clone.tree_of(reverted)


def test_fixup_and_revert_together_in_order(setup: SearchSetup, with_edits: Planted, worktree: Path) -> None:
    both = with_edit(with_edits, "later", ("fixup", "fixup"), ("revert", "culprit"))
    setup.clone(with_edits).checkout(both, worktree)
    assert (worktree / "f.c").read_text() == edited(BASE, l15="fixup", l25="later")


def test_fixup_that_is_held_already_changes_nothing(setup: SearchSetup, with_edits: Planted) -> None:
    clone = setup.clone(with_edits)
    # "over" changed the culprit's line again: picked naively, the fixup would conflict with its own successor
    held = with_edit(with_edits, "over", ("fixup", "culprit"))
    assert clone.tree_of(held) == clone.tree_of(candidate(with_edits, "over"))


@pytest.mark.parametrize(("name", "why"), [("over", "holds it already"), ("backport", "has its change already")])
def test_a_commit_that_changes_nothing_is_not_applied(
    setup: SearchSetup, with_edits: Planted, name: str, why: str
) -> None:
    """For what a fixup repairs that is enough; a proof that rests on the change would rest on nothing."""
    applied = with_edit(with_edits, name, ("apply", "culprit"))
    with pytest.raises(EditsDoNotApply, match=why):
        setup.clone(with_edits).tree_of(applied)


def test_conflicting_revert_names_the_file_and_leaves_the_worktree(
    setup: SearchSetup, with_edits: Planted, worktree: Path
) -> None:
    clone = setup.clone(with_edits)
    clone.checkout(candidate(with_edits, "base"), worktree)
    with pytest.raises(EditsDoNotApply, match=r"conflicts with .* in f\.c$"):
        clone.checkout(with_edit(with_edits, "over", ("revert", "culprit")), worktree)
    assert contents(worktree) == wanted(with_edits, with_edits.oid["base"])


@pytest.mark.parametrize("name", ["base", "other"])
def test_revert_of_what_is_not_held_does_not_apply(setup: SearchSetup, with_edits: Planted, name: str) -> None:
    with pytest.raises(EditsDoNotApply, match="does not hold"):
        setup.clone(with_edits).tree_of(with_edit(with_edits, name, ("revert", "culprit")))


def test_merge_is_reverted_against_its_first_parent(setup: SearchSetup, worktree: Path) -> None:
    plan = [*chain("a", "b"), *chain("s", "t", start="a"), Planned("m", ("b", "t")), *chain("d", start="m")]
    repository = setup.plant(plan)
    setup.clone(repository).checkout(with_edit(repository, "d", ("revert", "m")), worktree)
    assert set(contents(worktree)) == {"own/a", "own/b", "own/d"}
