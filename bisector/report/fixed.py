# SPDX-License-Identifier: GPL-2.0-only
"""Is it fixed already? Who names the culprit in the refs at hand, and what the newest kernels there answered.

Reads the repository and the store; builds nothing and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from bisector.errors import BisectorError
from bisector.model import Commit, Judgement, TargetKind, Verdict
from bisector.report.claim import version
from bisector.report.facts import Facts
from bisector.search import refs
from bisector.search.gitrepo import History
from bisector.store import Store

FOLLOWED = 12  # commits that name the culprit for which it is looked up where they are


@dataclass(frozen=True)
class Later:
    """A commit that names the culprit: ``fixes``, ``revert``, or ``backport`` of the same change.

    ``inside``: the first tags that hold it, one a series, and branches where no tag does.
    """

    commit: Commit
    kind: str
    inside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Newest:
    """The newest kernel of a kind (mainline, stable, next) at hand, and what it answered; None: was not tested."""

    kind: str
    name: str
    oid: str
    verdict: Verdict | None = None
    reproduced: int = 0
    told: int = 0


@dataclass(frozen=True)
class Fixed:
    """What was looked for and found. ``looked``: False when there was nothing to look in; ``why`` says why.

    ``upstream``: mainline's commit of a culprit that is a backport.
    """

    looked: bool = False
    why: str = ""
    upstream: Commit | None = None
    later: tuple[Later, ...] = ()
    newest: tuple[Newest, ...] = ()

    @property
    def hints(self) -> tuple[str, ...]:
        """For the person who sends: what regzbot can be told once they have looked at it themselves."""
        return tuple(
            f'#regzbot fix: {each.commit.oid[:12]} ("{each.commit.subject}")'
            for each in self.later
            if each.kind in ("fixes", "revert")
        )


UNKNOWN = Fixed()


def examine(facts: Facts, store: Store, history: History | None, *, series: str = "") -> Fixed:
    """Look for fixes of the culprit in ``history``, and for verdicts on the newest kernels there.

    Args:
        history: the user's repository, None when it is not at hand.
        series: the stable series that was hit ("6.18"), "" for none.
    """
    if history is None:
        return Fixed(why="the repository is not at hand")
    try:
        newest = tuple(_answered(each, facts, store) for each in _newest(history, series))
        culprit = facts.outcome.culprit if facts.outcome else None
        if culprit is None:
            return Fixed(True, "no single commit to look for", newest=newest)
        mainline = _upstream(history, culprit)
        names = (culprit.oid, *((mainline.oid,) if mainline else ()))
        found = refs.mentions(history, names, since=culprit.oid)
        return Fixed(True, "", mainline, tuple(_later(history, found)), newest)
    except BisectorError as error:
        return Fixed(why=error.what)


def _upstream(history: History, culprit: Commit) -> Commit | None:
    oid = refs.upstream(refs.message(history, culprit.oid))
    if not oid:
        return None
    try:
        return history.commit(oid)
    except BisectorError:  # mainline is not in this repository
        return Commit(oid, culprit.subject)


def _later(history: History, found: Iterable[refs.Mention]) -> Iterator[Later]:
    """One entry for a change that stands in several branches."""
    merged: dict[tuple[str, str], Later] = {}
    for mention in list(found)[:FOLLOWED]:
        inside = _inside(history, mention.oid)
        key = (mention.kind, mention.subject)
        known = merged.get(key)
        own = Later(Commit(mention.oid, mention.subject), mention.kind, inside)
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
        series = {kind: told for kind, told in series.items() if kind == "mainline" or told[0][:2] < began[:2]}
    names = [name for _, name in sorted(series.values())]
    days = sorted(name for name in holding if name.startswith("next-"))
    return (*names, *days[:1]) or tuple(refs.branches(history, oid)[:3])


def _newest(history: History, series: str) -> Iterator[Newest]:
    tags = refs.tags(history)
    known = [(found, name) for name in tags if (found := version(name))]
    mainline = max(((found, name) for found, name in known if not found[2]), default=None)
    if mainline:
        name, oid = mainline[1], tags[mainline[1]]
        for branch, tip in refs.tips(history).items():
            if tip != oid and history.is_ancestor(oid, tip):
                name, oid = branch, tip
        yield Newest("mainline", name, oid)
    stable = max(((f, name) for f, name in known if f"{f[0]}.{f[1]}" == series and f[2]), default=None)
    if stable:
        yield Newest("stable", stable[1], tags[stable[1]])
    days = sorted(name for name in tags if name.startswith("next-"))
    if days:
        yield Newest("next", days[-1], tags[days[-1]])


def _answered(newest: Newest, facts: Facts, store: Store) -> Newest:
    """With the newest verdict of this recipe on that kernel, from this campaign or from a test of it."""
    rows = [row for row in store.campaigns() if row.recipe == facts.campaign.recipe]
    for row in reversed(rows):
        for stage, judgement in reversed(store.judgements(row.id)):
            if _is(newest, judgement):
                trials = store.trials(row.id, image=judgement.image, stage=stage) if judgement.image else ()
                counts = replace(judgement, trials=tuple(t for t in trials if t.cell == judgement.cell)).counts
                return replace(newest, verdict=judgement.verdict, reproduced=counts[0], told=counts[1])
    return newest


def _is(newest: Newest, judgement: Judgement) -> bool:
    candidate = judgement.candidate
    if candidate.edits:
        return False
    if candidate.target is TargetKind.KERNEL_PACKAGE:
        return version(candidate.revision) == version(newest.name) is not None
    return candidate.revision == newest.oid
