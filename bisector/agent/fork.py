# SPDX-License-Identifier: GPL-2.0-only
"""Work that a fork of this process does beside it, and reports through a pipe."""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import signal
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Fork(Generic[T]):
    """A fork that does ``work``, from entering to leaving. What it returns must be plain: numbers, texts, tuples.

    The fork has this process's memory as it was and none of its other threads: ``work`` may not wait for them, import,
    or write to what is shared. It answers or it does not; why not is for who does the work instead to find.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._pid = 0  # no fork (any more)
        self._pipe = -1

    def __enter__(self) -> Fork[T]:
        with contextlib.suppress(OSError):  # no space for one more: no answer
            self._pipe, out = os.pipe()
            try:
                self._pid = os.fork()
                if self._pid == 0:
                    _record(self._work, out)
            finally:
                os.close(out)
        return self

    def answer(self, seconds: float) -> T | None:
        """What the work returned; None when it failed, was killed, or did not end in so many seconds."""
        until = time.monotonic() + seconds
        sent = b""
        while self._pid:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            piece = os.read(self._pipe, 1 << 16)
            if not piece:
                break
            sent += piece
        return self._answer_of(sent) if self._ended() else None

    def _answer_of(self, sent: bytes) -> T | None:
        with contextlib.suppress(EOFError, ValueError, TypeError):
            answer: T = marshal.loads(sent)
            return answer
        return None

    def _ended(self) -> bool:
        """Whether it ended well, after it closed the pipe."""
        pid, self._pid = self._pid, 0
        return pid != 0 and os.waitpid(pid, 0)[1] == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End a fork that has not answered. One that is stuck in the kernel is not waited for."""
        if self._pipe >= 0:
            os.close(self._pipe)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            until = time.monotonic() + 1.0
            while os.waitpid(self._pid, os.WNOHANG)[0] == 0 and time.monotonic() < until:
                time.sleep(0.01)


def _record(work: Callable[[], Any], out: int) -> None:
    """In the fork: do the work, and leave without a trace of what the process before it holds open."""
    gc.disable()  # or it may end, flush or reap what is another's
    status = 1
    try:
        answer = memoryview(marshal.dumps(work()))
        while answer:
            answer = answer[os.write(out, answer) :]
        status = 0
    finally:
        os._exit(status)
