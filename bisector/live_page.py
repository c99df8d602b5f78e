# SPDX-License-Identifier: GPL-2.0-only
"""The HTML page of the campaign so far, written anew as it goes: ``--page FILE``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bisector.busy import BusySlots
from bisector.errors import BisectorError, UsageError
from bisector.interfaces import Listener, Phase, Progress
from bisector.printable import printable
from bisector.report import html
from bisector.report.facts import gather
from bisector.report.live import LiveStatus, waiting
from bisector.store import Store
from bisector.system.files import write_whole

LEAST = 2.0
"""Seconds from one writing to the next, at least."""

SHARE = 0.05
"""Of a processor that may be spent on writing: a page of thousands of trials takes longer, so it is written less often.
"""

SLOTS = 64  # lines of what the slots do


class LivePage:
    """Hears the events of a command and writes the page of the campaign that it works on, in a thread of its own.

    Args:
        path: of the page. It is whole at every moment.
        note: says a line to the person, where the page cannot be written any more. The campaign goes on.

    Raises UsageError when there can be no such file.
    """

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
            raise UsageError(f"--page {path}: {'a folder' if path.is_dir() else 'its folder cannot be written'}")
        self._path, self._note = path, note
        self._busy = BusySlots()
        self._campaign = ""
        self._failed = False
        self._news, self._end = threading.Event(), threading.Event()

    def beside(self, listener: Listener) -> Listener:
        """A listener that calls both."""

        def both(progress: Progress) -> None:
            self.listen(progress)
            listener(progress)

        return both

    def listen(self, progress: Progress) -> None:
        """A listener, for any thread: whatever happens is news."""
        self._campaign = progress.campaign or self._campaign
        if progress.phase is Phase.CANDIDATE:
            self._busy.begin(progress.detail)
        elif progress.phase is Phase.FREE:
            self._busy.free(progress.work)
        elif progress.work is not None:
            self._busy.take(progress, time.monotonic())
        self._news.set()

    @contextmanager
    def of(self, store: Store) -> Iterator[None]:
        """Meanwhile the page is written; at the end once more, as that of a campaign which has ended."""
        thread = threading.Thread(target=self._work, args=(store,), name="page", daemon=True)
        self._news.set()
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._news.set()
            thread.join()
            self._written(store, live=False)

    def _work(self, store: Store) -> None:
        html.template()
        while not self._end.is_set():
            self._news.clear()
            before = time.thread_time()
            if not self._written(store, live=True):
                return
            self._end.wait(max(LEAST, (time.thread_time() - before) / SHARE))
            self._news.wait()

    def _written(self, store: Store, *, live: bool) -> bool:
        """Write the page; False where that is not possible any more, which is said once."""
        if self._failed:
            return False
        try:
            shown = LiveStatus(tuple(self._busy.lines(time.monotonic(), SLOTS)), time.time()) if live else None
            write_whole(self._path, self._page(store, shown))
        except BisectorError as error:
            with suppress(OSError, ValueError):
                self._note(f"note: the page is not written any more: {error.what}")
            self._failed = True
            return False
        return True

    def _page(self, store: Store, live: LiveStatus | None) -> str:
        campaign = self._campaign
        if not campaign or not store.has_campaign(campaign):
            return waiting(live)
        return printable(html.render(gather(store, store.campaign(campaign)), live))
