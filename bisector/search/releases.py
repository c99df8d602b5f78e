# SPDX-License-Identifier: GPL-2.0-only
"""Which pair of releases the behaviour changed between. Pure but for ``ask``.

Releases are not one line of history: a stable series is a branch that gets fixes (and bugs) by backport, so 6.18.40 may
be good where 7.0.3 is bad. The line searched is that of the series, ordered by their first release. A series is tried
at its lowest patch level there is, which is nearest to the mainline it was cut from; what lies before a change must
also hold at its highest one, or the change came inside that series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from bisector.direction import BUG, FIX, Direction
from bisector.model import Candidate, Judgement, Verdict

Ask = Callable[[Candidate], Judgement]
SPARE = 4  # candidates beyond the halving of the series, both ends among them


@dataclass(frozen=True)
class Release:
    """One released kernel. ``version``: upstream numbers, (6, 18, 9); the first two are its series."""

    version: tuple[int, ...]
    candidate: Candidate

    def __str__(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def series(self) -> tuple[int, ...]:
        """(6, 18)."""
        return self.version[:2]


class Ending(StrEnum):
    """How a search over releases ended."""

    BETWEEN = "between"  # two series
    INSIDE = "inside"  # one series: it came or went by backport
    ALIKE = "alike"
    REVERSED = "reversed"
    UNJUDGED = "unjudged"


@dataclass(frozen=True)
class Change:
    """Two releases, the older first, between which the verdict changed. ``untested``: releases between the two."""

    before: Release
    after: Release
    old: Judgement
    new: Judgement
    untested: tuple[Release, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether it came or went by backport, inside one stable series."""
        return self.before.series == self.after.series

    @property
    def direction(self) -> Direction:
        """What a search between the two would search for: a fix where the older one is the bad one."""
        return FIX if self.old.verdict is Verdict.BAD else BUG

    def __str__(self) -> str:
        if self.inside:
            came = "went" if self.direction is FIX else "came"
            return f"{came} with a stable backport between {self.before} and {self.after}"
        old, new = name(self.before.series), name(self.after.series)
        return f"{old} {self.old.verdict}, {new} {self.new.verdict}: look between v{old} and v{new}"


@dataclass(frozen=True)
class Found:
    """What a search over releases found. ``steps``: all that was tried, in order."""

    ending: Ending
    summary: str
    change: Change | None = None
    changes: tuple[Change, ...] = ()  # a scan's, in order
    steps: tuple[Judgement, ...] = ()
    series: tuple[str, ...] = ()  # the searched ones
    limit: int = 0  # how many candidates the search may ask, 0 for a scan
    old: Judgement | None = None  # the ends, where they tell nothing
    new: Judgement | None = None
    notes: tuple[str, ...] = ()


def name(series: Sequence[int]) -> str:
    """Of a series, as people write it."""
    return ".".join(map(str, series))


def numbers(text: str) -> tuple[int, ...]:
    """The version that a revision names: v6.17 gives (6, 17), a commit gives ()."""
    words = text.removeprefix("v").split("-")[0].split(".")
    return tuple(map(int, words)) if len(words) > 1 and all(word.isdecimal() for word in words) else ()


def leading(release: str) -> tuple[int, ...]:
    """The upstream version at the head of a kernel's release: 6.18.9+deb13-amd64 gives (6, 18, 9), nonsense ()."""
    found = re.match(r"\d+\.\d+(\.\d+)?", release)
    return tuple(map(int, found[0].split("."))) if found else ()


def limit(series: int) -> int:
    """How many candidates a search over so many series may ask, both ends included."""
    return math.ceil(math.log2(max(series, 1))) + SPARE


def between(releases: Sequence[Release], old: str = "", new: str = "") -> tuple[Release, ...]:
    """The releases from ``old`` to ``new`` (6.12, v6.17, 6.18.5; "" for no bound), oldest first.

    A bound whose series is not there takes the next one outside of it, else the nearest inside.
    """
    ordered = sorted(releases, key=lambda one: one.version)
    first, last = numbers(old), numbers(new)
    if first:
        below = [one.series for one in ordered if one.series <= first[:2]]
        least = max(below) if below else first[:2]
        exact = len(first) > 2 and least == first[:2]
        ordered = [one for one in ordered if one.series >= least and not (exact and one.version < first)]
    if last:
        above = [one.series for one in ordered if one.series >= last[:2]]
        most = min(above) if above else last[:2]
        exact = len(last) > 2 and most == last[:2]
        ordered = [one for one in ordered if one.series <= most and not (exact and one.version > last)]
    return tuple(ordered)


def search(releases: Sequence[Release], ask: Ask, direction: Direction = BUG) -> Found:
    """The pair between which the verdict changed from good to bad (of a search for a fix: from bad to good).

    Asks at most ``limit`` candidates. One that cannot be judged is stepped over: the next patch level, then the
    neighbouring series.
    """
    return _Search(_Line(releases), ask, direction.old).run()


