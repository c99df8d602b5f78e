# SPDX-License-Identifier: GPL-2.0-only
"""Where a regression came: whose it is (mainline's or the day's own), its search, its culprit followed across rebases.

The day stands on mainline, so mainline's state is tried first: bad there, the search runs on mainline from the newest
earlier state known to be good; good there, it runs inside the day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.errors import RecipeChanged, ToolchainChanged, UsageError
from bisector.interfaces import Phase, Progress, with_context
from bisector.model import Commit, Outcome, OutcomeKind, Verdict
from bisector.nightly.config import WatchedRecipe
from bisector.nightly.drafts import Drafts
from bisector.nightly.questions import Question, narrowed
from bisector.nightly.records import (
    A_NIGHT,
    SEARCHES,
    Kind,
    Regression,
    Role,
    Search,
    State,
    Where,
    closed_one,
    known_good,
    same_bug,
)
from bisector.nightly.state import Ended, NightState
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml
from bisector.store import CampaignRow


@dataclass(frozen=True)
class RegressionTriage:
    """Settles regressions on one night's state."""

    state: NightState
    drafts: Drafts

    def run(self, regression: Regression) -> None:
        """Do what is left to do for a regression tonight. Raises InfraError, Interrupted."""
        state, item = self.state, self.state.item(regression)
        if item is None or not regression.is_open or regression.id in state.night.finished:
            return
        if regression.search:
            regression = self._search(item, regression, regression.search)
        elif state.night.name not in regression.seen or regression.same_as:
            return
        if not regression.search and regression.is_open and not regression.same_as:
            self._follow(item, regression)
        state.finish(regression)

    def _follow(self, item: WatchedRecipe, regression: Regression) -> None:
        """What tonight's trees make of it."""
        state, day = self.state, self.state.day
        if state.night.name not in regression.seen:
            return
        if regression.culprit is None:
            if regression.suspects or any(
                news.regression == regression.id and news.kind is Kind.UNFINISHED for news in state.night.news
            ):
                return  # narrowed as far as it goes; or tonight's search has ended already
            if regression.searches >= SEARCHES:
                state.add_news(
                    Kind.UNFINISHED, regression, f"{SEARCHES} searches found no culprit: {regression.summary}"
                )
                return
            self._begin(item, regression)
        elif not self.state.holds(day.next.oid, regression.culprit.oid):
            self._begin(item, regression)
        elif regression.where is Where.NEXT and self.state.holds(day.base.oid, regression.culprit.oid):
            answer = state.ask(self._on_base(item, regression))
            if answer.verdict is Verdict.BAD:
                moved = replace(regression, where=Where.MAINLINE)
                state.add_news(
                    Kind.MOVED, moved, f"{regression.culprit} is in {state.tree.base_tree} now, and bad there"
                )
                state.save(moved)

    # ---- where to search

    def _on_base(self, item: WatchedRecipe, regression: Regression) -> Question:
        cell = next(cell for cell in item.wanted if cell.name == regression.cell)
        trials = self.state.session.trials(item.recipe)
        if regression.found:  # more would cost a night; a search tries its ends itself
            trials = min(A_NIGHT, self.state.needed(item, regression))
        return Question(item, cell, Role.BASE, regression.condition, trials, sure=regression.found)

    def _begin(self, item: WatchedRecipe, regression: Regression) -> None:
        state, day = self.state, self.state.day
        answer = state.ask(self._on_base(item, regression))
        if answer.verdict is Verdict.GOOD:
            base = f"base of {day.tag}"
            ends = Search(day.base.oid, day.next.oid, base, day.tag, Where.NEXT)
        elif answer.verdict is Verdict.BAD:
            found = self._on_mainline(item, regression, ())
            if found is None:
                return
            ends = found
        else:
            state.add_news(Kind.UNFINISHED, regression, f"whose it is is not known: its base: {answer.reason}")
            return
        self._anew(item, regression, ends)

    def _anew(self, item: WatchedRecipe, regression: Regression, ends: Search) -> Regression:
        suspects = self._suspects(regression, ends)
        return self._search(item, regression, replace(ends, suspects=suspects))

    def _on_mainline(self, item: WatchedRecipe, regression: Regression, tried: tuple[str, ...]) -> Search | None:
        """From the newest earlier state of mainline that is known to be good, else from the last release."""
        state, day = self.state, self.state.day
        history, known = state.tree.history, []
        for name in state.watch.good:
            try:
                known.append(history.resolve(name).oid)
            except UsageError as error:
                state.add_news(Kind.NOTE, regression, f"'good' of {state.watch.file.name}: {error.what}")
        known += known_good(state.before, item.name, regression.cell, regression.condition)
        good = state.tree.newest_of([oid for oid in known if oid not in tried], day.base.oid)
        label = None if good else state.tree.last_release(day.base.oid)
        if label:
            good = history.resolve(label).oid
        if good is None or good in tried:
            text = (
                f"it is there in {state.tree.base_tree}, and no earlier state is known to be good (name one in 'good')"
            )
            state.save(replace(regression, where=Where.MAINLINE, summary=text))
            state.add_news(Kind.UNFINISHED, regression, text)
            return None
        return Search(good, day.base.oid, label or good[:12], f"base of {day.tag}", Where.MAINLINE, tried=tried)

    def _suspects(self, regression: Regression, ends: Search) -> tuple[str, ...]:
        """Commits between the ends that may be the culprit: that of an earlier night, under its id or rebased."""
        closed = closed_one(self.state.regressions.values(), regression.recipe, regression.condition)
        known = regression if regression.culprit else closed
        if known is None or known.culprit is None:
            return ()
        lost: Commit = known.culprit
        if self.state.holds(ends.bad, lost.oid):
            return () if self.state.holds(ends.good, lost.oid) else (lost.oid,)
        return tuple(each.oid for each in self.state.tree.rebased(lost, known.patch, ends.good, ends.bad))

    # ---- the search

    def _search(self, item: WatchedRecipe, regression: Regression, search: Search) -> Regression:
        """Search, or go on where an earlier night stopped; what comes of it is written down."""
        state = self.state
        regression = state.save(replace(regression, search=search))
        recipe = narrowed(item.recipe, regression.condition)
        source, repo = resolved_yaml(recipe), str(state.tree.folder.resolve())
        question = (recipe.recipe, repo, search.good, search.bad, False)

        def work() -> Ended:
            return self._ended(question, source, regression) or self._run(item, regression, search, recipe, source)

        try:
            ended = state.ended((*question, source), regression, search, work)
        except UsageError as error:  # ends that no search can run between
            regression = state.save(replace(regression, search=None, searches=regression.searches + 1))
            state.add_news(Kind.UNFINISHED, regression, f"cannot be searched: {error.what}")
            return regression
        return self._concluded(item, regression, search, *ended)

    def _run(self, item: WatchedRecipe, regression: Regression, search: Search, recipe: Recipe, source: str) -> Ended:
        """The search's campaign, or what is left of one. Raises InfraError, Interrupted, UsageError."""
        state = self.state
        question = (recipe.recipe, str(state.tree.folder.resolve()), search.good, search.bad, False)
        request = CommitRequest(
            recipe,
            source,
            state.tree.folder,
            search.good,
            search.bad,
            tuple(cell for cell in item.wanted if cell.name == regression.cell),
            pinned=len(item.wanted) > 1 or item.pinned,
            resume=state.session.store.newest_unfinished(*question, source=source) is not None,
            good_label=search.good_label,
            bad_label=search.bad_label,
            suspects=search.suspects,
        )
        try:
            return CommitCampaign(request, state.session).run()
        except (RecipeChanged, ToolchainChanged):  # its compiler will hardly come back, nor a file of the recipe's
            if not request.resume:
                raise
            return CommitCampaign(replace(request, resume=False), state.session).run()

    def _ended(self, question: tuple[str, str, str, str, bool], source: str, regression: Regression) -> Ended | None:
        """A campaign of exactly this search that ended, and whose night was killed before it was written down."""
        for row in reversed(self.state.session.store.campaigns(recipe=question[0])):
            same = (row.recipe, row.repo, row.good, row.bad, row.find_fix) == question and row.source == source
            if same and row.outcome and row.id not in regression.campaigns:
                return row, row.outcome
        return None

    def _concluded(
        self, item: WatchedRecipe, regression: Regression, search: Search, row: CampaignRow, outcome: Outcome
    ) -> Regression:
        state, recipe = self.state, narrowed(item.recipe, regression.condition)
        event = Progress(Phase.OUTCOME, outcome.summary, outcome=outcome, facts={"regression": regression.id})
        with_context(state.listener, campaign=row.id, recipe=row.recipe)(event)
        self.drafts.page(row)
        before = regression
        regression = replace(
            regression, campaigns=(*regression.campaigns, row.id), search=None, summary=outcome.summary
        )
        good_is_bad = outcome.good is not None and outcome.good.verdict is Verdict.BAD
        if outcome.kind is OutcomeKind.ENDS_ALIKE and good_is_bad:
            return self._further_back(item, regression, search)
        if outcome.kind is OutcomeKind.CULPRIT and outcome.culprit:
            patch = state.tree.patch_id(outcome.culprit.oid)
            found = replace(regression, culprit=outcome.culprit, patch=patch, where=search.where, searches=0)
            return self._named(before, found, recipe, row)
        if outcome.kind is OutcomeKind.NARROWED:
            found = replace(regression, culprit=None, suspects=outcome.suspects, where=search.where)
            state.add_news(Kind.NAMED, found, outcome.summary)
            return state.save(self.drafts.draft(found, recipe, row))
        state.add_news(Kind.UNFINISHED, regression, f"{outcome.kind}: {outcome.summary}")
        return state.save(replace(regression, searches=regression.searches + 1))

    def _further_back(self, item: WatchedRecipe, regression: Regression, search: Search) -> Regression:
        """The end that was taken for good has it too, which trials did not show at first: the search begins earlier."""
        regression = self.state.save(replace(regression, where=Where.MAINLINE))
        ends = self._on_mainline(item, regression, (*search.tried, search.good))
        if ends is None:
            return self.state.save(replace(regression, searches=regression.searches + 1))
        return self._anew(item, regression, ends)

    def _named(self, before: Regression, found: Regression, recipe: Recipe, row: CampaignRow) -> Regression:
        """A culprit: of this regression alone, of another one too, or of one that was gone.

        News comes before it is written down: a night that is killed in between comes here again.
        """
        state = self.state
        other = same_bug(state.regressions.values(), found)
        if other:
            state.add_news(Kind.SAME, found, f"{found.culprit} is the culprit of {other.id}, too: one bug")
            return state.save(replace(found, same_as=other.id))
        gone = closed_one(state.regressions.values(), found.recipe, found.condition)
        if gone and before.culprit is None and _same_change(gone, found):
            back = replace(gone, state=State.OPEN, closed="", culprit=found.culprit, where=found.where)
            back = replace(back, campaigns=(*gone.campaigns, row.id), seen=(*gone.seen, *found.seen))
            back = replace(back, returned=(*gone.returned, found.opened))
            state.add_news(Kind.BACK, back, f"{found.culprit} is there again")
            back = state.save(self.drafts.draft(back, recipe, row))
            state.save(replace(found, state=State.FIXED, closed=state.night.name, same_as=gone.id))
            return back
        changed = before.culprit is not None and not _same_change(before, found)
        if before.culprit is None:
            state.add_news(Kind.NAMED, found, found.summary)
        elif not changed:
            state.add_news(Kind.REBASED, found, f"{before.culprit.oid[:12]} is {found.culprit} now, proven anew")
        else:
            state.add_news(
                Kind.CHANGED, found, f"{before.culprit} has left {state.tree.name}; the culprit is {found.summary}"
            )
        return state.save(self.drafts.draft(found, recipe, row))


def _same_change(one: Regression, other: Regression) -> bool:
    """Whether two culprits are one change: the same commit, the same patch, or the same subject and author."""
    mine, its = one.culprit, other.culprit
    if mine is None or its is None:
        return False
    alike = (mine.subject, mine.author) == (its.subject, its.author)
    return mine.oid == its.oid or bool(one.patch and one.patch == other.patch) or alike
