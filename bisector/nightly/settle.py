# SPDX-License-Identifier: GPL-2.0-only
"""Where a regression came: whose it is (mainline's or the day's own), its search, its culprit followed across rebases.

The day stands on mainline, so mainline's state is tried first: bad there, the search runs on mainline from the newest
earlier state known to be good; good there, it runs inside the day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.errors import UsageError
from bisector.interfaces import Progress, with_context
from bisector.model import Commit, Outcome, OutcomeKind, Verdict
from bisector.nightly.config import Watched
from bisector.nightly.desk import Desk
from bisector.nightly.memory import (
    A_NIGHT,
    SEARCHES,
    Kind,
    Regression,
    Search,
    State,
    Where,
    closed_one,
    known_good,
    same_bug,
)
from bisector.nightly.papers import Papers
from bisector.nightly.trying import Question, narrowed
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.store import CampaignRow


@dataclass(frozen=True)
class Settler:
    """Settles regressions on one night's desk."""

    desk: Desk
    papers: Papers

    def settle(self, regression: Regression) -> None:
        """Do what is left to do for a regression tonight. Raises InfraError, Interrupted."""
        desk, item = self.desk, self.desk.item(regression)
        if item is None or not regression.is_open or regression.id in desk.night.settled:
            return
        if regression.search:
            regression = self._run(item, regression, regression.search)
        elif desk.night.name not in regression.seen or regression.same_as:
            return
        if not regression.search and regression.is_open and not regression.same_as:
            self._follow(item, regression)
        desk.settle(regression)

    def _follow(self, item: Watched, regression: Regression) -> None:
        """What tonight's trees make of it."""
        desk, day = self.desk, self.desk.day
        if desk.night.name not in regression.seen:
            return
        if regression.culprit is None:
            if regression.suspects or any(
                news.regression == regression.id and news.kind is Kind.UNFINISHED for news in desk.night.news
            ):
                return  # narrowed as far as it goes; or tonight's search has ended already
            if regression.searches >= SEARCHES:
                desk.tell(Kind.UNFINISHED, regression, f"{SEARCHES} searches found no culprit: {regression.summary}")
                return
            self._begin(item, regression)
        elif not self.desk.holds(day.next.oid, regression.culprit.oid):
            self._begin(item, regression)
        elif regression.where is Where.NEXT and self.desk.holds(day.base.oid, regression.culprit.oid):
            answer = desk.ask(self._on_base(item, regression))
            if answer.verdict is Verdict.BAD:
                moved = replace(regression, where=Where.MAINLINE)
                desk.tell(Kind.MOVED, moved, f"{regression.culprit} is in mainline now, and bad there")
                desk.save(moved)

    # ---- where to search

    def _on_base(self, item: Watched, regression: Regression) -> Question:
        cell = next(cell for cell in item.wanted if cell.name == regression.cell)
        trials = self.desk.session.trials(item.recipe)
        if regression.found:  # more would cost a night; a search tries its ends itself
            trials = min(A_NIGHT, self.desk.needed(item, regression))
        return Question(item, cell, "base", regression.condition, trials, sure=regression.found)

    def _begin(self, item: Watched, regression: Regression) -> None:
        desk, day = self.desk, self.desk.day
        answer = desk.ask(self._on_base(item, regression))
        if answer.verdict is Verdict.GOOD:
            base = f"base of {day.tag}"
            ends = Search(day.base.oid, day.next.oid, base, day.tag, Where.NEXT)
        elif answer.verdict is Verdict.BAD:
            found = self._on_mainline(item, regression, ())
            if found is None:
                return
            ends = found
        else:
            desk.tell(Kind.UNFINISHED, regression, f"whose it is cannot be told: its base: {answer.reason}")
            return
        self._anew(item, regression, ends)

    def _anew(self, item: Watched, regression: Regression, ends: Search) -> Regression:
        suspects = self._suspects(regression, ends)
        return self._run(item, regression, replace(ends, suspects=suspects))

    def _on_mainline(self, item: Watched, regression: Regression, tried: tuple[str, ...]) -> Search | None:
        """From the newest earlier state of mainline that is known to be good, else from the last release."""
        desk, day = self.desk, self.desk.day
        history, known = desk.tree.history, []
        for name in desk.watch.good:
            try:
                known.append(history.resolve(name).oid)
            except UsageError as error:
                desk.tell(Kind.NOTE, regression, f"'good' of {desk.watch.file.name}: {error.what}")
        known += known_good(desk.before, item.name, regression.cell, regression.condition)
        good = desk.tree.newest_of([oid for oid in known if oid not in tried], day.base.oid)
        label = ""
        if not good:
            label = desk.tree.last_release(day.base.oid)
            good = history.resolve(label).oid if label else ""
        if not good or good in tried:
            told = "it is mainline's, and no earlier state is known to be good (name one in 'good')"
            desk.save(replace(regression, where=Where.MAINLINE, summary=told))
            desk.tell(Kind.UNFINISHED, regression, told)
            return None
        return Search(good, day.base.oid, label or good[:12], f"base of {day.tag}", Where.MAINLINE, tried=tried)

    def _suspects(self, regression: Regression, ends: Search) -> tuple[str, ...]:
        """Commits between the ends that may be the culprit: that of an earlier night, under its id or rebased."""
        closed = closed_one(self.desk.regressions.values(), regression.recipe, regression.condition)
        known = regression if regression.culprit else closed
        if known is None or known.culprit is None:
            return ()
        lost: Commit = known.culprit
        if self.desk.holds(ends.bad, lost.oid):
            return () if self.desk.holds(ends.good, lost.oid) else (lost.oid,)
        return tuple(each.oid for each in self.desk.tree.rebased(lost, known.patch, ends.good, ends.bad))

    # ---- the search

    def _run(self, item: Watched, regression: Regression, search: Search) -> Regression:
        """Search, or go on where an earlier night stopped; what comes of it is written down."""
        desk = self.desk
        regression = desk.save(replace(regression, search=search))
        recipe = narrowed(item.recipe, regression.condition)
        source, repo = resolved_yaml(recipe), str(desk.tree.folder.resolve())
        question = (recipe.recipe, repo, search.good, search.bad, False)
        ended = self._ended(question, source, regression)
        if ended is None:
            cells = tuple(cell for cell in item.wanted if cell.name == regression.cell)
            request = CommitRequest(
                recipe,
                source,
                desk.tree.folder,
                search.good,
                search.bad,
                cells,
                pinned=len(item.wanted) > 1 or item.pinned,
                resume=desk.session.store.newest_unfinished(*question, source=source) is not None,
                good_label=search.good_label,
                bad_label=search.bad_label,
                suspects=search.suspects,
            )
            try:
                ended = CommitCampaign(request, desk.session).run()
            except UsageError as error:  # ends that no search can run between
                regression = desk.save(replace(regression, search=None, searches=regression.searches + 1))
                desk.tell(Kind.UNFINISHED, regression, f"cannot be searched: {error.what}")
                return regression
        return self._concluded(item, regression, search, *ended)

    def _ended(
        self, question: tuple[str, str, str, str, bool], source: str, regression: Regression
    ) -> tuple[CampaignRow, Outcome] | None:
        """A campaign of exactly this search that ended, and whose night was killed before it was written down."""
        for row in reversed(self.desk.session.store.campaigns(recipe=question[0])):
            same = (row.recipe, row.repo, row.good, row.bad, row.find_fix) == question and row.source == source
            if same and row.outcome and row.id not in regression.campaigns:
                return row, row.outcome
        return None

    def _concluded(
        self, item: Watched, regression: Regression, search: Search, row: CampaignRow, outcome: Outcome
    ) -> Regression:
        desk, recipe = self.desk, narrowed(item.recipe, regression.condition)
        told = Progress("outcome", outcome.summary, outcome=outcome, facts={"regression": regression.id})
        with_context(desk.session.setting.listener, campaign=row.id, recipe=row.recipe)(told)
        self.papers.page(row)
        before = regression
        regression = replace(
            regression, campaigns=(*regression.campaigns, row.id), search=None, summary=outcome.summary
        )
        good_is_bad = outcome.good is not None and outcome.good.verdict is Verdict.BAD
        if outcome.kind is OutcomeKind.ENDS_ALIKE and good_is_bad:
            return self._further_back(item, regression, search)
        if outcome.kind is OutcomeKind.CULPRIT and outcome.culprit:
            patch = desk.tree.patch_id(outcome.culprit.oid)
            found = replace(regression, culprit=outcome.culprit, patch=patch, where=search.where, searches=0)
            return self._named(before, found, recipe, row)
        if outcome.kind is OutcomeKind.NARROWED:
            found = replace(regression, culprit=None, suspects=outcome.suspects, where=search.where)
            desk.tell(Kind.NAMED, found, outcome.summary)
            return desk.save(self.papers.draft(found, recipe, row))
        desk.tell(Kind.UNFINISHED, regression, f"{outcome.kind}: {outcome.summary}")
        return desk.save(replace(regression, searches=regression.searches + 1))

    def _further_back(self, item: Watched, regression: Regression, search: Search) -> Regression:
        """The end that was taken for good has it too, which trials did not show at first: the search begins earlier."""
        regression = self.desk.save(replace(regression, where=Where.MAINLINE))
        ends = self._on_mainline(item, regression, (*search.tried, search.good))
        if ends is None:
            return self.desk.save(replace(regression, searches=regression.searches + 1))
        return self._anew(item, regression, ends)

    def _named(self, before: Regression, found: Regression, recipe: Recipe, row: CampaignRow) -> Regression:
        """A culprit: of this regression alone, of another one too, or of one that was gone.

        It is told before it is written down: a night that is killed in between comes here again.
        """
        desk = self.desk
        other = same_bug(desk.regressions.values(), found)
        if other:
            desk.tell(Kind.SAME, found, f"{found.culprit} is the culprit of {other.id}, too: one bug")
            return desk.save(replace(found, same_as=other.id))
        gone = closed_one(desk.regressions.values(), found.recipe, found.condition)
        if gone and before.culprit is None and _same_change(gone, found):
            back = replace(gone, state=State.OPEN, closed="", culprit=found.culprit, where=found.where)
            back = replace(back, campaigns=(*gone.campaigns, row.id), seen=(*gone.seen, *found.seen))
            back = replace(back, returned=(*gone.returned, found.opened))
            desk.tell(Kind.BACK, back, f"{found.culprit} is there again")
            back = desk.save(self.papers.draft(back, recipe, row))
            desk.save(replace(found, state=State.FIXED, closed=desk.night.name, same_as=gone.id))
            return back
        changed = before.culprit is not None and not _same_change(before, found)
        if before.culprit is None:
            desk.tell(Kind.NAMED, found, found.summary)
        elif not changed:
            desk.tell(Kind.REBASED, found, f"{before.culprit.oid[:12]} is {found.culprit} now, proven anew")
        else:
            desk.tell(Kind.CHANGED, found, f"{before.culprit} has left linux-next; the culprit is {found.summary}")
        return desk.save(self.papers.draft(found, recipe, row))


def _same_change(one: Regression, other: Regression) -> bool:
    """Whether two culprits are one change: the same commit, the same patch, or the same subject and author."""
    mine, its = one.culprit, other.culprit
    if mine is None or its is None:
        return False
    alike = (mine.subject, mine.author) == (its.subject, its.author)
    return mine.oid == its.oid or bool(one.patch and one.patch == other.patch) or alike
