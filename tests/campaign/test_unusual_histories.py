# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns over histories in which the usual does not hold: the bug came and went, a merge hides a branch, an edit
changes nothing, names were moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import acting
import pytest
from acting import RECIPE, Act, Acted, World

from bisector import direction
from bisector.codec import digest
from bisector.errors import UsageError
from bisector.model import BuildFailure, Image, Outcome, OutcomeKind
from bisector.search.commits import SearchResult
from bisector.search.knowledge import UntestableParents
from bisector.search.proof import Proof, Retry
from bisector.store import Store
from tests.search.planted import Planned, Planted, chain, git

FIRST_PARENT = RECIPE.replace("search: {good: a, bad: b}", "search: {good: a, bad: b, first_parent: true}")
BUG, BROKEN = ("bug", "1"), ("broken", "1")


def planted(act: Act, plan: list[Planned], world: World | None = None) -> Acted:
    """What runs campaigns on that history."""
    acted = act(1, world or World())
    return replace(acted, planted=Planted(acted.planted.folder.with_name("planned"), plan))


# ---- what a merge brought in


def branch_that_does_not_build() -> list[Planned]:
    """t1 … t3 are merged by m and do not build; t2 brings the bug."""
    plan = chain("c0", "c1", "c2", "c3", "c4")
    plan += [Planned("t1", ("c2",), (BROKEN,)), Planned("t2", ("t1",), (BUG,)), Planned("t3", ("t2",))]
    return [*plan, Planned("m", ("c4", "t3"), (("broken", None),)), *chain("d1", "d2", "d3", start="m")]


@pytest.mark.parametrize("text", [FIRST_PARENT, FIRST_PARENT.replace("confidence: {max_error: 0.01}", "trials: 2")])
def test_a_merge_whose_branch_does_not_build_leaves_the_whole_branch_suspect(act: Act, text: str) -> None:
    acted = planted(act, branch_that_does_not_build())
    _, outcome = acted.run("c0", "d3", text=text)
    assert outcome.kind is OutcomeKind.NARROWED
    assert acted.named(outcome) == {"m", "t3", "t2", "t1"}


def test_of_a_branch_only_what_touches_the_paths_is_suspect(act: Act) -> None:
    acted = planted(act, branch_that_does_not_build())
    text = FIRST_PARENT.replace("first_parent: true", "first_parent: true, paths: [bug, own/m]")
    _, outcome = acted.run("c0", "d3", text=text)
    assert acted.named(outcome) == {"m", "t3", "t2"}  # t3: a parent that cannot be tried, whatever it touches


# ---- edits that change nothing


def test_a_culprit_that_the_good_end_holds_is_not_applied_on_it(act: Act) -> None:
    """The bug came with ``old`` and was fixed on the way to the good end; another branch carries it still."""
    plan = [Planned("root"), Planned("side1", ("root",)), Planned("old", ("root",), (BUG,))]
    plan += [Planned("fix", ("old",), (("bug", None),)), Planned("good", ("fix",)), Planned("side2", ("side1",))]
    plan += [Planned("m", ("side2", "old")), Planned("s3", ("m",)), Planned("bad", ("good", "s3"), (BUG,))]
    acted = planted(act, [*plan, Planned("end", ("bad",))])
    _, outcome = acted.run("good", "end")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"old"}
    assert "the commit applied on the good end: the good end holds it already" in outcome.unchecked


def backported(act: Act, *files: tuple[str, str]) -> Acted:
    """The good end has the same change from a backport, without what makes a bug of it."""
    bug = ("bug.if.helper", "1")
    plan = [*chain("c0", "c1"), Planned("backport", ("c1",), (bug, *files))]
    plan += [Planned("c2", ("c1",), (("helper", "1"),)), Planned("c3", ("c2",), (bug,)), *chain("c4", "c5", start="c3")]
    return planted(act, plan)


