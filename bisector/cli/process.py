# SPDX-License-Identifier: GPL-2.0-only
"""This process as the commands find it: streams that take every text, and signals that end it in order."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask us to stop. One that the caller had ignored, as nohup does with SIGHUP, stays ignored."""

TOGETHER = 1.0
"""Seconds in which a second signal says the same as the first: of a terminal that closes two come, from the kernel and
from the shell."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def open_streams() -> None:
    """Give us stdin, stdout and stderr that are open and can be written any text to.

    Where the caller closed one, its number would go to the next file that is opened, and what is printed into that
    file. Where the locale has no letter for what is printed, it is escaped.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    os.close(null)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Let what is still to be printed go nowhere: nobody reads it, or it cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Meanwhile each of ``STOPPING`` is a KeyboardInterrupt, as Ctrl-C is: files are removed, children ended."""
    with _handling(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers from there alone
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    _handle(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            if old is not None:  # None: not Python's
                signal.signal(number, old)


def _handle(handler: Callable[[int, Any], Any]) -> None:
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def stop_in_order(cancel: Callable[[], None]) -> None:
    """From now on the first of ``STOPPING`` calls ``cancel`` and says so; a later one ends us at once."""
    first: list[float] = []

    def stop(_: int, __: Any) -> None:
        if first and time.monotonic() - first[0] > TOGETHER:
            raise KeyboardInterrupt
        if not first:
            first.append(time.monotonic())
            cancel()
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(2, b"\nstopping; what is finished is kept (again: stop at once)\n")

    if threading.current_thread() is threading.main_thread():
        _handle(stop)
