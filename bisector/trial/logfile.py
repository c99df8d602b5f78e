# SPDX-License-Identifier: GPL-2.0-only
"""A log that keeps its beginning and its end within a bound, and says how much lay between."""

from __future__ import annotations

from collections import deque
from pathlib import Path

HEAD = TAIL = 2 << 20  # bytes


class BoundedLog:
    """Writes the first ``head`` bytes at once and keeps the last ``tail`` bytes for ``close``. Raises OSError."""

    def __init__(self, path: Path, *, head: int = HEAD, tail: int = TAIL) -> None:
        self._file = path.open("wb", buffering=0)
        self._room = head
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._bound = tail
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Add bytes."""
        if self._room:
            written = self._file.write(data[: self._room]) or 0
            self._room -= written
            data = data[written:]
        if not data:
            return
        self._tail.append(data)
        self._held += len(data)
        while self._held > self._bound:
            first = self._tail.popleft()
            excess = min(len(first), self._held - self._bound)
            self._held -= excess
            self._left_out += excess
            if excess < len(first):
                self._tail.appendleft(first[excess:])

    def close(self) -> None:
        """Write what is left. Idempotent."""
        if self._file.closed:
            return
        try:
            if self._left_out:
                self._file.write(f"\n[... {self._left_out} bytes left out ...]\n".encode())
            self._file.write(b"".join(self._tail))
        finally:
            self._file.close()
