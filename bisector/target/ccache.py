# SPDX-License-Identifier: GPL-2.0-only
"""The compiler's cache of kernel builds, in depend mode where that is safe (``ccache.sh`` says where).

The program that stands before ccache looks at the source alone. What a header puts into an object by ``.incbin`` it
does not see. No header of the kernel does that (6.18), and a build that has read one that does is repeated without both
of ccache's short ways (``Embeds``).

These ways, direct mode with depend mode on top of it, know an object by the headers that were read when it was made. A
header that came since and is found before one of them is not seen (ccache's manual, "The direct mode"). So they are for
trees with the same set of headers (``of_headers``); what is preprocessed serves all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bisector.codec import digest
from bisector.interfaces import Change
from bisector.system.files import write_whole

CAREFUL = {"CCACHE_NODIRECT": "1"}
"""In the environment: ccache looks at the preprocessed source always, and knows ``.incbin`` by it."""

BEFORE = Path(__file__).with_name("ccache.sh")


HEADERS = (".h", ".inc")
"""How files end that are looked for where they are included."""


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


def headers_differ(changes: Iterable[Change]) -> bool:
    """Whether two trees that differ in ``changes`` have other sets of headers, whatever stands in these."""
    return any(change.added_or_gone and change.path.endswith(HEADERS) for change in changes)


def headers_of(everything: Iterable[Change]) -> str:
    """Names the set of headers of a tree. ``everything``: in what it differs from an empty one."""
    return digest(sorted(change.path for change in everything if change.path.endswith(HEADERS)))


def of_headers(environ: Mapping[str, str], headers: str) -> dict[str, str]:
    """The environment in which ccache's direct mode finds what was made with the same set of headers alone.

    In that mode, and in no other, it hashes the folders for headers that the environment names (its ccache.cpp). Those
    of Objective-C mean nothing to a compiler of C.
    """
    return {**environ, "OBJC_INCLUDE_PATH": f"headers-{headers}"}
