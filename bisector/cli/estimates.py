# SPDX-License-Identifier: GPL-2.0-only
"""``run --estimate``: what a search will take, on stdout. Nothing is built and nothing boots."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from bisector.cli.helpers import open_session, open_store, print_object, terminal_of

if TYPE_CHECKING:
    import typer

    from bisector.campaign.releases import ReleaseRequest
    from bisector.estimate import Estimate, Releases


def print_estimate(
    context: typer.Context, request: ReleaseRequest, mode: str, repo: Path | None, as_json: bool
) -> None:
    """What the search would take: of releases, of commits, or both, as ``mode`` says (auto, only, off)."""
    from bisector import estimate

    releases = _of_releases(context, request) if mode != "off" else None
    commits = _of_commits(context, request, repo) if mode != "only" and repo else None
    terminal = terminal_of(context)
    if as_json:
        found = {"releases": releases, "commits": commits}
        print_object(terminal, "estimate", {name: dataclasses.asdict(part) for name, part in found.items() if part})
        return
    terminal.write("\n".join(estimate.as_text(part) for part in (releases, commits) if part))


def _of_commits(context: typer.Context, request: ReleaseRequest, repo: Path) -> Estimate:
    from bisector import estimate
    from bisector.recipe.plan import question_for
    from bisector.search.gitrepo import UserRepository
    from bisector.session import Session

    user, recipe = UserRepository(repo), request.recipe
    old, new = request.direction.old_new(user.resolve(request.good), user.resolve(request.bad))
    count = user.count(old.oid, new.oid, recipe.search.paths, recipe.search.first_parent)
    store = open_store(context)
    try:
        seen = estimate.measured(store, recipe)
    finally:
        store.close()
    rule, numbers = Session.rule(recipe, sequential=True), bool(question_for(recipe).required)
    return estimate.of_commits(count, rule, len(request.cells), seen, numbers=numbers)


def _of_releases(context: typer.Context, request: ReleaseRequest) -> Releases:
    from bisector import estimate
    from bisector.campaign.releases import ReleaseCampaign
    from bisector.session import Session

    with open_session(context, 1, recipes=(request.recipe,)) as session:
        supply = ReleaseCampaign(request, session).supply()
        most, text = supply.limit(scan=request.scan), supply.text(scan=request.scan)
        seen = estimate.measured(session.store, request.recipe)
    return estimate.of_releases(text, most, Session.trials(request.recipe), seen)
