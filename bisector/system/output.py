# SPDX-License-Identifier: GPL-2.0-only
"""The pipes of one running process: feeds its stdin, reads its output as it comes, in bounded memory where wanted."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

LINE = 64 << 10  # bytes after which a line without end is handed on as it is
TAIL = 64 << 10  # bytes of each stream kept when somebody else sees the whole of it
CHUNK = 1 << 20


class Stream:
    """One of stdout and stderr: collects bytes, hands on lines."""

    def __init__(self, log: IO[bytes] | None, on_line: Callable[[str], None] | None) -> None:
        self._log = log
        self._on_line = on_line
        self._keep = bytearray()
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Take a chunk; empty at the end of the stream."""
        if self._log is not None:
            self._log.write(data)
        else:
            self._keep += data
        if self._on_line is None:
            return
        if len(self._keep) > 2 * TAIL:
            del self._keep[:-TAIL]
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) >= LINE or (not data and self._partial):
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            for start in range(0, max(len(line), 1), LINE):
                self._on_line(line[start : start + LINE].decode(errors="replace").rstrip("\r"))

    def text(self) -> str:
        """What is kept: everything, or the tail when lines were handed on."""
        kept = self._keep if self._on_line is None else self._keep[-TAIL:]
        return kept.decode(errors="replace")


class Output:
    """Pipes for one process. ``ends``: the descriptors that it gets as stdin, stdout, stderr."""

    def __init__(self, *, stdin: str | None, log: Path | None, on_line: Callable[[str], None] | None) -> None:
        self._selector = selectors.DefaultSelector()
        self._closing = contextlib.ExitStack()
        self._closing.callback(self._selector.close)
        self._input = memoryview(stdin.encode() if stdin is not None else b"")
        self._theirs: list[int] = []
        file: IO[bytes] | None = None
        if log is not None:  # unbuffered: what a killed owner had read is in the file
            file = self._closing.enter_context(log.open("ab", buffering=0))
        self._out, self._err = Stream(file, on_line), Stream(file, on_line)
        first = subprocess.DEVNULL if stdin is None else self._pipe_in()
        if file is not None and on_line is None:
            self.ends = (first, file.fileno(), file.fileno())
        else:
            self.ends = (first, self._pipe_out(self._out), self._pipe_out(self._err))

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.started()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                os.close(key.fd)
        self._closing.close()

    def started(self) -> None:
        """Close the process's ends here, once it has them."""
        while self._theirs:
            os.close(self._theirs.pop())

    def watch(self, control: int) -> None:
        """Let ``turn`` also end when this descriptor becomes readable."""
        self._selector.register(control, selectors.EVENT_READ, None)

    def turn(self, seconds: float) -> bool:
        """Move what can be moved, waiting at most ``seconds``. True when the watched descriptor became readable.

        Raises OSError when the log cannot be written, and what ``on_line`` raises.
        """
        ended = False
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                ended = True
                self._selector.unregister(key.fd)
            elif key.data == "stdin":
                self._write(key.fd)
            else:
                self._read(key.fd, key.data)
        return ended

    def drain(self, seconds: float) -> None:
        """Read to the end of the output, at most ``seconds`` long: somebody outside the dead tree may hold a pipe."""
        end = time.monotonic() + seconds
        while any(isinstance(key.data, Stream) for key in self._selector.get_map().values()):
            left = end - time.monotonic()
            if left <= 0:
                break
            self.turn(left)

    def texts(self) -> tuple[str, str]:
        """What is kept of stdout and stderr."""
        return self._out.text(), self._err.text()

    def _pipe_in(self) -> int:
        theirs, ours = os.pipe()
        os.set_blocking(ours, False)
        self._theirs.append(theirs)
        self._selector.register(ours, selectors.EVENT_WRITE, "stdin")
        return theirs

    def _pipe_out(self, stream: Stream) -> int:
        ours, theirs = os.pipe()
        self._theirs.append(theirs)
        self._selector.register(ours, selectors.EVENT_READ, stream)
        return theirs

    def _write(self, fd: int) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._input = self._input[os.write(fd, self._input[:CHUNK]) :]
            if self._input:
                return
        self._drop(fd)

    def _read(self, fd: int, stream: Stream) -> None:
        data = os.read(fd, CHUNK)
        stream.feed(data)
        if not data:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)
