# SPDX-License-Identifier: GPL-2.0-only
"""What a watch remembers across nights, as frozen types, and the questions that one night asks of it. Pure.

A verdict is carried over by the identical candidate and question alone. Of a commit that was rebased only the suspicion
is carried over: its subject, its author and its patch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bisector.model import Commit, Judgement, Outcome, OutcomeKind, Verdict
from bisector.verdict.sequential import Evidence

A_NIGHT = 40
"""So many trials at most are spent in one night on whether a regression is gone, or on learning its rate."""

LEARN = 6
"""Reproductions after which the rate of a regression is known well enough; until then a night that sees it draws on."""

SEARCHES = 3
"""So many searches of a regression may end without a culprit; then only people can help."""


class Role(StrEnum):
    """Whom a question of the night is put to."""

    NEXT = "next"  # the day
    BASE = "base"  # the day's base
    RATE = "rate"  # the day, to learn the rate of what it has shown

    def stage(self, condition: str) -> str:
        """The stage by which trials are stored; with the condition where the question is about one alone."""
        return f"{self}-{condition}" if condition else self.value

    @classmethod
    def of_stage(cls, stage: str) -> tuple[Role | None, str]:
        """Role and condition of a stage; no role for a stage of other layers."""
        name, _, condition = stage.partition("-")
        return next((role for role in cls if role == name), None), condition


class Where(StrEnum):
    """The tree in which a regression was met first, or has arrived."""

    UNKNOWN = ""
    NEXT = "next"
    MAINLINE = "mainline"


class State(StrEnum):
    """Of a regression, or of a night's work."""

    OPEN = "open"
    FIXED = "fixed"
    DONE = "done"
    STOPPED = "stopped"


class Kind(StrEnum):
    """What a line of news says of a regression."""

    OPENED = "opened"  # seen for the first time
    BACK = "back"  # was fixed, and is there again
    NAMED = "named"  # its culprit (or a set that holds it) was found
    CHANGED = "changed"  # another change than before is its culprit now
    STILL = "still"  # seen again
    REBASED = "rebased"  # the culprit has a new id, and was proven anew
    MOVED = "moved"  # it is in the base now
    SAME = "same"  # its culprit is that of another regression: one bug
    HELD = "held"  # gone from the tree, and still in its base
    FIXED = "fixed"
    UNKNOWN = "unknown"  # not seen, and not shown to be gone either
    NOTE = "note"  # for the person who runs it
    UNFINISHED = "unfinished"  # the search ended without a culprit, or has not ended


NEW = (Kind.OPENED, Kind.BACK, Kind.NAMED, Kind.CHANGED)
"""What makes a night one with something new."""


@dataclass(frozen=True)
class Answer:
    """What one candidate answered, in one cell of one recipe.

    ``condition``: the one that the question was about, "" for all of the recipe's. ``conclusive``: trials that
    reproduced or were clean. ``question`` and ``key`` name recipe and build; with equal ones, an equal candidate's
    answer may be carried over.
    """

    recipe: str
    cell: str
    role: Role
    condition: str
    candidate: str  # 40 hex digits
    question: str
    key: str
    verdict: Verdict
    reason: str
    conditions: tuple[str, ...]  # those that were seen
    reproduced: int
    conclusive: int
    campaign: str
    sure: bool = False  # a known regression was looked for
    carried: str = ""  # the tag of the night that it comes from

    def is_of(self, recipe: str, cell: str, role: Role, condition: str) -> bool:
        """Whether it answers this."""
        return (self.recipe, self.cell, self.role, self.condition) == (recipe, cell, role, condition)


@dataclass(frozen=True)
class News:
    """One line of a night's news: what it says of a regression."""

    kind: Kind
    regression: str  # id
    text: str


@dataclass(frozen=True)
class Night:
    """One night as far as it has come. ``troubles``: what the harness could not do; the night is not done then.

    ``used``, ``used_machine``: seconds spent of its budgets, 0 again once one was used up, so that the next call can go
    on. ``seconds``, ``machine``: what it took, over all calls.
    """

    watch: str
    tag: str
    next: str
    base: str
    base_name: str
    began: float
    ended: float = 0.0
    state: State = State.OPEN
    stopped: str = ""  # why it is not done
    moved_from: str = ""  # the commit that the tag named when it was looked at before
    answers: tuple[Answer, ...] = ()
    news: tuple[News, ...] = ()
    troubles: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()  # regressions for which nothing is left to do tonight
    used: float = 0.0
    used_machine: float = 0.0
    seconds: float = 0.0
    machine: float = 0.0

    @property
    def name(self) -> str:
        """The tag; of a night that looked at a tag anew because it had been moved, with the commit."""
        return f"{self.tag}-{self.next[:8]}" if self.moved_from else self.tag

    def answer(self, recipe: str, cell: str, role: Role, condition: str) -> Answer | None:
        """The answer given tonight, None when there is none."""
        return next((each for each in self.answers if each.is_of(recipe, cell, role, condition)), None)

    def with_news(self, news: News) -> Night:
        """The night with one line more; a line that is there already is not repeated."""
        return self if news in self.news else replace(self, news=(*self.news, news))

    def with_last_news(self, kind: Kind, regression: str, text: str) -> Night:
        """The night with the latest line of its kind about a regression, in the place of an earlier one."""
        kept = tuple(each for each in self.news if (each.kind, each.regression) != (kind, regression))
        return replace(self, news=(*kept, News(kind, regression, text)))


