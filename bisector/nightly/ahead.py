# SPDX-License-Identifier: GPL-2.0-only
"""Questions and searches of a night that run before its decisions come to them, several at once.

The order of completion decides nothing (law 9). The night decides recipe by recipe, regression by regression. Beside it
previews go through the same decisions on copies of its state that nobody keeps, only to have the answers begun: what a
preview was answered, the night is answered too when its turn comes. A preview that foresaw wrongly has wasted trials.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from bisector.errors import BisectorError
from bisector.interfaces import Listener, Phase, ignore
from bisector.nightly.drafts import Drafts
from bisector.nightly.records import Answer, Kind, Night, Regression, Search
from bisector.nightly.state import Ended, NightState
from bisector.recipe.model import Recipe
from bisector.store import CampaignRow

MOST = 64
"""Questions and searches at once, at most; each has a thread that waits for its trials."""


class Preview(NightState):
    """A copy of a night's state whose changes nobody sees: only the answers are got, as the night itself would."""

    real: NightState

    @classmethod
    def of(cls, real: NightState) -> Preview:
        """The night as it stands now."""
        names = ("watch", "session", "tree", "day", "runner", "night", "before", "deadline", "cut", "once")
        made = cls(**{name: getattr(real, name) for name in names}, regressions=dict(real.regressions))
        made.real = real
        return made

    @property
    def listener(self) -> Listener:
        """Nobody."""
        return ignore

    def save_night(self, night: Night) -> None:
        """As it would stand then."""
        self.night = night

    def save(self, regression: Regression) -> Regression:
        """As it would stand then."""
        self.regressions[regression.id] = regression
        return regression

    def add_news(self, kind: Kind, regression: Regression, text: str) -> None:
        """For this copy alone: decisions look at some of them."""
        self.night = self.night.with_last_news(kind, regression.id, text)

    def emit(self, phase: Phase, text: str, regression: Regression, **facts: object) -> None:
        """Nobody hears it."""

    def answered(self, key: Hashable, work: Callable[[], Answer]) -> Answer:
        """The answer, which the night has from now on too: a kill does not lose it."""

        def kept() -> Answer:
            answer = work()
            self.real.keep_ahead(key, answer)
            return answer

        return self.once.get(key, kept)

    def ended(self, key: Hashable, regression: Regression, search: Search, work: Callable[[], Ended]) -> Ended:
        """The search's end; that it was begun is written down, so that a later night goes on with it."""

        def noted() -> Ended:
            self.real.keep_search(regression.id, search)
            return work()

        return self.once.get(key, noted)


@dataclass(frozen=True)
class NoDrafts(Drafts):
    """Writes nothing."""

    def page(self, row: CampaignRow) -> None:
        """None."""

    def draft(self, found: Regression, recipe: Recipe, row: CampaignRow) -> Regression:
        """None."""
        return found


class NightAhead:
    """Runs previews beside a night, so many at once as there are trial slots. With one slot there are none.

    Use as a context manager: at its end nothing runs any more.
    """

    def __init__(self, state: NightState) -> None:
        self._state = state
        count = min(state.session.trials_at_once, MOST)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="night") if count > 1 else None
        self._running: list[Future[None]] = []

    def __enter__(self) -> NightAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool:
            if kind or not all(each.done() for each in self._running):
                self._state.session.cancel.cancel()
            self._pool.shutdown(cancel_futures=True)

    def begin(self, works: Iterable[Callable[[Preview], object]]) -> None:
        """Begin these, each on a copy of the night as it stands now, in that order as threads are free."""
        if self._pool is None:
            return
        self._running = [self._pool.submit(self._preview, work, Preview.of(self._state)) for work in works]

    def join(self) -> None:
        """Wait for all that were begun. Raises what no preview may raise: a defect of ours."""
        for each in self._running:
            each.result()
        self._running = []

    @staticmethod
    def _preview(work: Callable[[Preview], object], state: Preview) -> None:
        with suppress(BisectorError):  # the night meets it when it comes to the same question
            work(state)
