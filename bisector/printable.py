# SPDX-License-Identifier: GPL-2.0-only
"""The one function that makes text from elsewhere safe to show, on a terminal or in a text report.

Commit subjects, console lines, recipe keys, paths, authors and compiler errors may hold whatever their writer put
there. A terminal obeys control characters: ESC alone can retitle it, move the cursor over what was said before, or on
some emulators answer as if somebody typed.
"""

from __future__ import annotations

import re

_UNSAFE = (
    r"\x00-\x08\x0b-\x1f"  # C0 but for tab and newline
    r"\x7f-\x9f"  # DEL and C1, which hold one-byte forms of ESC [ and ESC ]
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls (Unicode UAX 9): another order of words
    r"\u2028\u2029"  # separators of lines and paragraphs
    r"\ud800-\udfff"  # half characters, which no encoding can write
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # marks and tags that nobody sees
)
_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_IN_LINE = re.compile(rf"[{_UNSAFE}\t\n]")


def printable(text: str) -> str:
    """``text`` with visible escapes for what a terminal would obey or could not show; tabs and newlines stay.

    A carriage return before a newline goes, as it ends the line too.
    """
    if text.isascii() and text.isprintable():
        return text
    return _IN_TEXT.sub(_escape, text.replace("\r\n", "\n"))


def printable_line(text: str) -> str:
    """``text`` as one line: ``printable``, with tabs and newlines escaped too."""
    return _IN_LINE.sub(_escape, text)


def is_line(text: str) -> bool:
    """Whether ``text`` is one line that is shown as it stands."""
    return _IN_LINE.search(text) is None


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    known = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\x7f": r"\u007f"}.get(found[0])  # DEL: as JSON, too, writes it
    return known or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
