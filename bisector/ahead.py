# SPDX-License-Identifier: GPL-2.0-only
"""Trials that run before a decision looks at them, in slots that are free.

The order of completion decides nothing (law 9). Trials have numbers within their series; whoever decides takes them in
that order, one by one, and decides as if they had run so. What was run ahead and not needed is kept apart in the
store: it is shown, never counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from bisector.case import Case
from bisector.execute.share import TrialSlots
from bisector.interfaces import CancelToken
from bisector.model import Candidate, Image, Observation, Trial
from bisector.store import TrialKey


@dataclass(frozen=True)
class UpcomingTrial:
    """A trial that a decision will look at, or may.

    ``index``: trials of its image, question and stage before it; ``rank``: of these, those that are still to come. Each
    of them may decide, so that the lower rank is the likelier to be needed.
    """

    candidate: Candidate
    image: Image
    case: Case
    stage: str
    index: int
    rank: int = 0

    @cached_property
    def key(self) -> TrialKey:
        """What distinguishes it from other trials of the campaign."""
        return TrialKey(self.image.identity, self.case.plan.identity(), self.stage, self.index)


@dataclass(eq=False)
class Run:
    """A trial under way. ``trial``: makes the record of it from what the slot saw, and raises where there is none."""

    future: Future[Observation]
    trial: Callable[[Observation], Trial]
    cancel: CancelToken
    result: Future[Trial] = field(default_factory=Future)


@dataclass(eq=False)
class Scope:
    """What one decision wants: ``waiting`` by rank, and the keys of what was started for it."""

    ahead: TrialsAhead
    waiting: deque[UpcomingTrial] = field(default_factory=deque)
    started: set[TrialKey] = field(default_factory=set)

    def want(self, wanted: Iterable[UpcomingTrial]) -> None:
        """Want these from here on, instead of what was wanted before and has not begun."""
        self.ahead.replace(self, wanted)


class TrialsAhead:
    """Starts wanted trials while slots are free, and hands them out when their turn comes.

    Args:
        slots: where they run.
        start: begins a trial.
        keep: stores a trial that ran ahead, in any thread.
        kept: those that an earlier process of the campaign stored.
    """

    def __init__(
        self,
        slots: TrialSlots,
        start: Callable[[UpcomingTrial], Run],
        keep: Callable[[TrialKey, Trial], None],
        kept: Iterable[TrialKey] = (),
    ) -> None:
        self.slots = slots
        self._start, self._keep = start, keep
        self._lock = slots.lock
        self._kept = set(kept)
        self._runs: dict[TrialKey, Run] = {}
        self._begun = set(self._kept)
        self._scopes: list[Scope] = []

    @property
    def wants(self) -> bool:
        """Whether somebody decides by its trials now."""
        return bool(self._scopes)

    @contextmanager
    def scope(self) -> Iterator[Scope]:
        """What is wanted meanwhile goes before what scopes around it want. At its end what has not ended is dropped."""
        scope = Scope(self)
        with self._lock:
            self._scopes.append(scope)
            self.slots.add(self)
        try:
            yield scope
        finally:
            self._drop(scope)

    def replace(self, scope: Scope, wanted: Iterable[UpcomingTrial]) -> None:
        """See ``Scope.want``."""
        if self.slots.count < 2:
            return
        with self._lock:
            scope.waiting = deque(sorted(wanted, key=lambda one: one.rank))
        self.slots.fill()

    def take(self, wanted: UpcomingTrial) -> Trial | None:
        """Wait for a trial; None for one that ran ahead and is kept in the store. Raises what running it raised."""
        with self._lock:
            if wanted.key in self._kept:
                self._kept.discard(wanted.key)
                self._runs.pop(wanted.key, None)
                return None
            run = self._runs.get(wanted.key)
            ahead = run is not None
            if run is None:
                self._begun.add(wanted.key)
                run = self._launch(wanted, ahead=False)
        try:
            trial = run.result.result()
        finally:
            with self._lock:
                self._runs.pop(wanted.key, None)
        with self._lock:
            self._kept.discard(wanted.key)
        return None if ahead else trial

    def rank(self) -> int | None:
        """Of what is the likeliest to be needed of what has not begun; None where nothing is wanted."""
        for scope in self._scopes:
            while scope.waiting and scope.waiting[0].key in self._begun:
                scope.waiting.popleft()
        return min((scope.waiting[0].rank for scope in self._scopes if scope.waiting), default=None)

    def begin_next(self) -> None:
        """Begin that: the lowest rank, of equals the innermost scope's."""
        waiting = [scope for scope in reversed(self._scopes) if scope.waiting]
        scope = min(waiting, key=lambda each: each.waiting[0].rank)
        wanted = scope.waiting.popleft()
        self._begun.add(wanted.key)
        scope.started.add(wanted.key)
        self._runs[wanted.key] = self._launch(wanted, ahead=True)

    def _launch(self, wanted: UpcomingTrial, *, ahead: bool) -> Run:
        run = self._start(wanted)
        self.slots.taken()
        run.future.add_done_callback(lambda future: self._ended(wanted.key, run, future, ahead))
        return run

    def _ended(self, key: TrialKey, run: Run, future: Future[Observation], ahead: bool) -> None:
        """A slot is free. What ran ahead is stored before anybody learns of it, so that a kill does not lose it."""
        made = self._made(key, run, future, ahead)
        with self._lock:
            self.slots.freed()
            if isinstance(made, BaseException):
                self._begun.discard(key)
            elif ahead:
                self._kept.add(key)
        if isinstance(made, BaseException):
            run.result.set_exception(made)
        else:
            run.result.set_result(made)
        run.cancel.forget()
        self.slots.fill()

    def _made(self, key: TrialKey, run: Run, future: Future[Observation], ahead: bool) -> Trial | BaseException:
        error = CancelledError() if future.cancelled() else future.exception()
        if error:
            return error
        try:
            trial = run.trial(future.result())
            if ahead:
                self._keep(key, trial)
        except Exception as raised:  # noqa: BLE001  # whoever takes the trial gets it; in this thread nobody would
            return raised
        return trial

    def _drop(self, scope: Scope) -> None:
        with self._lock:
            self._scopes.remove(scope)
            left = [self._runs.pop(key) for key in scope.started if key in self._runs]
        for run in left:
            if not run.future.cancel() and not run.future.done():
                run.cancel.cancel()