def scan(releases: Sequence[Release], ask: Ask) -> Found:
    """Ask every series, and where neighbours differ also the older one's last patch level: shows every change."""
    line = _Line(releases)
    answers = _Answers(ask, len(releases))
    seen = []
    for series in line.series:
        if (met := answers.first(line.levels[series])) is not None:
            seen.append(met)
    changes = []
    for before, after in pairwise(seen):
        if answers.verdict(before) is not answers.verdict(after):
            rest = [one for one in line.levels[before.series] if one.version > before.version]
            top = answers.first(rest[::-1])
            pair = (before, after) if top is None else (top, after)
            if top is not None and answers.verdict(top) is answers.verdict(after):
                pair = (before, top)
            changes.append(_change(answers, line, *pair))
    runs = _runs([(answers.verdict(one), name(one.series)) for one in seen])
    ending = Ending.BETWEEN if changes else Ending.ALIKE if seen else Ending.UNJUDGED
    summary = runs + "".join(f"; {_came(change)}" for change in changes) if seen else "no release could be judged"
    return Found(
        ending=Ending.INSIDE if len(changes) == 1 and changes[0].inside else ending,
        summary=summary,
        change=changes[0] if changes else None,
        changes=tuple(changes),
        steps=tuple(answers.steps),
        series=tuple(map(name, line.series)),
        old=answers.known[seen[0]] if seen else None,
        new=answers.known[seen[-1]] if seen else None,
    )


class _Line:
    """The series in order, each with its patch levels in order; of equal versions the last one given."""

    def __init__(self, releases: Sequence[Release]) -> None:
        self.levels: dict[tuple[int, ...], list[Release]] = {}
        for one in sorted({one.version: one for one in releases}.values(), key=lambda one: one.version):
            self.levels.setdefault(one.series, []).append(one)
        self.series = list(self.levels)

    def between(self, before: Release, after: Release) -> tuple[Release, ...]:
        """Of what lies strictly between: patch levels in one series, else the series (by their lowest level)."""
        if before.series == after.series:
            return tuple(one for one in self.levels[before.series] if before.version < one.version < after.version)
        return tuple(self.levels[s][0] for s in self.series if before.series < s < after.series)


@dataclass
class _Answers:
    """Asks, remembers, and stops at the limit."""

    ask: Ask
    limit: int
    known: dict[Release, Judgement] = field(default_factory=dict)
    steps: list[Judgement] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.limit - len(self.steps)

    def verdict(self, release: Release) -> Verdict:
        return self.known[release].verdict

    def first(self, wanted: Sequence[Release]) -> Release | None:
        """The first of ``wanted`` that is good or bad."""
        for release in wanted:
            if release not in self.known:
                if self.left <= 0:
                    return None
                self.known[release] = self.ask(release.candidate)
                self.steps.append(self.known[release])
            if self.verdict(release) in (Verdict.GOOD, Verdict.BAD):
                return release
        return None


