# SPDX-License-Identifier: GPL-2.0-only
"""What a watch leaves for people beside its summaries: a page for each campaign, one draft for each regression."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.errors import BisectorError, Interrupted
from bisector.followup import recheck
from bisector.interfaces import Phase
from bisector.mail import send
from bisector.mail.draft import MailOptions, write
from bisector.mail.fixed import FixStatus, Tree
from bisector.model import OutcomeKind, Verdict
from bisector.nightly.records import Kind, Regression, Where
from bisector.nightly.state import NightState
from bisector.recipe.model import Recipe
from bisector.report import formats
from bisector.report.facts import gather
from bisector.store import CampaignRow


@dataclass(frozen=True)
class Drafts:
    """Writes them from one night's state."""

    state: NightState

    def page(self, row: CampaignRow) -> None:
        """The campaign's own page and text, beside the summaries. Raises InfraError."""
        facts = gather(self.state.session.store, row)
        for kind in ("html", "text"):
            formats.save(kind, facts, self._page_folder(row.id))

    def draft(self, found: Regression, recipe: Recipe, row: CampaignRow) -> Regression:
        """The regression with its one draft, written anew when the culprit has a new id.

        Before that it is tried whether it is fixed already, where the watch asks for it. Raises InfraError when the
        page cannot be written, Interrupted when somebody (not the deadline) stopped it.
        """
        if found.same_as:
            return found
        if self.state.watch.check_fixed:
            self._recheck(found, recipe, row)
        return self._written(found, row)

    def restore(self) -> None:
        """Write again what is remembered and lost: pages, and drafts of what is open. Raises InfraError."""
        state = self.state
        rows = {row.id: row for row in state.session.store.campaigns()}
        for regression in tuple(state.regressions.values()):
            mine = [rows[name] for name in regression.campaigns if name in rows]
            for row in mine:
                if not (self._page_folder(row.id) / "report.html").exists():
                    self.page(row)
            named = next((row for row in reversed(mine) if _names(row, regression)), None)
            owed = regression.is_open and regression.found and not regression.same_as
            if owed and named and not any(self._draft_folder(regression).glob("0-*.eml")):
                state.save(self._written(regression, named))

    def _page_folder(self, campaign: str) -> Path:
        return self.state.watch.out / "campaigns" / campaign

    def _draft_folder(self, regression: Regression) -> Path:
        return self.state.watch.out / "drafts" / regression.id

    def _written(self, found: Regression, row: CampaignRow) -> Regression:
        folder = self._draft_folder(found)
        try:
            written = write(MailOptions(), self.state.session.store, row, self.state.session.processes)
            send.save(written, folder)
        except BisectorError as error:
            self.state.add_news(Kind.NOTE, found, f"no draft was written: {error.what}")
            return found
        self.state.emit(Phase.DRAFT, f"a draft is in {folder}", found, folder=str(folder), mails=len(written.mails))
        return replace(found, draft=str(folder))

    def _recheck(self, found: Regression, recipe: Recipe, row: CampaignRow) -> None:
        """Try the newest mainline and a fix. What hinders it becomes a note, and the draft is written without."""
        state = self.state
        try:
            rechecked = recheck(row, recipe, state.session)
        except Interrupted:
            if not state.deadline.spent:
                raise
            state.add_news(Kind.NOTE, found, f"whether it is fixed already was not tried: {state.deadline.spent}")
            return
        except BisectorError as error:
            state.add_news(Kind.NOTE, found, f"whether it is fixed already is left open: {error.what}")
            return
        self.page(row)
        if repaired := tuple(_repaired(rechecked.fixed, found)):
            state.add_news(Kind.NOTE, found, f"it may be fixed already: {'; '.join(repaired)}")


def _names(row: CampaignRow, regression: Regression) -> bool:
    """Whether a campaign's outcome is what the regression is known by."""
    outcome = row.outcome
    if outcome is None:
        return False
    if regression.culprit is None:
        return outcome.kind is OutcomeKind.NARROWED
    return outcome.culprit is not None and outcome.culprit.oid == regression.culprit.oid


def _repaired(fixed: FixStatus, found: Regression) -> Iterable[str]:
    """What answered good: a fix; for a bug of mainline, mainline as it is now."""
    for later in fixed.later:
        for tried in later.tried:
            if later.repairs and tried.verdict is Verdict.GOOD:
                yield f"{later.commit} {tried.where} is good (0 of {tried.conclusive} trials)"
    for newest in fixed.newest:
        if found.where is Where.MAINLINE and newest.tree is Tree.MAINLINE and newest.verdict is Verdict.GOOD:
            yield f"the newest mainline, {newest.name}, is good (0 of {newest.conclusive} trials)"
