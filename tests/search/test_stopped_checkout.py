# SPDX-License-Identifier: GPL-2.0-only
"""A checkout that is broken off, and the one after it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from planted import candidate
from searching import SearchSetup
from test_worktree import LINE, contents, wanted

from bisector.errors import Interrupted
from bisector.interfaces import CancelToken
from tests.slow_git import SlowGit


def test_a_checkout_that_is_stopped_ends_soon_and_the_next_one_is_right(
    setup: SearchSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worktree = tmp_path / "build-dirs" / "0" / "tree"
    slow = SlowGit.make(setup.folder / "tools")
    monkeypatch.setenv("PATH", slow.path)
    repository, stop = setup.plant(LINE), CancelToken(os.fspath(setup.folder / "stop"))
    clone = setup.clone(repository)
    clone.checkout(candidate(repository, "a"), worktree)
    with slow.at("read-tree --reset"), ThreadPoolExecutor(1) as thread:
        going = thread.submit(clone.checkout, candidate(repository, "b"), worktree, stop)
        while not slow.stands():
            assert not going.done()
            time.sleep(0.02)
        stop.cancel()
        with pytest.raises(Interrupted):
            going.result(10)
        assert not slow.stands()
    clone.checkout(candidate(repository, "c"), worktree)
    assert contents(worktree) == wanted(repository, repository.oid["c"])
