# SPDX-License-Identifier: GPL-2.0-only
"""From a range of releases into the source: releases → tags → both ends built and tested again → commits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.campaign.releases import ReleaseCampaign, ReleaseRequest
from bisector.errors import InfraError, UsageError
from bisector.interfaces import Phase, Progress
from bisector.model import Image, Outcome, OutcomeKind, ReleaseFacts, Verdict
from bisector.search import releases
from bisector.search.gitrepo import UserRepository
from bisector.session import Session
from bisector.store import CampaignRow
from bisector.target.config_difference import storage_symbols

WORTH = 3
"""So many series between the ends, both included, make it cheaper to boot packages first than to build at once."""


def run(request: ReleaseRequest, repo: Path, session: Session) -> tuple[CampaignRow, Outcome]:
    """Releases first where they can narrow the search, then commits of ``repo``. Raises as the campaigns do.

    Releases are left out, with a word, when the ends name no release, when nothing lies between them, and when no
    archive can be reached.
    """
    narrowed = _narrowed(request, session)
    if narrowed is None:
        return CommitCampaign(_of_commits(request, repo, request.good, request.bad, session), session).run()
    row, outcome = narrowed
    if outcome.kind is not OutcomeKind.RANGE or outcome.releases is None:
        return row, outcome
    last = None
    for old, new in _pairs(outcome.releases, UserRepository(repo), session):
        good, bad = request.direction.good_bad(old, new)
        _say(session, f"Into the source: {old} to {new}, built with the recipe's own config")
        commits = _of_commits(request, repo, good, bad, session)
        last = _ended_since(row, request.resume, commits, session) or CommitCampaign(commits, session).run()
        if not _elsewhere(last[1]):
            break
    if last is None:
        return row, outcome
    return last if last[1].releases else _noted(session, last, row, outcome)


def _narrowed(request: ReleaseRequest, session: Session) -> tuple[CampaignRow, Outcome] | None:
    """The search over releases, None (and said why) where it cannot narrow anything."""
    if request.resume and (done := _finished(request, session)):
        return done
    why = _neighbours(request.good, request.bad)
    if why is None:
        story = ReleaseCampaign(request, session)
        try:
            supply = story.supply()
        except InfraError as error:
            why = error.what
        else:
            series = {one.series for one in supply.releases}
            if len(series) >= WORTH:
                return story.run(supply)
            why = f"there are {len(series)} series from {request.old} to {request.new}"
    _say(session, f"Releases left out: {why}")
    return None


def _neighbours(good: str, bad: str) -> str | None:
    """Why there is no release to try between two ends, None when there may be one."""
    ends = releases.numbers(good), releases.numbers(bad)
    if not all(ends):
        return "the ends name no release"
    (major, minor), (other_major, other_minor) = ends[0][:2], ends[1][:2]
    if major == other_major and abs(minor - other_minor) < WORTH - 1:
        return f"no series lies between {good} and {bad}"
    return None


def _finished(request: ReleaseRequest, session: Session) -> tuple[CampaignRow, Outcome] | None:
    """The newest search over releases of this question, when it is done; what --resume goes on from."""
    for row in reversed(session.store.campaigns(recipe=request.recipe.recipe)):
        stored = (row.recipe, row.repo, row.good, row.bad, row.find_fix, row.source)
        wanted = (request.recipe.recipe, "", request.good, request.bad, request.direction.find_fix, request.source)
        if stored == wanted:
            return (row, row.outcome) if row.outcome else None
    return None


def _of_commits(request: ReleaseRequest, repo: Path, good: str, bad: str, session: Session) -> CommitRequest:
    commits = CommitRequest(
        request.recipe, request.source, repo, good, bad, request.cells, request.pinned, request.direction
    )
    if request.resume:
        user = UserRepository(repo)
        oids = user.resolve(good).oid, user.resolve(bad).oid
        known = session.store.newest_unfinished(
            request.recipe.recipe, str(repo.resolve()), *oids, request.direction.find_fix
        )
        return replace(commits, resume=known is not None)
    return commits


def _ended_since(
    before: CampaignRow, resume: bool, commits: CommitRequest, session: Session
) -> tuple[CampaignRow, Outcome] | None:
    """The search among these commits that a broken-off command has brought to its end since the one ``before`` it."""
    if not resume or commits.resume:
        return None
    user = UserRepository(commits.repo)
    ends = user.resolve(commits.good).oid, user.resolve(commits.bad).oid
    wanted = (str(commits.repo.resolve()), *ends, commits.direction.find_fix, commits.source)
    for row in reversed(session.store.campaigns(recipe=commits.recipe.recipe)):
        same = (row.repo, row.good, row.bad, row.find_fix, row.source) == wanted
        if same and row.created >= before.created and row.outcome:
            return row, row.outcome
    return None


def _pairs(facts: ReleaseFacts, user: UserRepository, session: Session) -> Iterator[tuple[str, str]]:
    """The pairs of tags to search between that the repository has."""
    for pair in facts.tags:
        try:
            for tag in pair:
                user.resolve(tag)
        except UsageError as error:
            _say(session, f"{pair[0]} to {pair[1]} cannot be searched: {error.what}")
            continue
        yield pair


def _elsewhere(outcome: Outcome) -> bool:
    """Whether alike ends leave the change to another branch: both judged, and not the wrong way round."""
    verdicts = [judgement.verdict for judgement in (outcome.good, outcome.bad) if judgement]
    alike = len(verdicts) == 2 and verdicts[0] is verdicts[1]
    return outcome.kind is OutcomeKind.ENDS_ALIKE and alike and verdicts[0] in (Verdict.GOOD, Verdict.BAD)


def _noted(
    session: Session, commits: tuple[CampaignRow, Outcome], row: CampaignRow, range_: Outcome
) -> tuple[CampaignRow, Outcome]:
    """The outcome of the commits, with what the releases said; stored anew."""
    first = f"releases first: {range_.summary} (campaign {row.id})"
    outcome = replace(commits[1], releases=range_.releases, assumptions=(first, *commits[1].assumptions))
    if _elsewhere(outcome):
        differences = _differences(session, commits[0], row, outcome)
        more = f". The packages differ ({range_.summary}); their config does too: {differences}" if differences else ""
        outcome = replace(outcome, summary=outcome.summary + more)
    session.store.finish(commits[0].id, outcome)
    return session.store.campaign(commits[0].id), outcome


def _differences(session: Session, commits: CampaignRow, packages: CampaignRow, outcome: Outcome) -> str:
    """Symbols of storage that the distribution's config sets otherwise than ours, at the bad end."""
    ours = _config(session, commits.id, outcome.bad.image if outcome.bad else "")
    packaged = packages.outcome.bad if packages.outcome else None
    theirs = _config(session, packages.id, packaged.image if packaged else "")
    return ", ".join(storage_symbols(ours, theirs)) if ours and theirs else ""


def _config(session: Session, campaign_id: str, identity: str) -> str:
    images: dict[str, Image] = {image.identity: image for image in session.store.images(campaign_id)}
    path = Path(images[identity].config) if identity in images and images[identity].config else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else ""


def _say(session: Session, text: str) -> None:
    session.setting.listener(Progress(Phase.STAGE, text))
