# SPDX-License-Identifier: GPL-2.0-only
"""Whole campaigns with a fixed number of trials: what they find and what they refuse."""

import pytest
from file_session import FIXED, SHIPPED, FileSession, History, line, outcome_of, request

from bisector.campaign.commits import CommitCampaign
from bisector.direction import FIX
from bisector.errors import UsageError
from bisector.model import OutcomeKind, Verdict
from bisector.recipe.load import loads
from bisector.recipe.resolve import resolved_yaml
from bisector.report import facts, text
from bisector.session import Setting


def test_linear_history_gives_the_planted_culprit(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    outcome = outcome_of(history, setting, "c0", "c16")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert [j.candidate.label for j in outcome.proof] == ["culprit", "culprit^1"]
    assert "git bisect start" in outcome.bisect_log


def test_unbuildable_panicking_and_oopsing_commits_are_stepped_over(history: History, setting: Setting) -> None:
    line(history, *["good"] * 7, "broken", "good", "bad", "panics", "bad", "oops", *["bad"] * 4)
    outcome = outcome_of(history, setting, "c0", "c16")
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]


def test_unjudgeable_neighbour_of_the_culprit_narrows(history: History, setting: Setting) -> None:
    line(history, *["good"] * 5, "broken", *["bad"] * 5)
    outcome = outcome_of(history, setting, "c0", "c10")
    assert outcome.kind is OutcomeKind.NARROWED
    assert {s.oid for s in outcome.suspects} == {history.oids["c5"], history.oids["c6"]}
    fresh = {(j.candidate.revision, j.verdict) for j in outcome.proof}
    assert fresh == {(history.oids["c6"], Verdict.BAD), (history.oids["c4"], Verdict.GOOD)}


def test_culprit_inside_a_merged_branch(history: History, setting: Setting) -> None:
    line(history, "good", "good", "good")
    history.git("checkout", "-q", "-b", "side", history.oids["c1"])
    history.commit("s1", "good")
    history.commit("s2", "bad")
    history.git("checkout", "-q", "main")
    history.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "merge", "side")
    history.commit("m1", "bad")
    history.commit("m2", "bad")
    outcome = outcome_of(history, setting, "c0", "m2")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid in (history.oids["s2"], history.oids["m1"])


def test_ends_alike_say_so(history: History, setting: Setting) -> None:
    line(history, "good", "good", "good")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "both ends are good" in outcome.summary


@pytest.mark.parametrize("recipe", [FIXED, SHIPPED])
def test_a_recipe_that_says_nothing_stops_after_three_trials(history: History, setting: Setting, recipe: str) -> None:
    """An array that never comes into sync is neither degraded nor healthy, at either end."""
    line(history, "syncing", "syncing", "syncing too")
    loaded = loads(recipe, "silent.yaml")
    with FileSession(setting) as session:
        wanted = request(history, "c0", "c2", recipe=loaded, source=resolved_yaml(loaded))
        row, outcome = CommitCampaign(wanted, session).run()
        assert len(session.store.trials(row.id)) == 3
        assert {str(trial.candidate.revision) for trial in session.store.trials(row.id)} == {
            history.oids["c0"],
            history.oids["c2"],
        }
        report = text.render(facts.gather(session.store, row))
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert outcome.summary.startswith("the first 3 trials were all neither bad nor good for one reason")
    assert "bad_when or good_when" in outcome.summary
    assert "step probe: exit 0" in report


def test_one_trial_that_says_something_lets_the_campaign_go_on(history: History, setting: Setting) -> None:
    line(history, "syncing", "good", "bad")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert "cannot be judged" in outcome.summary


def test_ends_the_other_way_round_are_named(history: History, setting: Setting) -> None:
    line(history, "bad", "bad", "good")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "other way round" in outcome.summary


def test_bad_before_good_is_refused_before_anything_is_built(history: History, setting: Setting) -> None:
    line(history, "bad", "good")
    with FileSession(setting) as session, pytest.raises(UsageError, match="is an ancestor"):
        CommitCampaign(request(history, "c1", "c0"), session).run()
    assert not list((setting.folders.state / "campaigns").glob("*"))


def test_find_fix_gives_the_first_good_commit(history: History, setting: Setting) -> None:
    line(history, *["bad"] * 6, *["good"] * 5)
    outcome = outcome_of(history, setting, "c10", "c0", direction=FIX)
    assert [j.candidate.label for j in outcome.proof][:2] == ["fix", "fix^1"]
    assert "culprit" not in outcome.summary
    assert not outcome.newer_untested
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c6"]


def test_an_end_that_cannot_be_built_is_unresolved(history: History, setting: Setting) -> None:
    line(history, "good", "good", "broken")
    outcome = outcome_of(history, setting, "c0", "c2")
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert "undeclared" in outcome.summary


def test_a_fixup_is_laid_over_the_hole_in_history(history: History, setting: Setting) -> None:
    """c3 breaks the build in a file of its own and c9 repairs it; the culprit c6 lies between."""
    for number in range(12):
        if number == 3:
            (history.folder / "hole").write_text("broken\n")
        if number == 9:
            (history.folder / "hole").write_text("repaired\n")
        docs = "c8" if number == 9 else ""  # the repair touches nothing else
        history.commit(f"c{number}", "bad" if number >= 6 else "good", docs)
    assert outcome_of(history, setting, "c0", "c11").kind is OutcomeKind.NARROWED
    text = FIXED
    fixups = f"fixups: [{{broken_by: {history.oids['c3']}, fixed_by: {history.oids['c9']}}}]"
    recipe = loads(text.replace("bad: v6.18}", f"bad: v6.18, {fixups}}}"), "repaired.yaml")
    outcome = outcome_of(history, setting, "c0", "c11", recipe=recipe, source=resolved_yaml(recipe))
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c6"]
    assert any("search.fixups" in line for line in outcome.assumptions)
