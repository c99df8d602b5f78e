# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns with a budget of error over real git histories: the proof and all its arms, and what it sends back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from acting import RECIPE, Act, Acted, ActedSession, World

from bisector.campaign import commits
from bisector.direction import FIX
from bisector.errors import InfraError
from bisector.followup import recheck
from bisector.interfaces import ignore
from bisector.model import OutcomeKind, Signal
from bisector.search import proof
from bisector.session import Setting
from bisector.stage import Stage
from bisector.store import Store
from bisector.system.xdg import Folders
from bisector.verdict.confirm import Confirmation, Contradiction, NewBackground
from bisector.verdict.sequential import Belief, Evidence
from tests.search.planted import Planned, Planted, chain, git

BUG = range(9, 17)


def test_the_proof_tries_both_ways_when_culprit_and_parent_stand(act: Act) -> None:
    acted = act(17, World(rate=0.5), bug=BUG)
    _, outcome = acted.run("c0", "c16")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c9"}
    edits = [[edit.kind for edit in judgement.candidate.edits] for judgement in outcome.proof]
    assert edits == [[], [], ["apply"], ["revert"]]
    assert outcome.proof[2].counts[0] >= 1
    assert outcome.proof[3].counts[0] == 0
    numbers = [[trial.number for trial in judgement.trials] for judgement in outcome.proof]
    assert max(map(max, numbers[:2])) < min(map(min, numbers[2:]))  # the edits come last
    assert "chance of error below" in outcome.summary
    assert not [line for line in outcome.unchecked if "the commit" in line]


@pytest.mark.parametrize("text", [RECIPE, RECIPE.replace("confidence: {max_error: 0.01}", "trials: 9")])
def test_trials_that_two_sides_of_the_proof_share_count_once(act: Act, text: str) -> None:
    """The good end is the culprit's parent: reverted on the bad end it *is* the good end, applied it is the bad one."""
    acted = act(2, World(rate=0.5), bug=range(1, 2))
    row, outcome = acted.run("c0", "c1", text=text)
    assert outcome.kind is OutcomeKind.CULPRIT
    numbers = [trial.number for judgement in outcome.proof for trial in judgement.trials]
    assert len(numbers) == len(set(numbers))
    store = Store(acted.folders.state)
    assert len(numbers) == len(store.trials(row.id, stage="proof"))
    store.close()
    assert [bool(judgement.trials) for judgement in outcome.proof] == [True, True, False, False]
    assert outcome.summary.count("whose trials count once") == 2