@dataclass(frozen=True)
class Search:
    """A search that was begun: its ends (ids, and what people call them), and commits to prove first."""

    good: str
    bad: str
    good_label: str
    bad_label: str
    where: Where
    suspects: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()  # good ends of mainline that turned out bad
    began: float = 0.0  # seconds since 1970, written by earlier versions


@dataclass(frozen=True)
class Regression:
    """One regression: one condition of one recipe, from the night that met it to the one that found it gone."""

    id: str
    watch: str
    recipe: str
    condition: str
    cell: str
    opened: str  # the night that met it
    state: State = State.OPEN
    where: Where = Where.UNKNOWN
    culprit: Commit | None = None
    patch: str = ""  # of the culprit
    suspects: tuple[Commit, ...] = ()  # when the search narrowed it down and no further
    campaigns: tuple[str, ...] = ()
    searches: int = 0  # that ended without a culprit
    seen: tuple[str, ...] = ()  # nights, in order
    search: Search | None = None  # one that was begun and has not ended
    closed: str = ""  # the night that found it gone
    returned: tuple[str, ...] = ()  # nights that saw it again after it had been called fixed
    draft: str = ""  # folder of the one draft
    same_as: str = ""  # id of the regression with the same culprit
    summary: str = ""  # of the outcome

    def is_of(self, recipe: str, condition: str) -> bool:
        """Whether a trial of this recipe that shows this condition shows this regression."""
        return (self.recipe, self.condition) == (recipe, condition)

    @property
    def is_open(self) -> bool:
        """Whether it is not known to be gone."""
        return self.state is State.OPEN

    @property
    def found(self) -> bool:
        """Whether nothing has to be searched for."""
        return self.culprit is not None or bool(self.suspects)


# ---- questions


def carried(nights: Sequence[Night], question: str, candidate: str, key: str) -> Answer | None:
    """An earlier good or bad answer of exactly this candidate to exactly this question, newest first."""
    for night in reversed(nights):
        for answer in night.answers:
            same = (answer.question, answer.candidate, answer.key) == (question, candidate, key)
            if same and answer.verdict in (Verdict.GOOD, Verdict.BAD):
                return replace(answer, carried=answer.carried or night.tag)
    return None


def known_good(nights: Sequence[Night], recipe: str, cell: str, condition: str) -> tuple[str, ...]:
    """Mainline commits that were good in this condition, and those whose whole day was.

    A place to search from; every search tries its ends itself.
    """
    return tuple(
        answer.candidate if answer.role is Role.BASE else night.base
        for night in reversed(nights)
        for answer in night.answers
        if (answer.recipe, answer.cell) == (recipe, cell)
        if answer.verdict is Verdict.GOOD and answer.condition in ("", condition)
    )


def open_one(regressions: Iterable[Regression], recipe: str, condition: str) -> Regression | None:
    """The open regression that a condition belongs to."""
    return next((each for each in regressions if each.is_open and each.is_of(recipe, condition)), None)


def closed_one(regressions: Iterable[Regression], recipe: str, condition: str) -> Regression | None:
    """The newest one of this condition that is gone and whose culprit is known."""
    of_it = [each for each in regressions if not each.is_open and not each.same_as and each.is_of(recipe, condition)]
    return max((each for each in of_it if each.culprit), key=lambda each: (each.closed, each.id), default=None)


def same_bug(regressions: Iterable[Regression], found: Regression) -> Regression | None:
    """Another open regression with the same culprit, by id or by its patch."""
    for each in regressions:
        if each.id == found.id or not each.is_open or each.same_as or not each.culprit or not found.culprit:
            continue
        if each.culprit.oid == found.culprit.oid or (found.patch and each.patch == found.patch):
            return each
    return None


