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
    """Bytes in, lines out (without their end, and without the carriage returns of a serial port)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LONGEST:
            whole.append(self._rest[:LONGEST])
            self._rest = self._rest[LONGEST:]
        return [line.decode(errors="replace").replace("\r", "") for line in whole]

    def rest(self) -> list[str]:
        """What came after the last line end."""
        left, self._rest = self._rest, b""
        return [left.decode(errors="replace").replace("\r", "")] if left else []


def pump(descriptor: int, on_line: Callable[[str], None], on_end: Callable[[], None]) -> threading.Thread:
    """Read ``descriptor`` in a thread until it ends, and close it."""

    def read() -> None:
        splitter = LineSplitter()
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


def printable(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters, with what is no plain character as a dot: fit for a kernel log line."""
    return "".join(letter if " " <= letter <= "~" else "." for letter in text[:limit])
