# SPDX-License-Identifier: GPL-2.0-only
"""Slots for jobs, and the XDG folders."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bisector.system.executor import Pool
from bisector.system.xdg import folders


def test_a_build_does_not_take_a_trials_slot() -> None:
    release = threading.Event()
    with Pool(builds=1, trials=1) as pool:
        build = pool.submit("build", release.wait, 10)
        second = pool.submit("build", str, "second")
        assert pool.submit("trial", str, "trial").result(timeout=5) == "trial"
        assert not second.done()
        release.set()
        assert build.result(timeout=5) and second.result(timeout=5) == "second"


def test_shutdown_drops_what_did_not_start() -> None:
    release = threading.Event()
    pool = Pool(builds=1, trials=1)
    running = pool.submit("build", release.wait, 10)
    waiting = pool.submit("build", str)
    pool.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert running.result(timeout=5)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        pool.submit("trial", str)


@pytest.mark.parametrize(
    ("environ", "cache", "state"),
    [
        ({"HOME": "/home/a"}, "/home/a/.cache/bisector", "/home/a/.local/state/bisector"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/bisector", "/s/bisector"),
        (
            {"HOME": "/h", "XDG_CACHE_HOME": "relative", "XDG_STATE_HOME": ""},
            "/h/.cache/bisector",
            "/h/.local/state/bisector",
        ),
    ],
)
def test_folders_follow_the_xdg_specification(environ: dict[str, str], cache: str, state: str) -> None:
    found = folders(environ)
    assert (found.cache, found.state) == (Path(cache), Path(state))
