# SPDX-License-Identifier: GPL-2.0-only
"""A tree folder that is new takes over the files of another, with their times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from planted import Planned, candidate
from searching import SearchSetup
from test_worktree import contents, mtimes, wanted


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    return tmp_path / "build-dirs" / "0" / "tree"


def test_a_new_folder_takes_over_what_is_the_same_in_another_with_its_times(
    setup: SearchSetup, worktree: Path, tmp_path: Path
) -> None:
    same, changed = ("same.c", "int same;"), "changed.c"
    plan = [Planned("a", (), (same, (changed, "one"))), Planned("b", ("a",), ((changed, "two"),))]
    repository = setup.plant(plan)
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), worktree)
    os.utime(worktree / "same.c", ns=(10**18, 10**18))
    os.utime(worktree / changed, ns=(10**18, 10**18))
    (worktree / "left").write_text("by a build")
    before, other = mtimes(worktree), tmp_path / "other"
    clone.checkout(candidate(repository, "b"), other, like=worktree)
    assert contents(other) == wanted(repository, repository.oid["b"])
    assert mtimes(other)["same.c"] == 10**18 < mtimes(other)[changed]
    assert mtimes(worktree) == before


def test_of_a_copy_that_was_cut_off_the_rest_is_written_and_one_that_is_there_is_kept(
    setup: SearchSetup, worktree: Path, tmp_path: Path
) -> None:
    repository = setup.plant([Planned("a", (), (("one.c", "1"), ("two.c", "2")))])
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), worktree)
    (worktree / "one.c").unlink()
    (worktree / "two.c").write_text("half")
    other = tmp_path / "other"
    for like in (worktree, tmp_path / "nowhere"):
        clone.checkout(candidate(repository, "a"), other, like=like)
        assert contents(other) == wanted(repository, repository.oid["a"])