@pytest.mark.parametrize("trials", ["confidence: {max_error: 0.01}", "trials: 2"])
def test_an_edit_whose_change_is_there_already_is_no_arm(act: Act, trials: str) -> None:
    acted = backported(act, ("own/c3", "c3"))
    _, outcome = acted.run("backport", "c5", text=RECIPE.replace("confidence: {max_error: 0.01}", trials))
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c3"}
    assert any("applied on the good end" in line and "has its change already" in line for line in outcome.unchecked)


@pytest.mark.parametrize("trials", ["confidence: {max_error: 0.01}", "trials: 2"])
def test_an_edit_that_leaves_the_image_as_it_is_is_no_arm(
    act: Act, monkeypatch: pytest.MonkeyPatch, trials: str
) -> None:
    """The trees differ in a file that no build reads."""
    real = acting.ActedTarget.image

    def by_traits(*given: object, **how: object) -> Image | BuildFailure:
        made = real(*given, **how)  # type: ignore[arg-type]
        read = Path(made.kernel).read_text().replace("own", "") if isinstance(made, Image) else ""
        return replace(made, identity=digest(read)) if isinstance(made, Image) else made

    monkeypatch.setattr(acting.ActedTarget, "image", by_traits)
    acted = backported(act)
    _, outcome = acted.run("backport", "c5", text=RECIPE.replace("confidence: {max_error: 0.01}", trials))
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c3"}
    assert any("applied on the good end: it changes nothing" in line for line in outcome.unchecked)


@pytest.mark.parametrize("file", ["panics.unless.helper", "broken.unless.helper"])
def test_a_culprit_that_does_not_boot_or_build_on_the_good_end_blocks_nothing(act: Act, file: str) -> None:
    """It needs a helper that came after the good end. B1: the control was not booted, so the harness was blamed."""
    plan = [*chain("c0", "c1"), Planned("c2", ("c1",), (("helper", "1"),)), *chain("c3", "c4", start="c2")]
    plan += [Planned("c5", ("c4",), (BUG, (file, "1"))), *chain("c6", "c7", start="c5")]
    acted = planted(act, plan)
    _, outcome = acted.run("c0", "c7")
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c5"}
    wanted = "does not boot" if file.startswith("panics") else "x undeclared"
    assert any("good end" in line and wanted in line for line in outcome.unchecked)


# ---- the bug is older than the good end


def test_a_parent_that_the_good_end_holds_and_that_is_bad_is_said(act: Act) -> None:
    """Both parents of the merge that git names are held by the good end; one is older than the fix. B2: a traceback."""
    plan = [Planned("root"), Planned("side", ("root",)), Planned("old", ("root",), (BUG,))]
    plan += [Planned("fix", ("old",), (("bug", None),)), Planned("good", ("fix", "side"), (("bug", None),))]
    plan += [Planned("m", ("side", "old"), (BUG,)), Planned("s3", ("m",)), Planned("bad", ("good", "s3"), (BUG,))]
    acted = planted(act, [*plan, Planned("end", ("bad",))])
    _, outcome = acted.run("good", "end")
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert acted.planted.oid["old"][:12] in outcome.summary
    assert "every commit known to be good holds it" in outcome.summary
    assert not outcome.suspects


# ---- names are the user's, as they are now


def with_fixup(breaks: str, repairs: str) -> str:
    fixup = f"fixups: [{{broken_by: {breaks}, fixed_by: {repairs}}}]"
    return RECIPE.replace("search: {good: a, bad: b}", f"search: {{good: a, bad: b, {fixup}}}")


