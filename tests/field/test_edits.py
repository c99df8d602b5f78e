# SPDX-License-Identifier: GPL-2.0-only
"""Faults as branches over a tree of one file; that they fit Linux 6.18 is tried where kernels are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import fastimport
from tests.e2e.edits import TreeUnfit
from tests.field import ends
from tests.field.edits import FAULTS, Change, Fault

LIMITS = "first.c"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    fastimport.git(tmp_path, "init", "--quiet", "--bare")
    tree = f"commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 0\nM 100644 inline {LIMITS}\ndata 8\none\ntwo\n\n"
    fastimport.git(tmp_path, "fast-import", "--quiet", stdin=tree.encode())
    return tmp_path


def test_faults_are_a_branch_with_their_file_changed_by_each(repo: Path) -> None:
    first = Fault("0123456789ab", "is small", (Change(LIMITS, r"^one\n", ""), Change(LIMITS, "two", "three")))
    second = Fault("0123456789ac", "is next to it", (Change(LIMITS, "three", "four"),))
    ends.branch(repo, "refs/heads/main", "of-a-test", [first, second])
    assert fastimport.git(repo, "show", f"of-a-test:{LIMITS}") == "four\n"
    assert fastimport.git(repo, "rev-list", "--count", "main..of-a-test").strip() == "1"


@pytest.mark.parametrize("pattern", ["four", "o"])
def test_a_tree_that_looks_otherwise_is_an_error_that_names_the_file(pattern: str) -> None:
    with pytest.raises(TreeUnfit, match=LIMITS):
        Change(LIMITS, pattern, "").apply("one\ntwo\n")


def test_each_fault_is_one_of_a_recipe() -> None:
    assert FAULTS and not [name for name in FAULTS if not (ends.RECIPES / f"{name}.yaml").is_file()]


def test_one_config_serves_all_recipes() -> None:
    fragments = ends.union().fragments
    assert {"base", "lvm-raid", "btrfs", "loop"} <= set(fragments)
    assert any(name.endswith("/nvmet.config") for name in fragments)
