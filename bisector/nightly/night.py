# SPDX-License-Identifier: GPL-2.0-only
"""One night, read top to bottom: is there a new day → each recipe on it → what was seen, what is gone → searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from bisector.errors import BisectorError, Interrupted, UsageError
from bisector.exitcodes import ExitCode
from bisector.interfaces import Phase, Progress
from bisector.model import Cell
from bisector.nightly import summary
from bisector.nightly.ahead import NightAhead, NoDrafts, Preview
from bisector.nightly.config import Watch, WatchedRecipe
from bisector.nightly.deadline import Clock, Deadline, Spent
from bisector.nightly.drafts import Drafts
from bisector.nightly.questions import QuestionRunner
from bisector.nightly.records import NEW, Kind, Night, Regression, State
from bisector.nightly.sightings import Sightings
from bisector.nightly.state import NightState, nights_of, regressions_of
from bisector.nightly.trees.kinds import tree_of
from bisector.nightly.trees.tree import Day, Tree
from bisector.nightly.triage import RegressionTriage
from bisector.session import Session
from bisector.system.locks import locked


@dataclass(frozen=True)
class Report:
    """What a night came to. ``nothing``: there was no new day, and nothing was run."""

    night: Night
    regressions: tuple[Regression, ...]
    nothing: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """3 when the harness failed somewhere, else 1 when there is something new, else 4 when a recipe has no verdict,
        else 0."""
        if self.nothing:
            return ExitCode.OK
        if self.night.troubles:
            return ExitCode.INFRA
        if summary.news(self.night, self.regressions, NEW):
            return ExitCode.BAD
        return ExitCode.UNDECIDED if summary.unjudged(self.night) else ExitCode.OK


def run(watch: Watch, session: Session, clock: Clock = time.monotonic) -> Report:
    """One night's work, or what is left of the last one.

    Args:
        session: its store holds the memory, its state folder the clone.
        clock: the budget is counted by it; a steady one.

    Raises InfraError when another night of this watch is at work or the source cannot be fetched, UsageError when the
    source is no linux-next, or another tree than the watch has followed before, Interrupted when stopped (what is
    finished is kept).
    """
    folder = session.setting.folders.state / "nightly" / watch.name
    with locked(folder / "lock", busy=f"a night of {watch.name} is at work in another process"):
        tree = tree_of(watch, folder, session.processes, session.cancel)
        session.setting.listener(Progress(Phase.STAGE, f"Looking for a new state of {tree.name} in {watch.repo}"))
        nights = nights_of(session.store, watch.name)
        tag, oid = _newest(watch, tree, nights)
        if last := _looked_at(nights, tag, oid):
            report = Report(last, regressions_of(session.store, watch.name), nothing=True)
            summary.write_index(watch.out, watch.name, nights, report.regressions)
            facts = {"watch": watch.name, "night": last.name, "tag": tag, "next": oid, "ran": False, "exit_code": 0}
            session.setting.listener(Progress(Phase.NIGHT, tag, facts=facts))
            return report
        session.setting.listener(Progress(Phase.STAGE, f"Fetching {tag}"))
        tree.fetch(tag)
        day = tree.day(tag)
        tree.pin(day)
        return _Work(_open_state(watch, session, tree, day, nights, clock)).run()


def _newest(watch: Watch, tree: Tree, nights: tuple[Night, ...]) -> tuple[str, str]:
    """Name and commit of the state to look at. Raises InfraError, UsageError."""
    tag, oid = tree.newest()
    if others := {night.tag.rpartition("-")[0] for night in nights} - {tag.rpartition("-")[0]}:
        what = f"the watch {watch.name} has followed {', '.join(sorted(others))} so far, and not {tree.name}"
        raise UsageError(what, hint=f"give it another name in {watch.file.name}: what a watch remembers is of one tree")
    return max([tag, *(night.tag for night in nights)]) if tree.replaced else tag, oid


def _looked_at(nights: tuple[Night, ...], tag: str, oid: str) -> Night | None:
    """The night that was done on exactly this state, or the last one, where the state is older; None for a new one."""
    done = [night for night in nights if night.state is State.DONE]
    same = next((night for night in done if (night.tag, night.next) == (tag, oid)), None)
    last = max(done, key=lambda night: (night.tag, night.began), default=None)
    return same or (last if last and tag < last.tag else None)


def _open_state(
    watch: Watch, session: Session, tree: Tree, day: Day, nights: tuple[Night, ...], clock: Clock
) -> NightState:
    earlier = [night for night in nights if night.tag == day.tag and night.next != day.next.oid]
    night = next((night for night in nights if (night.tag, night.next) == (day.tag, day.next.oid)), None) or Night(
        watch=watch.name,
        tag=day.tag,
        next=day.next.oid,
        base=day.base.oid,
        base_name=day.base_name,
        began=time.time(),
        moved_from=earlier[-1].next if earlier else "",
    )
    clone = session.clone(tree.history)
    regressions = {each.id: each for each in regressions_of(session.store, watch.name)}
    begun = {each.id for each in regressions.values() if each.search}  # and go on now
    news = tuple(each for each in night.news if each.kind is not Kind.UNFINISHED or each.regression not in begun)
    before = tuple(one for one in nights if (one.tag, one.next) != (night.tag, night.next))
    runner = QuestionRunner(session, clone, watch.name, day, str(tree.folder))
    return NightState(
        watch=watch,
        session=session,
        tree=tree,
        day=day,
        runner=runner,
        night=replace(night, state=State.OPEN, stopped="", troubles=(), news=news),
        before=before,
        cut={one.name: runner.cut_short(one, watch.items) for one in before if one.state is not State.DONE},
        regressions=regressions,
        deadline=Deadline(
            session,
            Spent(watch.budget, watch.machine_budget),
            clock,
            Spent(night.used, night.used_machine),
            Spent(night.seconds, night.machine),
        ),
    )


class _Work:
    def __init__(self, state: NightState) -> None:
        self.state = state
        self.triage = RegressionTriage(state, Drafts(state))
        self.sightings = Sightings(state)

    def run(self) -> Report:
        """The whole night. Its summary is written however it ends."""
        state = self.state
        state.save_night(state.night)
        state.emit_night(recipes=[item.name for item in state.watch.items])
        try:
            with state.deadline.watched(), NightAhead(state) as ahead:
                self._work(ahead)
        except Interrupted:
            return self._interrupted()
        except BaseException:
            self._close("it was ended from outside")
            raise
        return self._close("")

    def _work(self, ahead: NightAhead) -> None:
        """All there is to do. Each part is decided in order, and what it needs is begun ahead where slots are free."""
        self._guarded("what was written earlier", self.triage.drafts.restore)
        ahead.begin((*map(_first, self._every_cell()), *map(_test, self.state.watch.items)))
        for item in self.state.watch.items:
            self._guarded(item.name, partial(self.sightings.test, item))
        ahead.join()
        by_recipe = groupby(sorted(self._by_urgency(), key=lambda each: each.recipe), lambda each: each.recipe)
        ahead.begin([_triage([each.id for each in group]) for _, group in by_recipe])
        for regression in self._by_urgency():
            self._guarded(regression.id, partial(self._triage, regression.id))
        ahead.join()
        ahead.begin(map(_learn, self._by_urgency()))
        for regression in self._by_urgency():
            self._guarded(regression.id, partial(self.sightings.learn, regression))
        ahead.join()

    def _every_cell(self) -> Iterator[tuple[WatchedRecipe, Cell]]:
        for item in self.state.watch.items:
            yield from ((item, cell) for cell in item.wanted)

    def _interrupted(self) -> Report:
        if not self.state.deadline.spent:
            self._close("it was stopped")
            raise Interrupted(
                f"stopped during {self.state.night.tag}", hint="what is finished is kept; call it again to go on"
            )
        return self._close(self.state.deadline.spent)

    def _close(self, stopped: str) -> Report:
        """Write down how far the night has come."""
        state = self.state
        state.take_begun()
        night = state.night
        if stopped:
            for regression in self._by_urgency():
                if regression.search:
                    text = (
                        f"the search {regression.search.good_label} to {regression.search.bad_label} goes on next time"
                    )
                    night = night.with_last_news(Kind.UNFINISHED, regression.id, text)
        whole = not stopped and not night.troubles
        night = replace(night, ended=time.time(), stopped=stopped, state=State.DONE if whole else State.STOPPED)
        state.save_night(night)
        night = state.night
        report = Report(night, tuple(state.regressions.values()))
        code, counts = int(report.exit_code), summary.counts(report.regressions)
        state.emit_night(stopped=stopped, troubles=night.troubles, exit_code=code, **counts)
        summary.write(state.watch, night, (*state.before, night), report.regressions, code)
        return report

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """One recipe's trouble does not end the night; it is noted, and the night is not done."""
        try:
            work()
        except Interrupted:
            raise
        except BisectorError as error:
            text = f"{name}: {error.what}" + (f" ({error.hint})" if error.hint else "")
            self.state.save_night(replace(self.state.night, troubles=(*self.state.night.troubles, text)))

    def _by_urgency(self) -> list[Regression]:
        """Open regressions: those whose search was begun first, then in the order in which they were met."""
        found = [each for each in self.state.regressions.values() if each.is_open]
        return sorted(found, key=lambda each: (each.search is None, each.opened, each.id))

    def _triage(self, name: str) -> None:
        self.state.turn_of(self.state.regressions[name])
        self.triage.run(self.state.regressions[name])


# ---- what is begun ahead


def _first(of: tuple[WatchedRecipe, Cell]) -> Callable[[Preview], object]:
    return lambda state: state.ask(Sightings(state).first(*of))


def _test(item: WatchedRecipe) -> Callable[[Preview], object]:
    return lambda state: Sightings(state).test(item)


def _triage(names: Sequence[str]) -> Callable[[Preview], object]:
    """Regressions of one recipe, in turn: their questions have one series of trials in the store."""

    def triage_all(state: Preview) -> None:
        triage = RegressionTriage(state, NoDrafts(state))
        for name in names:
            triage.run(state.regressions[name])

    return triage_all


def _learn(regression: Regression) -> Callable[[Preview], object]:
    return lambda state: Sightings(state).learn(regression)
