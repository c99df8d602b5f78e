# SPDX-License-Identifier: GPL-2.0-only
"""Is it fixed already? Who names the culprit in the refs at hand, and what the newest kernels there answered.

Reads the repository and what was gathered of the store; builds nothing and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from bisector.errors import BisectorError
from bisector.mail.regression import version
from bisector.mail.repeat import asks_the_same
from bisector.model import Commit, Edit, EditKind, Judgement, TargetKind, Verdict
from bisector.report.facts import Facts
from bisector.search import refs
from bisector.search.gitrepo import History
from bisector.search.refs import MentionKind

FOLLOWED = 12  # commits that name the culprit for which it is looked up where they are
HINT = "it may be fixed already; once you have looked, tell regzbot in the thread by:"


class Place(StrEnum):
    """Where a fix was tried."""

    TOP = "on top of the bad end"
    AT = "at it"


class Tree(StrEnum):
    """Whose newest kernel it is."""

    MAINLINE = "mainline"
    STABLE = "stable"
    NEXT = "next"


@dataclass(frozen=True)
class FixResult:
    """What a fix answered. ``why``: the verdict's reason."""

    where: Place
    verdict: Verdict
    reproduced: int
    conclusive: int
    why: str = ""


@dataclass(frozen=True)
class LaterCommit:
    """A commit that names the culprit.

    ``inside``: the first tags that hold it, one a series, and branches where no tag does; ``in_bad_end``: the bad end
    holds it, so it does not fix this; ``tried``: what it answered.
    """

    commit: Commit
    kind: MentionKind
    inside: tuple[str, ...] = ()
    in_bad_end: bool = False
    tried: tuple[FixResult, ...] = ()

    @property
    def repairs(self) -> bool:
        """Whether it says that it does: a fix or a revert that the bad end does not hold."""
        return self.kind is not MentionKind.BACKPORT and not self.in_bad_end

    @property
    def failed(self) -> bool:
        """Whether it was tried and the kernel is bad with it."""
        return any(tried.verdict is Verdict.BAD for tried in self.tried)


@dataclass(frozen=True)
class Newest:
    """The newest kernel of a tree at hand, and what it answered; None: was not tested."""

    tree: Tree
    name: str
    oid: str
    verdict: Verdict | None = None
    reproduced: int = 0
    conclusive: int = 0


@dataclass(frozen=True)
class FixStatus:
    """What was looked for and found. ``looked``: False when there was nothing to look in; ``why`` says why.

    ``upstream``: mainline's commit of a culprit that is a backport; ``left_out``: commits that name the culprit and
    were not looked up, because they are too many.
    """

    looked: bool = False
    why: str = ""
    upstream: Commit | None = None
    later: tuple[LaterCommit, ...] = ()
    newest: tuple[Newest, ...] = ()
    left_out: int = 0

    @property
    def hints(self) -> tuple[str, ...]:
        """For the person who sends: what to tell regzbot once they have looked at it themselves (say ``HINT``)."""
        return tuple(
            f'#regzbot fix: {each.commit.oid[:12]} ("{each.commit.subject}")'
            for each in self.later
            if each.repairs and not each.failed
        )


UNKNOWN = FixStatus()


def examine(facts: Facts, history: History | None, *, series: str = "") -> FixStatus:
    """Look for fixes of the culprit in ``history``, and for verdicts on the newest kernels there.

    Args:
        facts: gathered with the verdicts of the recipe.
        history: the user's repository, None when it is not at hand.
        series: the stable series that was hit ("6.18"), "" for none.
    """
    if history is None:
        return FixStatus(why="the repository is not at hand")
    try:
        bad = facts.campaign.bad
        newest = tuple(_answered(each, facts) for each in _newest(history, series, bad))
        culprit = facts.outcome.culprit if facts.outcome else None
        if culprit is None:
            return FixStatus(True, "no single commit to look for", newest=newest)
        mainline = _upstream(history, culprit)
        names = (culprit.oid, *((mainline.oid,) if mainline else ()))
        found = refs.mentions(history, names, since=culprit.oid)
        found = tuple(sorted(found, key=lambda mention: mention.kind is MentionKind.BACKPORT))  # what repairs it first
        later = tuple(_tried(each, facts, history) for each in _later(history, found[:FOLLOWED]))
        return FixStatus(True, "", mainline, later, newest, len(found[FOLLOWED:]))
    except BisectorError as error:
        return FixStatus(why=error.what)


def _upstream(history: History, culprit: Commit) -> Commit | None:
    oid = refs.upstream(refs.message(history, culprit.oid))
    if oid is None:
        return None
    try:
        return history.commit(oid)
    except BisectorError:  # mainline is not in this repository
        return Commit(oid, culprit.subject)


