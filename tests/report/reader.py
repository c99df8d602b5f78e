# SPDX-License-Identifier: GPL-2.0-only
"""Reads regzbot commands as regzbot's rules have it, line by line and without the project's own reader.

A block begins at a line that starts with ``#regzbot`` in column 0 after a truly empty line (or at the very beginning),
and ends before the next truly empty line (or at the very end). Inside, ``#regzbot`` at a line's beginning or after a
semicolon begins a command, elsewhere it only ends one; what follows on further lines belongs to the last parameter.
"""

from __future__ import annotations

import email
import email.policy

TAG = "#regzbot"


def commands(text: str) -> list[tuple[str, str]]:
    """(name, parameter) of each command, in order."""
    lines = text.split("\n")
    found: list[tuple[str, str]] = []
    number = 0
    while number < len(lines):
        if lines[number].lower().startswith(TAG) and (number == 0 or lines[number - 1] == ""):
            block = []
            while number < len(lines) and lines[number] != "":
                block.append(lines[number])
                number += 1
            found += _in_block(block)
        number += 1
    return found


def _in_block(block: list[str]) -> list[tuple[str, str]]:
    words: list[list[str]] = []
    previous, lost = "", False
    for line in block:
        for number, word in enumerate(line.split()):
            if word.lower() == TAG:
                begins = (number == 0 and not line[0].isspace()) or previous.endswith(";")
                lost = not begins
                if begins:
                    words.append([])
            elif not lost:
                words[-1].append(word)
            previous = word
    return [(each[0].rstrip(":").lower(), " ".join(each[1:]).removesuffix(";")) for each in words if each]


def ignored(text: str) -> bool:
    """Whether regzbot would overlook the mail: this one command counts in any line, also after a semicolon."""
    for line in text.lower().split("\n"):
        for part in [line, *line.split(";")[1:]]:
            words = part.split()
            if (
                part.startswith((TAG, " ", "\t"))
                and words[:1] == [TAG]
                and words[1:2] in (["ignore-activity"], ["poke"])
            ):
                return line.startswith(TAG) or part is not line
    return False


def body(data: bytes) -> str:
    """A mail's text as the standard library decodes it, with the line ends of a text."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    return str(message.get_content())
