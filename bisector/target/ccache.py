# SPDX-License-Identifier: GPL-2.0-only
"""The compiler's cache of kernel builds, in depend mode where that is safe (``ccache.sh`` says where).

The program that stands before ccache looks at the source alone. What a header puts into an object by ``.incbin`` it
does not see. No header of the kernel does that (6.18), and a build that has read one that does is repeated without both
of ccache's short ways (``Embeds``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bisector.system.files import write_whole

CAREFUL = {"CCACHE_NODIRECT": "1"}
"""In the environment: ccache looks at the preprocessed source always, and knows ``.incbin`` by it."""

BEFORE = Path(__file__).with_name("ccache.sh")


class Embeds(Exception):
    """A file that is included has another one put into it, and the cache may have given what that was before."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} includes a file by .incbin")


def in_depend_mode(environ: Mapping[str, str], ccache: str, folder: Path) -> dict[str, str]:
    """The environment in which the name ccache stands for the program before it.

    Args:
        ccache: path of ccache itself.
        folder: of ours, in which that program is put; builds cannot write there.
    """
    place, text = folder / "ccache", BEFORE.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    if not place.exists() or place.read_text(encoding="utf-8", errors="replace") != text:
        write_whole(place, text)
    place.chmod(0o755)
    return {**environ, "PATH": f"{folder}:{environ['PATH']}", "BISECTOR_CCACHE": ccache}
