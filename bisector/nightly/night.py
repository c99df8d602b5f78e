# SPDX-License-Identifier: GPL-2.0-only
"""One night, read top to bottom: is there a new day → each recipe on it → what was seen, what is gone → searches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bisector.errors import BisectorError, Interrupted
from bisector.exitcodes import ExitCode
from bisector.model import Verdict
from bisector.nightly import summary
from bisector.nightly.budget import SPENT, Budget, Clock
from bisector.nightly.config import Watch, Watched
from bisector.nightly.desk import Desk, nights_of, regressions_of
from bisector.nightly.memory import NEW, Answer, Kind, Night, Regression, State, Where, clean_so_far, new_name
from bisector.nightly.papers import Papers
from bisector.nightly.settle import Settler
from bisector.nightly.trying import Question, Trier
from bisector.seams import Progress
from bisector.search.locks import locked
from bisector.search.nexttree import Day, NextTree
from bisector.workbench import Workbench


@dataclass(frozen=True)
class Report:
    """What a night came to. ``nothing``: there was no new day, and nothing was run."""

    night: Night
    regressions: tuple[Regression, ...]
    nothing: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """3 when the harness failed somewhere, else 1 when there is something new, else 0."""
        if self.nothing:
            return ExitCode.OK
        if self.night.troubles:
            return ExitCode.INFRA
        return ExitCode.BAD if summary.news(self.night, self.regressions, NEW) else ExitCode.OK


def run(watch: Watch, bench: Workbench, clock: Clock = time.time) -> Report:
    """One night's work, or what is left of the last one.

    Args:
        bench: its store holds the memory, its state folder the clone.
        clock: seconds since 1970; the budget is counted by it.

    Raises InfraError when another night of this watch is at work or the source cannot be fetched, UsageError when the
    source is no linux-next, Interrupted when asked to stop (what is finished is kept).
    """
    folder = bench.setting.folders.state / "nightly" / watch.name
    with locked(folder / "lock", busy=f"a night of {watch.name} is at work in another process"):
        tree = NextTree(folder / "linux-next.git", watch.repo, bench.processes)
        bench.setting.listener(Progress("stage", f"Looking for a new day in {watch.repo}"))
        tag, oid = tree.newest()
        nights = nights_of(bench.store, watch.name)
        done = [night for night in nights if night.state is State.DONE]
        last = max(done, key=lambda night: (night.tag, night.began), default=None)
        if last and ((last.tag, last.next) == (tag, oid) or tag < last.tag):
            report = Report(last, regressions_of(bench.store, watch.name), nothing=True)
            summary.write_index(watch.out, watch.name, nights, report.regressions)
            told = {"watch": watch.name, "night": last.name, "tag": tag, "next": oid, "ran": False, "exit_code": 0}
            bench.setting.listener(Progress("night", tag, facts=told))
            return report
        bench.setting.listener(Progress("stage", f"Fetching {tag}"))
        tree.fetch(tag)
        day = tree.day(tag)
        tree.pin(day)
        return _Work(_desk(watch, bench, tree, day, nights, clock), clock).run()


def _desk(watch: Watch, bench: Workbench, tree: NextTree, day: Day, nights: tuple[Night, ...], clock: Clock) -> Desk:
    earlier = [night for night in nights if night.tag == day.tag and night.next != day.next.oid]
    night = next((night for night in nights if (night.tag, night.next) == (day.tag, day.next.oid)), None) or Night(
        watch=watch.name,
        tag=day.tag,
        next=day.next.oid,
        base=day.base.oid,
        base_name=day.base_name,
        began=clock(),
        moved_from=earlier[-1].next if earlier else "",
    )
    clone = bench.clone(tree.history)
    regressions = {each.id: each for each in regressions_of(bench.store, watch.name)}
    begun = {each.id for each in regressions.values() if each.search}  # and go on now
    news = tuple(each for each in night.news if each.kind is not Kind.UNFINISHED or each.regression not in begun)
    return Desk(
        watch=watch,
        bench=bench,
        tree=tree,
        day=day,
        trier=Trier(bench, clone, watch.name, day, str(tree.folder)),
        night=replace(night, state=State.OPEN, stopped="", troubles=(), news=news),
        before=tuple(one for one in nights if (one.tag, one.next) != (night.tag, night.next)),
        regressions=regressions,
        budget=Budget(bench, watch.budget, clock),
    )


class _Work:
    def __init__(self, desk: Desk, clock: Clock) -> None:
        self.desk = desk
        self.clock = clock
        self.settler = Settler(desk, Papers(desk))

    def run(self) -> Report:
        """The whole night. Its summary is written however it ends."""
        desk = self.desk
        desk.save_night(desk.night)
        desk.heard_of_night(recipes=[item.name for item in desk.watch.items])
        try:
            self._guarded("what was written earlier", self.settler.papers.restore)
            for item in desk.watch.items:
                self._guarded(item.name, partial(self._try, item))
            for regression in self._by_urgency():
                self._guarded(regression.id, partial(self._settle, regression.id))
        except Interrupted:
            return self._interrupted()
        except BaseException:
            self._close("it was ended from outside")
            raise
        return self._close("")

    def _interrupted(self) -> Report:
        if not self.desk.budget.spent:
            self._close("somebody asked to stop")
            raise Interrupted(
                f"stopped during {self.desk.night.tag}", hint="what is finished is kept; call it again to go on"
            )
        return self._close(SPENT)

    def _close(self, stopped: str) -> Report:
        """Write down how far the night has come."""
        desk = self.desk
        night = desk.night
        if stopped:
            for regression in self._by_urgency():
                if regression.search:
                    text = (
                        f"the search {regression.search.good_label} to {regression.search.bad_label} goes on next time"
                    )
                    night = night.telling_last(Kind.UNFINISHED, regression.id, text)
        whole = not stopped and not night.troubles
        night = replace(night, ended=self.clock(), stopped=stopped, state=State.DONE if whole else State.STOPPED)
        desk.save_night(night)
        report = Report(night, tuple(desk.regressions.values()))
        code, counts = int(report.exit_code), summary.counts(report.regressions)
        desk.heard_of_night(stopped=stopped, troubles=night.troubles, exit_code=code, **counts)
        summary.write(desk.watch, night, (*desk.before, night), report.regressions, code)
        return report

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """One recipe's trouble does not end the night; it is told, and the night is not done."""
        try:
            work()
        except Interrupted:
            raise
        except BisectorError as error:
            text = f"{name}: {error.what}" + (f" ({error.hint})" if error.hint else "")
            self.desk.save_night(replace(self.desk.night, troubles=(*self.desk.night.troubles, text)))

    def _by_urgency(self) -> list[Regression]:
        """Open regressions: those whose search was begun first, then in the order in which they were met."""
        found = [each for each in self.desk.regressions.values() if each.is_open]
        return sorted(found, key=lambda each: (each.search is None, each.opened, each.id))

    def _settle(self, name: str) -> None:
        self.settler.settle(self.desk.regressions[name])

    # ---- one recipe on tonight's next

    def _try(self, item: Watched) -> None:
        seen: dict[str, Answer] = {}
        for cell in item.wanted:
            mine = [each for each in self.desk.open_of(item) if each.cell == cell.name]
            trials = max((self.desk.tonight(item, each) for each in mine), default=self.desk.bench.trials(item.recipe))
            answer = self.desk.ask(Question(item, cell, "next", "", trials, sure=bool(mine)))
            for condition in answer.conditions if answer.verdict is Verdict.BAD else ():
                seen.setdefault(condition, answer)
        for regression in list(self.desk.open_of(item)):
            alone = None if regression.condition in seen else self._asked_alone(item, regression)
            if alone is not None:
                seen[regression.condition] = alone
        for condition, answer in seen.items():
            self._seen(item, condition, answer)

    def _seen(self, item: Watched, condition: str, answer: Answer) -> None:
        desk, tonight = self.desk, self.desk.night.name
        told = f"{condition} in {answer.reproduced} of {answer.told} trials" + (
            f" ({answer.cell})" if answer.cell else ""
        )
        known = desk.open_one(item, condition)
        if known is None:
            name = new_name(desk.regressions, item.name, condition)
            known = Regression(name, desk.watch.name, item.name, condition, answer.cell, opened=tonight)
            known = desk.save(replace(known, seen=(tonight,)))
        elif tonight not in known.seen:
            same = desk.regressions.get(known.same_as)
            alone = known.same_as if same and same.is_open else ""  # the other one is gone, and this one is not
            known = desk.save(replace(known, seen=(*known.seen, tonight), same_as=alone))
        first = known.opened == tonight
        desk.tell(Kind.OPENED if first else Kind.STILL, known, told)

    def _asked_alone(self, item: Watched, regression: Regression) -> Answer | None:
        """Whether a regression that did not show is gone. Gives an answer in which it showed after all."""
        desk = self.desk
        cell = next((cell for cell in item.wanted if cell.name == regression.cell), None)
        if cell is None or desk.item(regression) is None:
            desk.tell(Kind.UNKNOWN, regression, "its recipe has no longer this cell or this condition")
            return None
        answer = desk.night.answer(item.name, cell.name, "next", "")
        assert answer is not None
        needed, before = desk.needed(item, regression), clean_so_far(desk.before, regression)
        if answer.verdict is Verdict.BAD:  # by another condition, which may have come first and hidden this one
            tonight = desk.tonight(item, regression)
            answer = desk.ask(Question(item, cell, "next", regression.condition, tonight, sure=True))
        if answer.verdict is Verdict.BAD:
            return answer
        if answer.verdict is not Verdict.GOOD:
            desk.tell(Kind.UNKNOWN, regression, f"cannot be told: {answer.reason}")
        elif before + answer.told < needed:
            told = f"clean in {before + answer.told} trials since it was seen last; gone after {needed}"
            desk.tell(Kind.UNKNOWN, regression, told)
        else:
            self._gone_from_next(item, regression, before + answer.told, needed)
        return None

    def _gone_from_next(self, item: Watched, regression: Regression, clean: int, needed: int) -> None:
        """It is fixed when no tree that had it shows it any more, by the same test."""
        desk, told = self.desk, f"clean in {clean} of {clean} trials of linux-next"
        inside = regression.culprit and self.settler.holds(desk.day.base.oid, regression.culprit.oid)
        if regression.where is not Where.NEXT or inside:
            cell = next(cell for cell in item.wanted if cell.name == regression.cell)
            base = desk.ask(Question(item, cell, "base", regression.condition, needed, sure=True))
            if base.verdict is Verdict.BAD:
                desk.tell(Kind.HELD, regression, f"{told}; mainline still has it: {base.reason}")
                return
            if base.verdict is not Verdict.GOOD or base.told < needed:
                desk.tell(Kind.UNKNOWN, regression, f"{told}; of mainline it cannot be told: {base.reason}")
                return
            told += f" and {base.told} of {base.told} of its base"
        closed = replace(regression, state=State.FIXED, closed=desk.night.name, search=None)
        desk.tell(Kind.FIXED, closed, told)  # before it is closed: a night that is killed in between tells it again
        desk.save(closed)
