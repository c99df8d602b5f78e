# SPDX-License-Identifier: GPL-2.0-only
"""Whose a regression is, whether it is another one, and when it is over."""

import re
from dataclasses import replace

from nextgen import LinuxNext
from night_session import FLAG, Nights, day, kinds, with_bug

from bisector.campaign.commits import NOT_SEARCHED
from bisector.codec import dump
from bisector.exitcodes import ExitCode
from bisector.interfaces import Phase, Progress
from bisector.model import Verdict
from bisector.nightly import night
from bisector.nightly.records import Role, State, Where

LEG, ESCAPED, PROGRAM = "legs-leg-failed", "legs-escaped", "program-failed"
UNSURE = "confidence: {max_error: 0.01}"


# ---- whose it is


def test_mainlines_bug_on_the_first_night_is_searched_from_the_last_release(tree: LinuxNext, nights: Nights) -> None:
    culprit = tree.mainline_commit("md: check less", FLAG)
    tree.mainline_commit("mainline: later")
    day(tree, 1)
    report = nights.night()
    assert kinds(report) == {LEG: ["opened", "named"]}
    assert nights.culprits() == [culprit]
    assert nights.searches()[0].good == tree.git("rev-parse", "v6.18^{commit}")
    assert nights.regressions()[LEG].where is Where.MAINLINE


def test_a_base_that_looked_good_by_luck_is_found_out_by_the_ends(tree: LinuxNext, nights: Nights) -> None:
    """Two trials of the base are clean by chance. The campaign tries its ends for sure, and begins further back."""
    nights.how_sure = UNSURE
    culprit = tree.mainline_commit("md: check less", FLAG)
    tree.mainline_commit("mainline: later")
    day(tree, 1)

    def lucky(number: int) -> None:
        if number == 2:
            nights.world.silent = 2

    nights.world.on_trial = lucky
    report = nights.night()
    assert [each.verdict for each in report.night.answers] == [Verdict.BAD, Verdict.GOOD]
    assert kinds(report) == {LEG: ["opened", "named"]}
    assert nights.culprits() == ["ends_alike", culprit]
    assert nights.regressions()[LEG].where is Where.MAINLINE
    assert nights.drafts() == [LEG]


def test_a_verdict_is_carried_over_by_the_identical_candidate_alone(tree: LinuxNext, nights: Nights) -> None:
    """Mainline stands still over a weekend; when the bug is there again, its base has answered already."""
    with_bug(tree, 1)
    nights.night()
    tree.branch_commit("md", "check again", {"flags/leg": None})
    tree.release(2)
    assert kinds(nights.night()) == {LEG: ["fixed"]}
    tree.branch_commit("md", "check less once more", FLAG)
    tree.release(3)
    report = nights.night()
    assert report.night.next != report.night.base
    of_base = [each for each in report.night.answers if each.role is Role.BASE]
    assert [(each.condition, each.carried) for each in of_base] == [("leg-failed", "next-20261101")]


# ---- one bug, two bugs


