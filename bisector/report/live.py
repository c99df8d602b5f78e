# SPDX-License-Identifier: GPL-2.0-only
"""What a page has besides while its campaign runs: what the slots do, and a script that loads it anew."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SCRIPT = "live.js"


@dataclass(frozen=True)
class LiveStatus:
    """``lines``: what each busy slot does; ``at``: when the page was written, in seconds since 1970."""

    lines: tuple[str, ...]
    at: float

    @property
    def written(self) -> str:
        """When the page was written, as text."""
        return time.strftime("%H:%M:%S UTC", time.gmtime(self.at))

    @property
    def script(self) -> str:
        """The script, which loads the page anew every 3 s. It keeps the place and the folds, waits while text is
        selected or nobody looks, and is gone from the page once the campaign has ended. A page of a local file cannot
        be fetched by a script, so the browser has to load it."""
        return _script()

    @property
    def script_hash(self) -> str:
        """By which the page's Content-Security-Policy allows this script and no other."""
        digest = hashlib.sha256(_script().encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _script() -> str:
    return "\n" + (Path(__file__).parent / SCRIPT).read_text(encoding="utf-8")


def waiting(live: LiveStatus | None) -> str:
    """The page before there is a campaign; None: none was begun."""
    policy = "default-src 'none'" + (f"; script-src {live.script_hash}" if live else "")
    said = (
        f"<p>The campaign begins ({live.written}).</p>\n<script>{live.script}</script>"
        if live
        else ("<p>The command ended before a campaign began.</p>")
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>bisector</title>\n</head>\n<body>\n{said}\n</body>\n</html>\n"
    )