class _Search:
    """One search from ``old`` (the verdict of the older end) to the other verdict."""

    def __init__(self, line: _Line, ask: Ask, old: Verdict) -> None:
        self.line = line
        self.old = old
        self.answers = _Answers(ask, limit(len(line.series)))

    def run(self) -> Found:
        if not self.line.series:
            return self._ended(Ending.UNJUDGED, "there is no release to try")
        if len(self.line.series) == 1:
            levels = self.line.levels[self.line.series[0]]
            return self._from_ends(self.answers.first(levels), self.answers.first(levels[::-1]))
        low = self._end(self.line.series, last=True)
        high = self._end(self.line.series[::-1], last=False)
        return self._from_ends(low, high)

    def _end(self, series: Sequence[tuple[int, ...]], *, last: bool) -> Release | None:
        """The end of the line: its last (or first) patch level, else the next that can be judged."""
        for one in series[:-1]:  # what is left for the other end is one series at least
            levels = self.line.levels[one]
            if (met := self.answers.first(levels[::-1] if last else levels)) is not None:
                return met
        return None

    def _from_ends(self, low: Release | None, high: Release | None) -> Found:
        if low is None or high is None or low.version >= high.version:
            if low is not None and low == high:
                return self._alike(low, high)
            return self._ended(Ending.UNJUDGED, "the ends cannot be judged", low, high)
        is_old, is_new = self._is_old(low), not self._is_old(high)
        if is_old and is_new:
            return self._halve(low, high)
        if not is_old and not is_new:
            words = f"the ends are the other way round: {low} is {self.answers.verdict(low)}, {high} "
            return self._ended(Ending.REVERSED, f"{words}is {self.answers.verdict(high)}", low, high)
        return self._within_end(low, high)

    def _within_end(self, low: Release, high: Release) -> Found:
        """Both ends alike: the change may lie inside the series of one of them."""
        if self._is_old(low):
            levels = [one for one in self.line.levels[high.series] if one.version > high.version]
            if (top := self.answers.first(levels[::-1])) is not None and not self._is_old(top):
                return self._inside(high, top)
        else:
            levels = [one for one in self.line.levels[low.series] if one.version < low.version]
            if (bottom := self.answers.first(levels)) is not None and self._is_old(bottom):
                return self._inside(bottom, low)
        return self._alike(low, high)

    def _alike(self, low: Release, high: Release) -> Found:
        verdict = self.answers.verdict(low)
        what = "came and went" if verdict is Verdict.GOOD else "went and came back"
        words = (
            f"{low} and {high} are both {verdict}. A search between two alike ends cannot see a bug that {what} "
            "between them; --scan tests every series"
        )
        return self._ended(Ending.ALIKE, words, low, high)

    def _halve(self, low: Release, high: Release) -> Found:
        unfit: set[tuple[int, ...]] = set()
        while True:
            kept = 0 if low == self.line.levels[low.series][-1] else 1  # for the last patch level of the older series
            if self.answers.left <= kept:
                break
            within = [s for s in self.line.series if low.series < s < high.series]
            fit = [series for series in within if series not in unfit]
            if not fit:
                break
            middle = _middle(within, fit)
            met = self.answers.first(self.line.levels[middle])
            if met is None:
                unfit.add(middle)
            elif self._is_old(met):
                low = met
            else:
                high = met
        return self._pair(low, high)

    def _pair(self, low: Release, high: Release) -> Found:
        """The older one must hold to the end of its series, and the newer one from the beginning of its own."""
        above = [one for one in self.line.levels[low.series] if one.version > low.version]
        if low.series != high.series and (top := self.answers.first(above[::-1])) is not None:
            if not self._is_old(top):
                return self._inside(low, top)
            low = top
        below = [one for one in self.line.levels[high.series] if one.version < high.version]
        if low.series != high.series and (bottom := self.answers.first(below)) is not None:
            if self._is_old(bottom):
                return self._inside(bottom, high)
            high = bottom
        return self._inside(low, high) if low.series == high.series else self._found(low, high)

    def _inside(self, low: Release, high: Release) -> Found:
        """Halve the patch levels of one series, as far as the limit allows."""
        unfit: set[Release] = set()
        while self.answers.left > 0:
            within = [one for one in self.line.between(low, high) if one not in unfit]
            if not within:
                break
            middle = within[len(within) // 2]
            if self.answers.first([middle]) is None:
                unfit.add(middle)
            elif self._is_old(middle):
                low = middle
            else:
                high = middle
        return self._found(low, high)

    def _found(self, low: Release, high: Release) -> Found:
        change = _change(self.answers, self.line, low, high)
        notes = []
        if change.untested:
            notes.append(f"{', '.join(map(str, change.untested))}, between the two: not tested, or cannot be judged")
        if not change.inside and high != self.line.levels[high.series][0]:
            notes.append(f"the patch levels of {name(high.series)} before {high}: not tested, or cannot be judged")
        if not change.inside and low != self.line.levels[low.series][-1]:
            notes.append(f"the patch levels of {name(low.series)} after {low}: not tested, or cannot be judged")
        ending = Ending.INSIDE if change.inside else Ending.BETWEEN
        return self._ended(ending, str(change), low, high, change, tuple(notes))

    def _is_old(self, release: Release) -> bool:
        return self.answers.verdict(release) is self.old

    def _ended(
        self,
        ending: Ending,
        summary: str,
        low: Release | None = None,
        high: Release | None = None,
        change: Change | None = None,
        notes: tuple[str, ...] = (),
    ) -> Found:
        return Found(
            ending=ending,
            summary=summary,
            change=change,
            changes=(change,) if change else (),
            steps=tuple(self.answers.steps),
            series=tuple(map(name, self.line.series)),
            limit=self.answers.limit,
            old=self.answers.known[low] if low else None,
            new=self.answers.known[high] if high else None,
            notes=notes,
        )


def _middle(within: Sequence[tuple[int, ...]], fit: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The one of ``fit`` that halves ``within`` best; of two the newer, because new series are where bugs come from."""
    centre = len(within) - 1
    return min(fit, key=lambda series: (abs(2 * within.index(series) - centre), -within.index(series)))


def _change(answers: _Answers, line: _Line, low: Release, high: Release) -> Change:
    return Change(low, high, answers.known[low], answers.known[high], line.between(low, high))


def _came(change: Change) -> str:
    kind = "fixed" if change.direction is FIX else "introduced"
    where = "with a stable backport " if change.inside else ""
    return f"{kind} {where}between {change.before} and {change.after}"


def _runs(verdicts: Sequence[tuple[Verdict, str]]) -> str:
    """(good, 6.16), (good, 6.17), (bad, 6.18) → "good 6.16 to 6.17, bad 6.18"."""
    runs: list[tuple[Verdict, list[str]]] = []
    for verdict, series in verdicts:
        if runs and runs[-1][0] is verdict:
            runs[-1][1].append(series)
        else:
            runs.append((verdict, [series]))
    return ", ".join(
        f"{verdict} {members[0]}" + (f" to {members[-1]}" if len(members) > 1 else "") for verdict, members in runs
    )