def _later(history: History, found: Iterable[refs.Mention]) -> Iterator[LaterCommit]:
    """One entry for a change that stands in several branches."""
    merged: dict[tuple[str, str], LaterCommit] = {}
    for mention in found:
        inside = _inside(history, mention.oid)
        key = (mention.kind, mention.subject)
        known = merged.get(key)
        own = LaterCommit(Commit(mention.oid, mention.subject), mention.kind, inside)
        if known is None:
            merged[key] = own
        elif _rank(inside) < _rank(known.inside):  # mainline's id is the one that people know
            merged[key] = replace(own, inside=(*inside, *known.inside))
        else:
            merged[key] = replace(known, inside=(*known.inside, *inside))
    for each in merged.values():
        yield replace(each, inside=tuple(dict.fromkeys(each.inside)))


def _rank(inside: tuple[str, ...]) -> int:
    found = [version(name) for name in inside]
    return 0 if any(known and not known[2] for known in found) else 1


def _inside(history: History, oid: str) -> tuple[str, ...]:
    """The first release of each series that holds a commit, the first linux-next, else branches."""
    holding = refs.tags(history, contains=oid)
    series: dict[str, tuple[tuple[int, int, int, int], str]] = {}
    for name in holding:
        known = version(name)
        if known:
            kind = f"{known[0]}.{known[1]}" if known[2] else "mainline"
            series[kind] = min(series.get(kind, (known, name)), (known, name))
    if "mainline" in series:  # stable series that began after it hold it anyway
        began = series["mainline"][0]
        series = {kind: tags for kind, tags in series.items() if kind == "mainline" or tags[0][:2] < began[:2]}
    names = [name for _, name in sorted(series.values())]
    days = sorted(name for name in holding if name.startswith("next-"))
    return (*names, *days[:1]) or tuple(refs.branches(history, oid)[:3])


def _newest(history: History, series: str, bad: str) -> Iterator[Newest]:
    """``bad``: id of the bad end; where it is newer than every tag of mainline, the branch that holds it."""
    tags = refs.tags(history)
    known = [(found, name) for name in tags if (found := version(name))]
    mainline = max(((found, name) for found, name in known if not found[2]), default=None)
    name, oid = (mainline[1], tags[mainline[1]]) if mainline else ("", bad)
    for branch, tip in refs.tips(history).items() if oid else ():
        if tip != oid and history.is_ancestor(oid, tip):
            name, oid = branch, tip
    if name:
        yield Newest(Tree.MAINLINE, name, oid)
    stable = max(((f, name) for f, name in known if f"{f[0]}.{f[1]}" == series and f[2]), default=None)
    if stable:
        yield Newest(Tree.STABLE, stable[1], tags[stable[1]])
    days = sorted(name for name in tags if name.startswith("next-"))
    if days:
        yield Newest(Tree.NEXT, days[-1], tags[days[-1]])


def _tried(later: LaterCommit, facts: Facts, history: History) -> LaterCommit:
    """With what this campaign knows of the fix: whether its bad end holds it, and what trials of it answered."""
    oid, bad = later.commit.oid, facts.campaign.bad
    cell = facts.outcome.cell if facts.outcome else ""
    applied = (Edit(EditKind.APPLY, oid),)
    found = []
    for stage, judgement in facts.judgements:
        candidate = judgement.candidate
        where: Place | None = None
        if (candidate.revision, candidate.edits) == (bad, applied):
            where = Place.TOP
        elif candidate.revision == oid and not candidate.edits:
            where = Place.AT
        if where is not None and judgement.cell == cell:
            reproduced, conclusive = replace(judgement, trials=facts.trials_of(stage, judgement)).counts
            found.append(FixResult(where, judgement.verdict, reproduced, conclusive, judgement.reason))
    return replace(
        later, in_bad_end=later.kind is not MentionKind.BACKPORT and _holds(history, bad, oid), tried=tuple(found)
    )


def _holds(history: History, newer: str, older: str) -> bool:
    try:
        return bool(newer) and history.is_ancestor(older, newer)
    except BisectorError:  # the end has left the repository since
        return False


def _answered(newest: Newest, facts: Facts) -> Newest:
    """With the newest verdict on that kernel that answers this campaign's question, in the cell that was searched: from
    this campaign, or from a test of it."""
    for known in reversed(facts.of_recipe):
        judged = known.judgement
        if _is(newest, judged) and asks_the_same(facts, known.source, judged):
            return replace(newest, verdict=judged.verdict, reproduced=known.reproduced, conclusive=known.conclusive)
    return newest


def _is(newest: Newest, judgement: Judgement) -> bool:
    candidate = judgement.candidate
    if candidate.edits:
        return False
    if candidate.target is TargetKind.KERNEL_PACKAGE:
        return version(candidate.revision) == version(newest.name) is not None
    return candidate.revision == newest.oid
