# SPDX-License-Identifier: GPL-2.0-only
"""The story of a search over released kernels: what there is → ends → series → range."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.campaign.earlier_trials import STAGE, EarlierTrials
from bisector.case import Case
from bisector.direction import BUG, Direction
from bisector.errors import UsageError
from bisector.interfaces import Phase, Progress, Target
from bisector.judge import Judge
from bisector.model import (
    Candidate,
    Cell,
    Judgement,
    Outcome,
    OutcomeKind,
    ReleaseFacts,
    TargetKind,
    Verdict,
)
from bisector.other_kernels import kernels_of_releases
from bisector.recipe.matrix import apply
from bisector.recipe.model import Recipe
from bisector.recipe.modules import not_applied
from bisector.search import releases
from bisector.search.releases import Ending, Found, Release
from bisector.session import Session
from bisector.stage import CampaignState
from bisector.store import CampaignRow
from bisector.target.choice import Choice
from bisector.target.given import release_of
from bisector.target.kernel_package import KernelPackage, candidate
from bisector.target.packages import IncompleteRelease
from bisector.verdict.neither import NeverJudged, always_neither, never_judged, stops, summary

MB = 1_000_000
ENDINGS = {
    Ending.BETWEEN: OutcomeKind.RANGE,
    Ending.INSIDE: OutcomeKind.RANGE,
    Ending.ALIKE: OutcomeKind.ENDS_ALIKE,
    Ending.REVERSED: OutcomeKind.ENDS_ALIKE,
    Ending.UNJUDGED: OutcomeKind.UNRESOLVED,
}


@dataclass(frozen=True)
class ReleaseRequest:
    """A search over releases, as a person wants it.

    ``good`` and ``bad``: a series or a release each, "" for the outermost there is.
    """

    recipe: Recipe
    source: str  # the recipe as resolved
    good: str
    bad: str
    cells: tuple[Cell, ...]
    pinned: bool = False
    direction: Direction = BUG
    scan: bool = False
    resume: bool = False
    called: str = ""  # the recipe, as the person called it
    fresh: bool = False  # try again what an earlier campaign tried

    @property
    def old(self) -> str:
        """The older end."""
        return self.direction.old_new(self.good, self.bad)[0]

    @property
    def new(self) -> str:
        """The newer end."""
        return self.direction.old_new(self.good, self.bad)[1]


@dataclass
class Supply:
    """The releases that can be tried, the target that makes images of them, and what cannot be had."""

    releases: tuple[Release, ...]
    target: Target
    packages: KernelPackage | None
    left_out: tuple[IncompleteRelease, ...] = ()

    def text(self, *, scan: bool) -> str:
        """What there is, how many of them are tried at most, and how much is downloaded for that at most."""
        series, limit = self._series(), self.limit(scan=scan)
        most = "all are tested" if scan else f"at most {limit} candidates"
        return (
            f"Releases: {len(self.releases)} in {len(series)} series ({', '.join(series)}), {most}{self._size(limit)}"
        )

    def limit(self, *, scan: bool) -> int:
        """Releases that are tried at most."""
        return len(self.releases) if scan else releases.limit(len(self._series()))

    def _series(self) -> list[str]:
        return list(dict.fromkeys(releases.name(one.series) for one in self.releases))

    def _size(self, count: int) -> str:
        """How much so many candidates download, the largest taken; "" where nothing comes from an archive."""
        if self.packages is None:
            return ""
        kernels = [one.candidate for one in self.releases if one.candidate.target is TargetKind.KERNEL_PACKAGE]
        sizes = sorted(map(self.packages.to_download, kernels), reverse=True)
        total = sum(sizes[:count])
        return f", {total / MB:,.0f} MB to download at most" if total else ", nothing to download"


@dataclass
class ReleaseCampaign:
    """One search over releases at work.

    Args:
        request: what is to be searched for.
        session: what to work with; its store holds everything that was learnt.
    """

    request: ReleaseRequest
    session: Session

    def supply(self) -> Supply:
        """What there is, from images and folders that the recipe names, else from the archive.

        Raises InfraError when an index cannot be had, UsageError for an image that is none.
        """
        recipe = self.request.recipe
        named = [Path(name) if name.startswith("/") else recipe.beside(name) for name in recipe.search.images]
        folders = tuple(path for path in named if path.is_dir() and any(path.glob("*.deb")))
        images = [path for path in named if path not in folders]
        targets: dict[TargetKind, Target] = {TargetKind.GIVEN: self.session.given()} if images else {}
        found = [_given(path) for path in images]
        packages = None
        if folders or not images or recipe.search.suites:
            packages = self.session.kernel_package(recipe, self.request.cells, folders)
            targets[TargetKind.KERNEL_PACKAGE] = packages
            found += [Release(one.upstream, candidate(one)) for one in packages.offer.releases]
        chosen = releases.between(found, self.request.old, self.request.new)
        left_out = packages.offer.left_out if packages else ()
        return Supply(chosen, Choice(targets), packages, left_out)

    def run(self, supply: Supply | None = None) -> tuple[CampaignRow, Outcome]:
        """The search. Raises InfraError or Interrupted with the state kept for --resume."""
        supply = supply or self.supply()
        row = self._open()
        store = self.session.store
        with self.session.lock(row.id):
            if done := store.campaign(row.id).outcome:  # by another command, after we had looked for it
                return store.campaign(row.id), done
            store.set_state(row.id, CampaignState.RUNNING)
            try:
                outcome = self._story(row, supply)
            except BaseException:
                store.set_state(row.id, CampaignState.INTERRUPTED)
                raise
            store.finish(row.id, outcome)
        return store.campaign(row.id), outcome

    def _story(self, row: CampaignRow, supply: Supply) -> Outcome:
        request = self.request
        if not request.cells:
            return Outcome(OutcomeKind.UNRESOLVED, "no cell of this recipe applies")
        if len(supply.releases) < 2:
            have = str(supply.releases[0]) if supply.releases else "none"
            raise UsageError(
                f"two releases at least are needed from {request.old or 'the oldest'} to "
                f"{request.new or 'the newest'}, and there is {have}",
                hint="\n".join(
                    ["take other ends, or name other suites in search.suites", *_condensed(supply.left_out)]
                ),
            )
        words = supply.text(scan=request.scan)
        self.session.setting.listener(Progress(Phase.STAGE, words, campaign=row.id, recipe=row.recipe, stage=STAGE))
        cell = request.cells[0]
        judge = self.session.judge(row.id, request.recipe, supply.target, supply.releases[-1].candidate)
        recipe = apply(request.recipe, cell)
        kernels = kernels_of_releases(judge, recipe, supply.releases, request.direction)
        case = self.session.case(recipe, cell, kernels=kernels)

        known = EarlierTrials(self.session.store, row, () if request.fresh else self.session.store.campaigns())

        tried: list[Judgement] = []

        def ask(release: Candidate) -> Judgement:
            if earlier := known.take_over(judge.image(release), case.plan, case.question):
                words = f"{release}: tried before, in campaign {earlier}"
                judge.report(Phase.TRIAL, words, STAGE)
            judgement = _as_silent(judge, release, case, tried) or judge.ask(release, case, STAGE)
            tried.append(judgement)
            _stop_when_silent(tried)
            if judgement.verdict in (Verdict.GOOD, Verdict.BAD):
                judge.control = release  # it boots: a kernel that does not is held against it
            return judgement

        try:
            if request.scan:
                found = releases.scan(supply.releases, ask)
            else:
                found = releases.search(supply.releases, ask, request.direction)
        except _NoVerdict as silent:
            good, bad = request.direction.good_bad(*tried)
            steps = tuple(tried)
            return Outcome(
                OutcomeKind.UNRESOLVED, summary(silent.never), good=good, bad=bad, judgements=steps, cell=cell.name,
                find_fix=request.direction.find_fix,
            )  # fmt: skip
        outcome = self._outcome(found, supply, cell)
        return replace(outcome, assumptions=outcome.assumptions + known.said())

    def _outcome(self, found: Found, supply: Supply, cell: Cell) -> Outcome:
        request = self.request
        change = next((one for one in found.changes if one.direction == request.direction), found.change)
        ends = (change.old, change.new) if change else (found.old, found.new)
        way = change.direction if change else request.direction  # a scan may find no change of the wanted direction
        good, bad = way.good_bad(*ends)
        facts = ReleaseFacts(
            last=str(change.before) if change else "",
            first=str(change.after) if change else "",
            series=found.series,
            candidates=len(found.steps),
            limit=found.limit,
            downloaded=supply.packages.downloaded if supply.packages else 0,
            left_out=_condensed(_within(supply.left_out, supply.releases)),
            changes=tuple(map(str, found.changes)),
            tags=tags(change) if change else (),
            next_command=self._next(change) if change else "",
        )
        return Outcome(
            ENDINGS[found.ending],
            found.summary,
            good=good,
            bad=bad,
            judgements=found.steps,
            cell=cell.name,
            assumptions=self._assumptions(),
            unchecked=self._unchecked(found, cell),
            find_fix=way.find_fix,
            releases=facts,
        )

    def _next(self, change: releases.Change) -> str:
        """The command that goes on in the source, with the tags that the pair of releases stands for."""
        old, new = tags(change)[0]
        good, bad = change.direction.good_bad(old, new)
        recipe = self.request.called or self.request.recipe.recipe
        off = ["--releases", "off"] if self.request.recipe.search.releases == "only" else []
        fix = ["--find-fix"] if change.direction.find_fix else []
        return shlex.join(["bisector", "run", recipe, *off, *fix, "--repo", "LINUX", "--good", good, "--bad", bad])

    def _assumptions(self) -> tuple[str, ...]:
        request = self.request
        said = [f"the cell {request.cells[0].name} was named by the caller"] if request.pinned else []
        said.append("a packaged kernel behaves as its release: it has the distribution's config and patches")
        said += not_applied(request.recipe)
        clean = self.session.trials(request.recipe)
        return (*said, f"{clean} clean {'trial makes' if clean == 1 else 'trials make'} a release good")

    def _unchecked(self, found: Found, cell: Cell) -> tuple[str, ...]:
        others = [other.name for other in self.request.cells if other.name != cell.name]
        said = [*found.notes]
        said += [f"the other cells: {', '.join(others)}"] if others else []
        if found.change and not self.request.scan:
            said.append("whether it went again, or came before: --scan tests every series")
        return tuple(said)

    # ---- the row in the store

    def _open(self) -> CampaignRow:
        request, store = self.request, self.session.store
        source = f"{request.source}# scan\n" if request.scan else request.source
        recipe = request.recipe.recipe
        if request.resume:
            row = store.newest_unfinished(recipe, "", request.good, request.bad, request.direction.find_fix)
            if row and row.source == source:
                self.session.check_own(row.id, request.recipe)
                return row
            raise UsageError(
                "there is no unfinished search over releases of this recipe between these ends",
                hint="leave out --resume to start one; what was downloaded is kept",
            )
        return self.session.add_campaign(
            CampaignRow(
                id=f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}",
                recipe=recipe,
                title=request.recipe.title or "",
                source=source,
                repo="",
                good=request.good,
                bad=request.bad,
                find_fix=request.direction.find_fix,
                cell=request.cells[0].name if request.pinned else "",
                created=time.time(),
                state=CampaignState.RUNNING,
            ),
            request.recipe,
        )


class _NoVerdict(Exception):
    """The trials of the first two releases were all neither bad nor good, for one reason."""

    def __init__(self, never: NeverJudged) -> None:
        super().__init__(never.reason)
        self.never = never


def _as_silent(judge: Judge, release: Candidate, case: Case, tried: Sequence[Judgement]) -> Judgement | None:
    """Where the first release said nothing, one trial of the second that says nothing either is enough."""
    known = [trial for one in tried for trial in one.trials]
    if len(tried) != 1 or not stops(known):
        return None
    series = judge.series(release, case, STAGE)
    if not series.untestable:
        series.draw()
    return (
        series.judgement(Verdict.SKIP, "as before")
        if always_neither((*known, *series.trials)) and series.trials
        else None
    )


def _stop_when_silent(tried: Sequence[Judgement]) -> None:
    trials = [trial for one in tried for trial in one.trials]
    if len(tried) == 2 and all(one.trials for one in tried) and (never := never_judged(trials)):
        raise _NoVerdict(never)


def tags(change: releases.Change) -> tuple[tuple[str, str], ...]:
    """Pairs of tags (the older first) to search between, best first.

    A series stands for the tag it was cut from, where that answers alike; else the change lies inside the newer one's
    stable branch.
    """
    old, new = (f"v{releases.name(series)}" for series in (change.before.series, change.after.series))
    before, after = _tag(change.before), _tag(change.after)
    if change.inside:
        return ((before, after),)
    pairs = ((old, new), (new, after))
    return tuple(pair for pair in pairs if pair[0] != pair[1])


def _tag(release: Release) -> str:
    return f"v{release}" if release.version[2:] != (0,) else f"v{releases.name(release.series)}"


def _given(path: Path) -> Release:
    if not (path.is_file() or path.is_dir()):  # a FIFO would be read for ever
        raise UsageError(f"{path} is neither a kernel nor a folder", hint="see search.images of the recipe")
    found = release_of(path)
    version = releases.leading(found)
    if not version:
        raise UsageError(f"{path} does not say which release it is", hint="give a bzImage or a whole build folder")
    return Release(version, Candidate(TargetKind.GIVEN, str(path.resolve()), label=found))


def _within(left_out: Sequence[IncompleteRelease], supply: Sequence[Release]) -> tuple[IncompleteRelease, ...]:
    first, last = supply[0].series, supply[-1].series
    return tuple(one for one in left_out if first <= one.upstream[:2] <= last)


def _condensed(left_out: Sequence[IncompleteRelease]) -> tuple[str, ...]:
    """A line for each series of which something is left out."""
    by_series: dict[tuple[int, ...], list[IncompleteRelease]] = {}
    for one in left_out:
        by_series.setdefault(one.upstream[:2], []).append(one)
    lines = []
    for series, members in by_series.items():
        last = members[-1]
        lines.append(
            f"{releases.name(series)}: {len(members)} left out, as {last.version}: {last.missing} is not there"
        )
    return tuple(lines)