def test_a_fixup_is_what_its_name_is_in_the_users_repository_now(act: Act) -> None:
    acted = act(12, bug=range(7, 12), broken=range(3, 6))
    folder, oid = acted.planted.folder, acted.planted.oid
    git(folder, "branch", "mend", oid["c5"])
    first, _ = acted.run("c0", "c11", text=with_fixup(oid["c3"], "mend"))
    git(folder, "branch", "-f", "mend", oid["c6"])
    git(folder, "tag", "new-fix", oid["c6"])
    for name in ("mend", "new-fix"):
        acted.world.built.clear()
        row, outcome = acted.run("c0", "c11", text=with_fixup(oid["c3"], name))
        assert acted.named(outcome) == {"c7"}
        builds = Store(acted.folders.state).builds(row.id)
        fixups = {edit.commit for each, _, _ in builds for edit in each.edits if edit.kind == "fixup"}
        assert fixups == {oid["c6"]}
    assert first.id != row.id


def test_a_fixup_that_the_user_has_not_is_refused_before_anything_is_stored(act: Act) -> None:
    acted = act(12, bug=range(7, 12))
    with pytest.raises(UsageError, match="knows no commit 'nowhere'"):
        acted.run("c0", "c11", text=with_fixup(acted.planted.oid["c3"], "nowhere"))
    assert not Store(acted.folders.state).campaigns()


# ---- a parent that the search did not try is as the newer side


@pytest.mark.parametrize("trials", ["confidence: {max_error: 0.01}", "trials: 2"])
@pytest.mark.parametrize("way", [direction.BUG, direction.FIX])
def test_a_search_among_first_parents_goes_on_in_the_branch_that_a_merge_brought(
    act: Act, way: direction.Direction, trials: str
) -> None:
    """The merge is named, its second parent is as the merge; the change is in the branch."""
    first, second = ((("bug", "1"),), (("bug", None),)) if way is direction.FIX else ((), (BUG,))
    plan = [Planned("c0", (), first), *chain("c1", "c2", "c3", start="c0"), *chain("t1", start="c1")]
    plan += [Planned("t2", ("t1",), second), *chain("t3", start="t2"), Planned("m", ("c3", "t3"), second)]
    acted = planted(act, [*plan, *chain("d1", "d2", start="m")])
    text = FIRST_PARENT.replace("confidence: {max_error: 0.01}", trials)
    _, outcome = acted.run(*(("d2", "c0") if way is direction.FIX else ("c0", "d2")), text=text, direction=way)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"t2"}


def test_a_fix_whose_parent_never_had_the_bug_is_said_to_be_so(act: Act) -> None:
    """The bug came with the bad end itself; a branch that began before it never had it."""
    plan = [Planned("c0"), Planned("old", ("c0",), (BUG,)), *chain("s1", "s2", start="c0")]
    plan += [Planned("fix", ("old",), (("bug", None),)), Planned("m", ("fix", "s2"))]
    acted = planted(act, plan)
    _, outcome = acted.run("m", "old", direction=direction.FIX)
    assert outcome.kind in (OutcomeKind.UNRESOLVED, OutcomeKind.CULPRIT)
    assert acted.named(outcome) <= {"fix"}


@pytest.mark.parametrize("way", [direction.BUG, direction.FIX])
def test_a_parent_that_was_no_candidate_and_does_not_boot_narrows(act: Act, way: direction.Direction) -> None:
    """Not a background, no end of the proof, no search anew: as one that does not build."""
    first, second = ((("bug", "1"),), (("bug", None),)) if way is direction.FIX else ((), (BUG,))
    plan = [Planned("c0", (), first), *chain("c1", "c2", "c3", start="c0"), *chain("t1", start="c1")]
    plan += [Planned("t2", ("t1",), second), Planned("t3", ("t2",), (("panics", "1"),))]
    plan += [Planned("m", ("c3", "t3"), (*second, ("panics", None)))]
    acted = planted(act, [*plan, *chain("d1", "d2", start="m")])
    ends = ("d2", "c0") if way is direction.FIX else ("c0", "d2")
    _, outcome = acted.run(*ends, text=FIRST_PARENT, direction=way)
    assert outcome.kind is OutcomeKind.NARROWED
    assert acted.named(outcome) == {"m", "t3", "t2", "t1"}
    assert sum("Search between" in line for line in acted.messages) == 1


