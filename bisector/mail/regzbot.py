# SPDX-License-Identifier: GPL-2.0-only
"""The language of regzbot, which tracks kernel regressions on the lists: commands read from a mail, a block written.

Rules: regzbot's docs/reference.md, and the expressions in its regzbot/_rbcmd.py. A block stands between truly empty
lines; its first line begins with ``#regzbot`` in column 0; lines that follow a command continue its last parameter.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bisector.report.excerpt import printable

COMMANDS = 50  # of one mail that are read
LONGEST = 400  # bytes of a command's line; a subject that would make it longer is left away

_BLOCK = re.compile(r"^\n#regzbot.*?\n(?=\n|\Z)", re.MULTILINE | re.IGNORECASE | re.DOTALL)
_COMMAND = re.compile(r"(?:\A|\n|;\s+)#regzbot\s+(.*?)(?=;?\n\s*$|;?\s+#regzbot)", re.M | re.I | re.DOTALL)
_RUN = re.compile(r"\s{2,}")
_WORDS = re.compile(r"([\^\w-]+)(?::?\s+)?(.*)", re.DOTALL)
_NAME = re.compile("#(?=regzbot)", re.IGNORECASE)
_POINTER = re.compile(r"\^|/|~|http\S*")

ALIASES = {
    "^introduced": "introduced^",
    "subject": "title",
    "summary": "title",
    "fixed-by": "fix",
    "fixedby": "fix",
    "invalid": "resolve",
    "resolved": "resolve",
    "inconclusive": "resolve",
    "dup-of": "duplicate-of",
    "duplicate": "duplicate-of",
    "dupof": "duplicate-of",
    "dup": "duplicate-of",
}
"""Other names of the commands that matter here."""


@dataclass(frozen=True)
class Command:
    """One command. ``pointer``: the report that an ``introduced`` means: "" the mail itself, ``^`` the parent, ``/``
    the thread's root, else an address."""

    name: str
    parameter: str
    pointer: str = ""


def commands(text: str) -> tuple[Command, ...]:
    """The commands in a mail's text, in order, under one name each (``ALIASES``). Quoted ones are none."""
    padded = "\n" + text.replace("\r\n", "\n") + "\n\n"
    found = (command for block in _BLOCK.finditer(padded) for command in _in_block(_RUN.sub(_short, block[0])))
    return tuple(islice(found, COMMANDS))


def _short(run: re.Match[str]) -> str:
    """A run of blanks and line ends as the shortest one that means the same: the expressions below take the square of
    its length."""
    first, last, lines = run[0][0], run[0][-1], run[0].count("\n")
    if not lines:
        return " "
    return (" " if first != "\n" else "") + "\n" * min(lines, 2) + (" " if last != "\n" else "")


def _in_block(block: str) -> Iterator[Command]:
    for found in _COMMAND.finditer(block + "\n"):
        words = _WORDS.match(re.sub(r"\s*\n", " ", found[1]))
        if words:
            name = words[1].lower()
            yield _command(ALIASES.get(name, name), printable(words[2].strip()).strip())


def _command(name: str, parameter: str) -> Command:
    if name not in ("introduced", "introduced^"):
        return Command(name, parameter)
    pointer = "^" if name == "introduced^" else ""
    words = parameter.split()
    for word in words[1:]:
        if _POINTER.fullmatch(word):
            pointer = "/" if word == "~" else word
            words.remove(word)
    return Command("introduced", " ".join(words), pointer)


def block(introduced: str, *, parent: bool = False, title: str = "") -> str:
    """A block that says what introduced a regression, without the empty lines that must stand around it.

    Args:
        introduced: from ``commit`` or ``span``.
        parent: the mail's parent is the report.
        title: what regzbot is to call the regression; "" leaves it the report's subject.
    """
    lines = [f"#regzbot {'^' if parent else ''}introduced: {introduced}"]
    if title:
        lines.append(f"#regzbot title: {one_line(title)}")
    return "\n".join(lines)


def commit(oid: str, subject: str) -> str:
    """A culprit as regzbot takes it: 12 digits and the subject.

    A subject goes without when regzbot would take a word of it for a pointer to another mail, or when it is overlong.
    """
    subject = one_line(subject)
    named = f'{oid[:12]} ("{subject}")'
    pointed = any(_POINTER.fullmatch(word) or word.startswith("http") for word in named.split()[1:])
    return oid[:12] if pointed or not subject or len(named.encode()) > LONGEST else named


def span(good: str, bad: str) -> str:
    """A range as regzbot takes it; both ends are tags or ids of a commit, which hold no blanks."""
    return f"{good}..{bad}"


def defuse(text: str) -> str:
    """``text`` in which nothing is a command any more: what others wrote must not speak to regzbot through us."""
    return _NAME.sub("# ", text)


def plain(text: str) -> str:
    """``text`` on one line, of printable characters, and without a command."""
    return " ".join(defuse(printable(text)).split())


def one_line(text: str) -> str:
    """``plain`` text of at most ``LONGEST`` bytes, no letter cut."""
    return plain(text).encode()[:LONGEST].decode(errors="ignore")