@dataclass(frozen=True)
class Series:
    """What the trials of a regression's cell have shown since it was first seen, night after night.

    Args:
        known: trials of trees that had it. A clean night before one that saw it is among them.
        waiting: trials since it was seen last; a later sighting makes them known.
        clean, base: those of them that speak for "gone", of the tree and of its base.
        sightings: how often it was seen after the first time.
    """

    known: Evidence = field(default_factory=Evidence)
    waiting: Evidence = field(default_factory=Evidence)
    clean: int = 0
    base: int = 0
    sightings: int = 0

    def begun(self) -> Series:
        """It is seen for the first time, or came back: what was clean before is of trees without it.

        The trials that found it do not count either: had they stayed clean, nobody would have counted them.
        """
        return Series(self.known, sightings=self.sightings)

    def seen(self, trials: Evidence) -> Series:
        """It is seen again, so the trees of the clean nights before had it all along."""
        return Series(self.known + self.waiting + trials, sightings=self.sightings + 1)

    def unseen(self, trials: Evidence, clean: int, base: int) -> Series:
        """A night in which it did not show."""
        return Series(self.known, self.waiting + trials, self.clean + clean, self.base + base, self.sightings)

    def learnt(self, trials: Evidence) -> Series:
        """With trials that count whatever they showed."""
        return replace(self, known=self.known + trials)


NOTHING = Series()


def series(
    nights: Iterable[Night], regression: Regression, questions: Collection[str] = (), found: Series = NOTHING
) -> Series:
    """The series of a regression's trials, a fold over the nights since it was first seen.

    Args:
        questions: those whose trials count, none for all of them; a recipe that was changed begins a series anew.
        found: the series of the nights before these.
    """
    for night in nights:
        if night.name >= regression.opened:
            found = _with_night(found, night, regression, questions)
    return found


def _with_night(found: Series, night: Night, regression: Regression, questions: Collection[str]) -> Series:
    shown, held = night.name in regression.seen, False
    reproduced, clean_of = dict.fromkeys(Role, 0), dict.fromkeys(Role, 0)
    clean = base = 0
    for each in night.answers:
        if each.recipe != regression.recipe or each.cell != regression.cell:
            continue
        if each.condition and each.condition != regression.condition:
            continue
        shown = shown or (each.role is Role.NEXT and regression.condition in each.conditions)
        held = held or (each.role is Role.BASE and each.verdict is Verdict.BAD)
        if each.carried or (questions and each.question not in questions):
            continue
        clean_of[each.role] += each.conclusive - each.reproduced
        if regression.condition in each.conditions:  # one that showed another condition says nothing of this one
            reproduced[each.role] += each.reproduced
        if each.verdict is Verdict.GOOD:
            clean, base = (
                clean + each.conclusive * (each.role is Role.NEXT),
                base + each.conclusive * (each.role is Role.BASE),
            )
    trials = Evidence(reproduced[Role.NEXT], clean_of[Role.NEXT])
    if night.name == regression.opened or night.name in regression.returned:
        found = found.begun()
    else:
        found = found.seen(trials) if shown else found.unseen(trials, clean, base)
    if held:
        found = replace(found, base=0, sightings=found.sightings + 1)
    learnt = Evidence(reproduced[Role.RATE], clean_of[Role.RATE])
    return found.learnt(learnt) if learnt != Evidence() else found


def checks(nights: Iterable[Night], regression: Regression) -> int:
    """How often what is known of the regression's rate has changed: each time begins a test with a share of its own."""
    return series(nights, regression).sightings + len(regression.campaigns)


def clean_so_far(nights: Iterable[Night], regression: Regression) -> int:
    """Clean trials of the tree in all nights since the last one that saw it."""
    return series(nights, regression).clean


def evidence(nights: Iterable[Night], regression: Regression, outcomes: Iterable[Outcome]) -> Evidence:
    """Trials of trees that had the regression: those of the nights, and of campaigns (``of_campaign``)."""
    found = series(nights, regression).known
    for outcome in outcomes:
        found += of_campaign(outcome)
    return found


def of_campaign(outcome: Outcome, plan: str = "") -> Evidence:
    """Trials of a campaign's bad end and culprit, which had the regression whatever the campaign found.

    Only of a campaign that learns the rate: with a fixed number of trials an end is bad when it reproduced within
    them, and trials that count only when they reproduced overestimate the rate.

    ``plan``: identity of the workload that counts, "" for any; a stretched one reproduces more often.
    """
    judged: list[Judgement | None] = [outcome.bad]
    if outcome.kind is OutcomeKind.CULPRIT:
        judged += [one for one in outcome.proof if one.verdict is Verdict.BAD and not one.candidate.edits]
    found = Evidence()
    for one in judged:
        if one is not None and plan in ("", one.plan):
            reproduced, conclusive = one.counts
            found += Evidence(reproduced, conclusive - reproduced)
    return found


def new_name(taken: Iterable[str], recipe: str, condition: str) -> str:
    """An id for a regression: recipe, condition, and a number from the second one on."""
    first, used = f"{recipe}-{condition}", set(taken)
    return next(name for name in (first, *(f"{first}-{n}" for n in range(2, 10_000))) if name not in used)