def test_a_proof_returns_what_it_learns_and_changes_nothing(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the search knows is changed by the campaign alone, between two proofs."""
    answers: list[tuple[type, bool]] = []
    run = Proof.run

    def observed(proof: Proof, found: SearchResult) -> Outcome | Retry | UntestableParents:
        before = proof.known.frontier
        answer = run(proof, found)
        answers.append((type(answer), proof.known.frontier == before))
        return answer

    monkeypatch.setattr(Proof, "run", observed)
    plan = [*chain("c0", "c1"), *chain("t1", start="c1"), Planned("t2", ("t1",), (("panics", "1"),))]
    plan += [Planned("m", ("c1", "t2"), (BUG, ("panics", None))), *chain("d1", start="m")]
    planted(act, plan).run("c0", "d1", text=FIRST_PARENT)
    assert answers == [(UntestableParents, True), (Outcome, True)]


# ---- an end that cannot be tried


@pytest.mark.parametrize(("file", "why"), [("panics", "does not boot in 2 of 2"), ("broken", "x undeclared")])
@pytest.mark.parametrize("bad", [False, True])
def test_an_end_that_cannot_be_tried_is_named_with_its_reason(act: Act, file: str, why: str, bad: bool) -> None:
    """Whichever it is: the harness is not blamed for the good one, nor the good one for the bad one."""
    plan = [Planned("c0", (), () if bad else ((file, "1"),)), Planned("c1", ("c0",), ((file, None),))]
    plan += [Planned("c2", ("c1",), (BUG, (file, "1")) if bad else (BUG,))]
    acted = planted(act, plan)
    _, outcome = acted.run("c0", "c2")
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert f"the end {acted.planted.oid['c2' if bad else 'c0'][:12]} cannot be judged" in outcome.summary
    assert why in outcome.summary


# ---- the older end is no ancestor of the newer one


def parted(fork: tuple[tuple[str, str], ...] = ()) -> list[Planned]:
    """g1 and s1 … s3 part at c2; s2 brings the bug. ``fork``: files of c2 alone."""
    gone = tuple((name, None) for name, _ in fork)
    plan = [
        *chain("c0", "c1"),
        Planned("c2", ("c1",), fork),
        Planned("g1", ("c2",), gone),
        Planned("s1", ("c2",), gone),
    ]
    return [*plan, Planned("s2", ("s1",), (BUG,)), Planned("s3", ("s2",))]


@pytest.mark.parametrize(("fork", "said"), [((), 1), ((BROKEN,), 2)])
def test_what_stood_in_for_the_older_end_is_said_in_words(
    act: Act, fork: tuple[tuple[str, str], ...], said: int
) -> None:
    """It was said as bare ids of commits, and not at all where the campaign named no culprit."""
    acted = planted(act, parted(fork))
    _, outcome = acted.run("g1", "s3")
    assert acted.named(outcome) == {"s2"}
    lines = [line for line in outcome.assumptions if "merge base" in line]
    assert lines[0] == "the older end is no ancestor of the newer one: their merge base stood in for it"
    assert len(lines) == said
    assert not [line for line in outcome.assumptions if " " not in line]


def test_what_stood_in_is_said_of_a_search_that_names_nobody(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proof, "run", lambda proof, found: Retry("it is not so", final=True))
    acted = planted(act, parted())
    _, outcome = acted.run("g1", "s3")
    assert outcome.kind is OutcomeKind.NOT_CONFIRMED
    assert any("their merge base stood in" in line for line in outcome.assumptions)


def test_ends_that_do_not_differ_say_nothing_of_a_merge_base(act: Act) -> None:
    acted = planted(act, parted())
    _, outcome = acted.run("g1", "s1")
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert not [line for line in outcome.assumptions if "merge base" in line or " " not in line]
