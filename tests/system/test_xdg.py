# SPDX-License-Identifier: GPL-2.0-only
"""The XDG folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisector.system.xdg import folders


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
