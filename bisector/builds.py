# SPDX-License-Identifier: GPL-2.0-only
"""Builds that run before anybody needs them, while trials run.

Nothing is decided here. A build that was made ahead lies in the cache, where the one who needs it finds it; one that
failed or was stopped is begun anew when it is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from bisector.codec import digest
from bisector.errors import BisectorError
from bisector.execute.executor import Executor
from bisector.interfaces import CancelToken, EditsDoNotApply, Listener, Target, ignore
from bisector.jobs import make_image
from bisector.model import BuildFailure, Candidate, Image

Likely = Callable[[], Iterable[Candidate]]
"""Gives the candidates that may be needed next, the likeliest first. Called in a thread; it may take its time."""


@dataclass(eq=False)
class _Build:
    future: Future[Image | BuildFailure]
    cancel: CancelToken


class BuildsAhead:
    """Builds likely candidates with idle builders.

    Args:
        builders: builds ahead at once, read anew as machines come and go; 0: none. With one, it pauses while a build
            runs that is needed now: the two would only share the processors, and the second build folder would begin
            with no objects.
    """

    def __init__(
        self,
        builders: int | Callable[[], int],
        target: Target,
        executor: Executor,
        cancel: CancelToken,
        listener: Listener = ignore,
    ) -> None:
        self._count, self._target, self._executor = builders, target, executor
        self._cancel, self._listener = cancel, listener
        self._lock = threading.RLock()
        self._waiting: list[tuple[str, Candidate]] = []
        self._running: dict[str, _Build] = {}
        self._ended: set[str] = set()  # keys of builds that came to their end
        self._request = 0  # number of what was wanted last
        self._made_now: list[str] = []  # keys of builds that are needed now
        self._planner: ThreadPoolExecutor | None = None
        self._planned: Future[None] | None = None

    def want(self, likely: Likely, *, now: Candidate | None = None) -> None:
        """From here on build these, instead of what was wanted before. What runs and is not among them is stopped.

        ``now``: what is about to be needed; it is not begun here, and goes on where it runs.

        Raises what the last ``likely`` raised, where that was a defect of ours and not of git or the tree.
        """
        if not self._builders:
            return
        if self._planned and self._planned.done():
            self._planned.result()
        with self._lock:
            self._request += 1
            self._waiting.clear()
            request = self._request
            if self._planner is None:
                self._planner = ThreadPoolExecutor(1, thread_name_prefix="plan")
            self._planned = self._planner.submit(self._plan, likely, now, request)

    def rest(self) -> None:
        """Begin no more, and wait for the plan under way, which works in a folder that goes now. What is built already
        comes to its end."""
        with self._lock:
            self._request += 1
            self._waiting.clear()
        if self._planned:
            self._planned.result()

    @contextmanager
    def needed(self, key: str) -> Iterator[None]:
        """Held while the build of ``key`` is made for somebody who waits. One that runs ahead is waited for; others
        are stopped and have ended before this begins, where there is one builder."""
        with self._lock:
            self._made_now.append(key)
            own = self._running.get(key)
            others = [build for name, build in self._running.items() if name != key] if self._alone else []
        try:
            for build in others:
                _stop(build)
            for build in (*others, *filter(None, (own,))):
                _wait(build)
            yield
        finally:
            with self._lock:
                self._made_now.remove(key)
                self._ended.add(key)
            self._fill()

    @property
    def _builders(self) -> int:
        return self._count if isinstance(self._count, int) else self._count()

    @property
    def _alone(self) -> bool:
        return self._builders < 2

    def _plan(self, likely: Likely, now: Candidate | None, request: int) -> None:
        """Put what is likely in order, one by one: each may cost git a second."""
        keys = set()
        with suppress(BisectorError, EditsDoNotApply):  # git cannot say: nothing is built ahead
            if now:
                keys.add(self._target.key(now))
            for candidate in likely():
                try:
                    key = self._target.key(candidate)
                except EditsDoNotApply:
                    continue
                with self._lock:
                    if request != self._request or self._cancel.cancelled():
                        return
                    if key not in keys and key not in self._ended and key not in self._running:
                        self._waiting.append((key, candidate))
                    keys.add(key)
                self._fill()
        with self._lock:
            useless = [build for key, build in self._running.items() if key not in keys and request == self._request]
        for build in useless:
            _stop(build)

    def _fill(self) -> None:
        with self._lock:
            while self._waiting and len(self._running) < self._builders and not (self._made_now and self._alone):
                key, candidate = self._waiting.pop(0)
                if key in self._running or key in self._ended or key in self._made_now:
                    continue
                cancel = self._cancel.child(f"build-{digest(key, len(self._ended))[:12]}")
                try:
                    if self._cancel.cancelled():
                        return
                    future = self._executor.submit("ahead", make_image, self._target, candidate, self._listener, cancel)
                except RuntimeError:  # its executor takes no more
                    if self._cancel.cancelled():
                        return
                    raise
                self._running[key] = _Build(future, cancel)
                future.add_done_callback(partial(self._over, key))

    def _over(self, key: str, future: Future[Image | BuildFailure]) -> None:
        with self._lock:
            build = self._running.pop(key)
            if not future.cancelled() and not future.exception():
                self._ended.add(key)
        build.cancel.forget()
        self._fill()


def _stop(build: _Build) -> None:
    if not build.future.cancel() and not build.future.done():
        build.cancel.cancel()


def _wait(build: _Build) -> None:
    """Until it has ended, however it does."""
    if not build.future.cancelled():
        build.future.exception()
