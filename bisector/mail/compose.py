# SPDX-License-Identifier: GPL-2.0-only
"""A mail as bytes: headers folded by hand, because the standard library encodes long Message-IDs, which cuts threads.

Plain text in 7 bits where ASCII does, else UTF-8 in 8 bits, and no line over 998 bytes (RFC 5322). Pure.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from email.header import Header
from email.utils import formataddr

from bisector.mail.regzbot import plain
from bisector.mail.thread import Address
from bisector.printable import printable
from bisector.report.excerpt import printable as bare

_FOREIGN = re.compile(r"(?!\n[ \t]|(?<=\n)\t)[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What no header holds: every control character but a line end that folds it, and the tab behind one."""

COLUMNS = 75  # of a body on the kernel's lists
LONGEST = 998  # bytes of a line without its end, RFC 5322 2.1.1
UNFOLDED = 900  # bytes of a header's value on one line: git send-email unfolds it, and LONGEST holds for that line too


def message(headers: Sequence[tuple[str, str]], body: str) -> bytes:
    """The whole mail. ``headers``: names and values from the functions below; ones without value are left away."""
    plain = body.isascii()
    fixed = [
        ("MIME-Version", "1.0"),
        ("Content-Type", f"text/plain; charset={'us-ascii' if plain else 'utf-8'}"),
        ("Content-Transfer-Encoding", "7bit" if plain else "8bit"),
    ]
    lines = [f"{name}: {_FOREIGN.sub(' ', value)}" for name, value in (*headers, *fixed) if value]
    text = "\n".join(lines) + "\n\n" + "\n".join(_short(line) for line in body.split("\n"))
    return printable(text).encode(errors="replace")


def addresses(found: Sequence[Address]) -> str:
    """To, Cc, From: one address a line."""
    return ",\n\t".join(formataddr((bare(each.name), each.mail)) for each in found)


def ids(found: Sequence[str]) -> str:
    """References: one id a line; of a long thread the first and as many of the last ones as ``UNFOLDED`` has space for
    (RFC 5537 3.4.4)."""
    first, rest = list(found[:1]), found[1:]
    space = UNFOLDED - sum(map(len, first))
    kept: list[str] = []
    for each in reversed(rest):
        space -= len(each) + 1
        if space < 0:
            break
        kept.insert(0, each)
    return "\n\t".join([*first, *kept])


def subject(text: str) -> str:
    """A Subject on as many lines as it needs, cut where they would be more than ``UNFOLDED`` together."""
    line = " ".join(bare(text).split())
    if not line.isascii():
        encoded = _encoded(line)
        while len(encoded) > UNFOLDED:
            line = line[: len(line) * UNFOLDED // len(encoded)].removesuffix("\u2026")[:-1] + "\u2026"
            encoded = _encoded(line)
        return encoded
    folded = textwrap.wrap(
        "Subject: " + line, COLUMNS, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(folded).removeprefix("Subject:").lstrip()


def _encoded(line: str) -> str:
    return Header(line, "utf-8", header_name="Subject").encode(linesep="\n")


def wrap(text: str, *, indent: str = "", first: str | None = None) -> list[str]:
    """``text``, made plain, as lines of at most ``COLUMNS`` columns; a word that is longer is cut.

    Args:
        indent: before each line.
        first: before the first one instead.
    """
    return textwrap.wrap(
        plain(text),
        COLUMNS,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def fold(line: str, *, indent: str = "  ", more: str = "      ") -> list[str]:
    """A line of a log or a command as it is, cut where a mail's line must end."""
    pieces = textwrap.wrap(
        line,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=more,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=True,
        expand_tabs=True,
        tabsize=8,
    )
    return pieces or [""]


def _short(line: str) -> str:
    """The line cut into ones that a mail may hold, never inside a letter."""
    pieces, rest = [], line
    while len(rest.encode(errors="replace")) > LONGEST:
        count = LONGEST
        while len(rest[:count].encode(errors="replace")) > LONGEST:
            count -= 1
        pieces.append(rest[:count])
        rest = rest[count:]
    return "\n".join([*pieces, rest])