def test_the_proof_is_given_the_trials_by_which_the_search_called_the_parent_good(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edits have none of their own."""
    acted = act(17, World(rate=0.5), bug=BUG)
    given: list[tuple[Evidence | None, ...]] = []
    real = proof.draw_proof
    monkeypatch.setattr(proof, "draw_proof", lambda *args: given.append(args[6]) or real(*args))
    row, outcome = acted.run("c0", "c16")
    store = Store(acted.folders.state)
    searched = [trial for trial in store.trials(row.id, stage="search") if trial.image == outcome.proof[1].image]
    store.close()
    assert searched
    assert given[-1] == (Evidence.of(trial.reading for trial in searched), Evidence())


def test_a_revert_that_does_not_apply_is_unchecked_and_blocks_nothing(act: Act) -> None:
    acted = act(17, World(rate=0.5), bug=BUG, broken=range(20, 21))
    planted = acted.planted
    tip = planted.oid["c16"]

    # a later commit rewrites the very file: the culprit reverts no more
    blob = git(planted.folder, "hash-object", "-w", "--stdin", stdin="bug, and more of it")
    tree = git(
        planted.folder, "mktree", stdin=git(planted.folder, "ls-tree", tip).replace(
            git(planted.folder, "rev-parse", f"{tip}:bug"), blob
        ) + "\n",
    )  # fmt: skip
    planted.oid["c17"] = git(planted.folder, "commit-tree", "-p", tip, "-m", "c17", tree)
    _, outcome = acted.run("c0", "c17")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert any("reverted on the bad end" in line and "conflicts" in line for line in outcome.unchecked)


def test_a_parent_that_cannot_be_built_is_vouched_for_by_a_newer_good_commit(act: Act) -> None:
    """git never tried the parent once its child was good; the proof would, and it does not build."""
    acted = act(17, World(rate=0.5), bug=BUG, broken=range(8, 9))
    _, outcome = acted.run("c0", "c16")
    assert outcome.kind is OutcomeKind.NARROWED
    assert acted.named(outcome) == {"c8", "c9"}
    assert {str(judgement.verdict) for judgement in outcome.proof} == {"bad", "good"}
    assert "To split them" in outcome.summary
    assert "search.fixups" in outcome.summary


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_a_second_bug_that_hides_the_first_never_misleads(act: Act, rate: float) -> None:
    acted = act(17, World(rate=rate, other=0.02), bug=BUG, mask=range(7, 12))
    _, outcome = acted.run("c0", "c16")
    assert outcome.kind in (OutcomeKind.CULPRIT, OutcomeKind.NARROWED)
    assert "c9" in acted.named(outcome)


def test_other_crashes_are_never_bad(act: Act) -> None:
    acted = act(17, World(rate=0.5, other=0.2), bug=BUG)
    _, outcome = acted.run("c0", "c16")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c9"}


def test_a_background_found_by_the_proof_has_every_verdict_taken_anew(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frontier and verdicts begin anew; rate, background and what was spent of the budget go on."""
    acted = act(9, World(rate=0.95, background=0.3, late=True), bug=range(5, 9))
    beliefs: list[Belief] = []
    real = proof.draw_proof
    monkeypatch.setattr(proof, "draw_proof", lambda *given: beliefs.append(given[2].belief) or real(*given))
    _, outcome = acted.run("c0", "c8")
    assert any("good commits reproduce too" in line for line in acted.messages)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c5"}
    first, second = beliefs[:2]
    assert (first.background.reproduced, second.background.reproduced > 0) == (0, True)
    assert second.background.trials > first.background.trials
    assert second.called_good_index > first.called_good_index
    judged = [judgement.candidate.revision for judgement in outcome.judgements]
    assert len(judged) > len(set(judged))


def test_a_good_end_that_reproduces_in_the_proof_sends_the_campaign_back_to_its_ends(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The culprit's parent is the good end itself; in the first proof it reproduces."""
    acted = act(6, World(rate=0.7), bug=range(1, 6))
    seen: list[tuple[Evidence, Evidence]] = []
    real, first = proof.draw_proof, [True]

    def contradicted_once(bad, good, rule, *rest):  # type: ignore[no-untyped-def]
        step = real(bad, good, rule, *rest)
        if first.pop() if first else False:
            return Contradiction(0, "reproduced in 3/9 fresh trials")
        seen.append((rule.belief.background, rule.belief.rate))
        return step

    monkeypatch.setattr(proof, "draw_proof", contradicted_once)
    _, outcome = acted.run("c0", "c5")
    assert any("The proof contradicts the search: the end" in line for line in acted.messages)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c1"}
    assert len(seen) == 1


def test_a_resumed_campaign_decides_as_an_unbroken_one(act: Act, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Broken off after any number of trials: the same trials, the same outcome."""
    acted = act(9, World(rate=0.4, other=0.1), bug=range(5, 9))

    def drawn(folder: Folders, *breaks: int) -> tuple[str, list[tuple[str, str, int, Signal]]]:
        broken = replace(acted, folders=folder, world=replace(acted.world, plans=[], built=[]))
        for count in breaks:
            broken.world.fails_after = count
            with pytest.raises(InfraError):
                broken.run("c0", "c8", resume=count != breaks[0])
        broken.world.fails_after = 10**9
        row, outcome = broken.run("c0", "c8", resume=bool(breaks))
        from bisector.store import Store

        store = Store(folder.state)
        trials = [t for t in store.trials(row.id) if t.reading.signal is not Signal.INFRA]
        store.close()
        return outcome.summary, sorted((t.stage, t.image, t.seed, t.reading.signal) for t in trials)

    whole = drawn(acted.folders)
    for breaks in ((3,), (17, 40), (25, 60, 75)):
        place = tmp_path_factory.mktemp("broken")
        assert drawn(Folders(place / "cache", place / "state"), *breaks) == whole


# ---- how long the workload lasts


def test_a_bug_that_shows_after_40_s_is_not_searched_for_with_20(act: Act) -> None:
    acted = act(17, World(shows=40.0), bug=BUG)
    _, outcome = acted.run("c0", "c16", lasting=20)
    assert acted.named(outcome) == {"c9"}
    lengths = {plan.steps[0].seconds for plan in acted.world.plans}
    assert len(lengths) == 2
    assert max(lengths) > 60.0
    good = [judgement for judgement in outcome.judgements if judgement.verdict.value == "good"]
    assert all("instead of 20 s" in judgement.reason for judgement in good)
    assert any("the workload was stretched" in line for line in outcome.assumptions)
    assert len({trial.plan for judgement in outcome.judgements for trial in judgement.trials}) == 1


def test_what_is_tried_after_a_stretched_campaign_lasts_as_long(act: Act) -> None:
    """The newest mainline was tried with the recipe's own time, in which the bug hardly shows, and called good."""
    acted = act(19, World(shows=40.0), bug=BUG)
    row, outcome = acted.run("c0", "c16", lasting=20)
    recipe = acted.request("c0", "c16", lasting=20).recipe
    with ActedSession(Setting(acted.folders, {}, ignore, 1), acted.world) as session:
        recheck(session.store.campaign(row.id), recipe, session)
        tried = session.store.trials(row.id, stage=Stage.FIXED)
    assert outcome.bad
    assert {trial.plan for trial in tried} == {outcome.bad.plan}


@pytest.mark.parametrize(("world", "lasting"), [(World(rate=0.5), 0), (World(shows=1.0), 20), (World(rate=1.0), 20)])
def test_a_recipe_with_nothing_to_stretch_is_unchanged(act: Act, world: World, lasting: int) -> None:
    acted = act(9, world, bug=range(5, 9))
    _, outcome = acted.run("c0", "c8", lasting=lasting)
    assert acted.named(outcome) == {"c5"}
    assert {plan.steps[0].seconds for plan in acted.world.plans} == {float(lasting)}
    assert not any("stretched" in line for line in outcome.assumptions)


# ---- merges, and the search for a fix


def branched(act: Act, *, broken_fork: bool) -> Acted:
    """c0 … c3, where two branches part: g1 … g6 stays good, s1 brings the bug; m merges them, m1 stands on it."""
    lost = (("broken", None),) if broken_fork else ()
    plan = [*chain("c0", "c1", "c2")]
    plan.append(Planned("c3", ("c2",), (("broken", "1"),) if broken_fork else ()))
    plan.append(Planned("g1", ("c3",), lost))
    plan += chain("g2", "g3", "g4", "g5", "g6", start="g1")
    plan.append(Planned("s1", ("c3",), (*lost, ("bug", "1"))))
    plan += chain("s2", start="s1")
    plan += [Planned("m", ("g6", "s2"), lost), Planned("m1", ("m",))]
    acted = act(1, World(rate=0.6))
    planted = Planted(acted.planted.folder.with_name("branched"), plan)
    return replace(acted, planted=planted)


def test_a_parent_never_tested_that_does_not_build_is_vouched_for(act: Act) -> None:
    acted = branched(act, broken_fork=True)
    _, outcome = acted.run("c0", "m1")
    assert acted.planted.oid["c3"] not in [judgement.candidate.revision for judgement in outcome.judgements]
    assert outcome.kind is OutcomeKind.NARROWED
    assert acted.named(outcome) == {"c3", "s1"}
    (vouching,) = [each for each in outcome.proof if each.candidate.label.startswith("vouches for")]
    assert acted.planted.name[vouching.candidate.revision].startswith("g")
    assert vouching.counts[0] == 0
    assert any("x undeclared" in line and "vouches for it" in line for line in outcome.unchecked)
    assert "chance of error below" in outcome.summary


def test_a_culprit_on_a_branch_is_proven_against_the_fork(act: Act) -> None:
    acted = branched(act, broken_fork=False)
    _, outcome = acted.run("c0", "m1")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"s1"}


def test_a_flaky_fix_is_proven_both_ways(act: Act) -> None:
    """Reverted on the good end the bug is back, applied on the bad end it is gone."""
    acted = act(12, World(rate=0.5, other=0.05), bug=range(7))
    _, outcome = acted.run("c11", "c0", direction=FIX)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c7"}
    judged = {(tuple(edit.kind for edit in each.candidate.edits), each.verdict.value) for each in outcome.proof}
    assert judged == {((), "good"), ((), "bad"), (("revert",), "bad"), (("apply",), "good")}
    assert "chance of error below" in outcome.summary


def test_a_merge_that_brought_the_bug_is_not_reverted_and_that_is_said(act: Act) -> None:
    plan = [*chain("c0", "c1", "c2", "c3"), *chain("s1", "s2", start="c1")]
    plan += [Planned("m", ("c3", "s2"), (("bug", "1"),)), *chain("m1", "m2", start="m")]
    acted = act(1, World(rate=0.6))
    acted = replace(acted, planted=Planted(acted.planted.folder.with_name("merged"), plan))
    _, outcome = acted.run("c0", "m2")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"m"}
    assert sum(each.verdict.value == "good" for each in outcome.proof) == 2
    assert sum("it is a merge" in line for line in outcome.unchecked) == 2


def test_when_no_parent_can_be_judged_the_set_is_what_nothing_vouches_for(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every proof leaves its first good arm unjudged, as other failures that may hide the bug would."""
    acted = act(12, World(rate=0.6), bug=range(9, 12))
    beliefs: list[Belief] = []
    real = proof.draw_proof

    def never_sure(bad, good, rule, *rest):  # type: ignore[no-untyped-def]
        beliefs.append(rule.belief)
        step = real(bad, good, rule, *rest)
        return replace(step, unjudged=(0,)) if isinstance(step, Confirmation) else step

    monkeypatch.setattr(proof, "draw_proof", never_sure)
    _, outcome = acted.run("c0", "c11")
    assert len(beliefs) == 4  # three restarts
    assert [belief.wary for belief in beliefs] == [False, True, True, True]
    assert outcome.kind is OutcomeKind.NARROWED
    assert acted.named(outcome) == {f"c{number}" for number in range(1, 10)}
    assert "no verdict in fresh trials for" in outcome.summary
    assert outcome.proof[0].candidate.label == "newest suspect"


def test_trials_of_the_search_count_once_as_a_background(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same commit is named again, and its proof finds a background again: its trials were counted each time."""
    acted = act(9, World(rate=0.9), bug=range(5, 9))
    given: list[Evidence] = []
    real_ends, real_proof, left = commits.ends_anew, proof.draw_proof, [True, True]
    monkeypatch.setattr(commits, "ends_anew", lambda *args: given.append(args[2]) or real_ends(*args))
    monkeypatch.setattr(
        proof, "draw_proof", lambda *args: NewBackground(True, 0, "so") if left and left.pop() else real_proof(*args)
    )
    row, outcome = acted.run("c0", "c8")
    assert len(given) == 2
    store = Store(acted.folders.state)
    culprit = next(
        trial.image for trial in store.trials(row.id, stage="search") if trial.reading.signal == "reproduced"
    )
    drawn = [trial for trial in store.trials(row.id, stage="search") if trial.image == culprit]
    store.close()
    assert outcome.kind is OutcomeKind.CULPRIT
    assert sum(one.conclusive for one in given) <= len(drawn)
