# SPDX-License-Identifier: GPL-2.0-only
"""Lines from a descriptor, read by a thread of its own: QEMU's output, its monitor, and the guest's serial ports."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

LONGEST = 16 << 10  # bytes; a line without end is cut into pieces of this size


class LineSplitter:
    """Bytes in, lines out (without their end, and without the carriage returns of a serial port).

    A line of more than ``longest`` bytes comes in pieces; with ``heads`` its first piece alone, as the next one would
    pass for a line of its own.
    """

    def __init__(self, longest: int = LONGEST, *, heads: bool = False) -> None:
        self._rest = b""
        self._longest = longest
        self._heads = heads
        self._inside = False  # of a line whose first piece has been given

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        found: list[bytes] = []
        for line in whole:
            found += self._pieces(line)
            self._inside = False
        if len(self._rest) > self._longest:
            end = (len(self._rest) - 1) // self._longest * self._longest
            found += self._pieces(self._rest[:end])
            self._rest, self._inside = self._rest[end:], True
        return [line.decode(errors="replace").replace("\r", "") for line in found]

    def _pieces(self, line: bytes) -> list[bytes]:
        if self._heads:
            return [] if self._inside else [line[: self._longest]]
        return [line[at : at + self._longest] for at in range(0, max(1, len(line)), self._longest)]

    def rest(self) -> list[str]:
        """What came after the last line end."""
        left, self._rest = self._rest, b""
        return [one.decode(errors="replace").replace("\r", "") for one in self._pieces(left)] if left else []


def pump(
    descriptor: int,
    on_line: Callable[[str], None],
    on_end: Callable[[], None],
    longest: int = LONGEST,
    *,
    heads: bool = False,
) -> threading.Thread:
    """Read ``descriptor`` in a thread until it ends, and close it. ``longest`` and ``heads`` as of ``LineSplitter``."""

    def read() -> None:
        splitter = LineSplitter(longest, heads=heads)
        while True:
            try:
                data = os.read(descriptor, 1 << 16)
            except OSError:  # a socket whose other end was killed
                data = b""
            for line in splitter.feed(data) if data else splitter.rest():
                on_line(line)
            if not data:
                break
        on_end()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def qmp_event(line: str) -> tuple[str, str] | None:
    """Name and data of a QMP event, None for anything else that the monitor says."""
    try:
        message: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        return None
    data = message.get("data")
    return message["event"], json.dumps(data, sort_keys=True) if data else ""


def qmp_answer(line: str) -> tuple[int, bool, str] | None:
    """Of an answer to a command with a number that number, whether it worked, and what was said; None for others."""
    try:
        message: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or type(message.get("id")) is not int:
        return None
    if "return" in message:
        return message["id"], True, json.dumps(message["return"], sort_keys=True)
    error = message.get("error")
    words = error if isinstance(error, dict) else {}
    return message["id"], False, f"{words.get('class', 'error')}: {words.get('desc', '')}"


def printable(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters, with what is no plain character as a dot: fit for a kernel log line."""
    return "".join(letter if " " <= letter <= "~" else "." for letter in text[:limit])