def test_another_condition_on_a_later_day_is_a_second_campaign(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.night()
    tree.branch_commit("md", "check again", {"flags/leg": None})
    day(tree, 2, lambda: tree.branch_commit("fs", "return it", {"flags/escaped": "x\n"}))
    report = nights.night()
    assert report.exit_code is ExitCode.BAD
    events = kinds(report)
    assert events == {ESCAPED: ["opened", "named"], LEG: ["unknown"]}  # what escapes is neither healthy nor this bug
    assert set(nights.regressions()) == {LEG, ESCAPED}
    assert nights.drafts() == [ESCAPED, LEG]


def test_two_recipes_that_find_one_commit_are_one_bug(tree: LinuxNext, nights: Nights) -> None:
    nights.recipes = "[./legs.yaml, ./program.yaml]"
    day(tree, 1, lambda: tree.branch_commit("md", "check less", FLAG | {"flags/program": "x\n"}))
    report = nights.night()
    assert kinds(report)[PROGRAM] == ["opened", "same"]
    assert nights.regressions()[PROGRAM].same_as == LEG
    assert nights.drafts() == [LEG]


def test_a_regression_that_comes_back_is_the_old_one(tree: LinuxNext, nights: Nights) -> None:
    """The branch was dropped for a day: the suspect is proven at once, and nobody is written to again."""
    with_bug(tree, 1)
    nights.night()
    kept, tree.branches["md"] = tree.branches["md"], []
    tree.forks["md"] = tree.mainline
    tree.day(2)
    tree.release(2)
    assert kinds(nights.night()) == {LEG: ["fixed"]}
    tree.branches["md"] = kept
    tree.rebase("md")
    day(tree, 3)
    report = nights.night()
    assert report.exit_code is ExitCode.BAD
    assert kinds(report)[LEG] == ["back"]
    assert nights.regressions()[LEG].state is State.OPEN
    assert len(nights.searched()) == 1
    assert nights.drafts() == [LEG]


def test_a_reworked_commit_is_recognised_by_its_subject(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.night()
    tree.rebase("md", {"md: check less": "and something else\n"})
    day(tree, 2)
    assert kinds(nights.night()) == {LEG: ["still", "rebased"]}
    assert len(nights.searched()) == 1


def test_a_suspect_that_is_innocent_leads_to_a_search(tree: LinuxNext, nights: Nights) -> None:
    """The commit lost its fault when it was reworked, and another commit does the same harm now."""
    with_bug(tree, 1)
    nights.night()
    innocent = [oid for oid in tree.branches["md"] if tree.nodes[oid].subject != "md: check less"]
    tree.branches["md"] = []
    tree.forks["md"] = tree.mainline
    tree.branch_commit("md", "check less")
    culprit = tree.branch_commit("fs", "check nothing", FLAG)
    assert innocent
    day(tree, 2)
    report = nights.night()
    assert kinds(report) == {LEG: ["still", "changed"]}
    assert report.exit_code is ExitCode.BAD
    assert nights.culprits()[-1] == culprit
    assert len(nights.searched()) == 2
    assert nights.drafts() == [LEG]
    assert "check nothing" in (nights.out / "drafts" / LEG / "0-report.eml").read_text()


# ---- flaky bugs


def test_a_flaky_bug_is_not_called_fixed_after_one_clean_night(
    tree: LinuxNext, nights: Nights, fixed_ids: None
) -> None:
    nights.how_sure, nights.world.rate = UNSURE, 0.5
    with_bug(tree, 1)
    while LEG not in nights.regressions():  # two clean trials at rate 1/2: one night in four does not see it
        nights.night()
        day(tree, 1 + len(nights.store().nights("watched")))
    nights.night()
    assert nights.regressions()[LEG].culprit is not None
    number = 1 + len(nights.store().nights("watched"))
    nights.world.silent = 2  # a night of two trials would see nothing
    day(tree, number)
    assert kinds(nights.night()) == {LEG: ["still"]}
    day(tree, number + 1, lambda: tree.branch_commit("md", "check again", {"flags/leg": None}))
    report = nights.night()
    assert kinds(report) == {LEG: ["fixed"]}
    clean = next(each for each in report.night.answers if each.role is Role.NEXT)
    assert clean.conclusive >= 8  # 0.5 ** 8 is 0.4 %


def test_a_rebased_suspect_is_proven_to_the_error_that_the_recipe_allows(tree: LinuxNext, nights: Nights) -> None:
    nights.how_sure = UNSURE
    with_bug(tree, 1)
    nights.night()
    tree.rebase("md")
    day(tree, 2)
    assert kinds(nights.night()) == {LEG: ["still", "rebased"]}
    outcome = nights.searches()[-1].outcome
    assert outcome is not None
    assert NOT_SEARCHED in outcome.assumptions
    error = re.search(r"chance of error below ([0-9.]+) %", outcome.summary)
    assert error
    assert float(error[1]) <= 1.0
    fresh = sum(judged.counts[1] for judged in outcome.proof if not judged.candidate.edits)
    searched = nights.searches()[0].outcome
    assert searched is not None
    assert fresh > sum(judged.counts[1] for judged in searched.proof if not judged.candidate.edits)


def test_a_clean_row_that_is_too_short_closes_nothing(tree: LinuxNext, nights: Nights) -> None:
    """One reproduction is all that is known of the rate: clean nights add up until they say enough."""
    nights.how_sure = UNSURE
    with_bug(tree, 1)
    nights.clock, nights.budget = lambda: 60.0 * nights.world.trials, "2m"
    nights.night()  # seen, and out of time before anything was searched
    assert nights.regressions()[LEG].culprit is None
    nights.clock, nights.budget = None, "8h"
    tree.branches["md"] = []
    tree.forks["md"] = tree.mainline
    tree.day(2)
    tree.release(2)
    with nights.session() as session:
        session.store.save_regression("watched", LEG, _without_search(nights))
    report = nights.night()
    assert kinds(report) == {LEG: ["unknown"]}
    assert nights.regressions()[LEG].state is State.OPEN


def _without_search(nights: Nights) -> str:
    return dump(replace(nights.regressions()[LEG], search=None))


def test_messages_meanwhile_are_reported(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    messages: list[Progress] = []
    with nights.session() as session:
        session.setting = replace(session.setting, listener=messages.append)
        night.run(nights.watch(), session)
    stages = [each.detail for each in messages if each.phase is Phase.STAGE]
    assert stages[1] == "Fetching next-20261101"
    assert "next-20261101: legs" in stages
    assert any(stage.startswith("base of next-20261101: legs, leg-failed") for stage in stages)
