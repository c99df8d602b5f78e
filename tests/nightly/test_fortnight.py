# SPDX-License-Identifier: GPL-2.0-only
"""Fourteen nights of a generated linux-next: each bug is opened, followed and closed once, and reported once."""

import pytest
from nextgen import LinuxNext
from night_session import Nights, kinds

from bisector.exitcodes import ExitCode
from bisector.nightly.night import Report
from bisector.nightly.records import State, Where

CHANGE = {"flags/leg": "check less\n"}
LEG, PROGRAM = "legs-leg-failed", "program-failed"


@pytest.fixture(scope="module")
def fortnight(tmp_path_factory: pytest.TempPathFactory) -> tuple[LinuxNext, Nights, list[Report], dict[str, str]]:
    """The whole story. ``ids``: commits by what they are."""
    folder = tmp_path_factory.mktemp("fortnight")
    tree = LinuxNext.make(folder / "linux-next.git")
    nights = Nights(folder, tree.folder)
    ids: dict[str, str] = {}
    reports = []
    for number in range(1, 15):
        tree.day(number)
        if number == 3:
            ids["program"] = tree.mainline_commit("init: exit oddly", {"flags/program": "odd\n"})
            tree.mainline_commit("mainline: after it")
        if number == 4:
            ids["leg"] = tree.branch_commit("md", "check less", CHANGE)
            tree.branch_commit("md", "rest upon it")
        if number in (5, 6):
            tree.rebase("md")
        if number == 9:
            tree.pull("md")
        if number == 10:
            ids["program fix"] = tree.mainline_commit("init: exit well", {"flags/program": None})
        if number == 12:
            ids["leg fix"] = tree.mainline_commit("md: check again", {"flags/leg": None})
        tree.release(number)
        reports.append(nights.night())
    return tree, nights, reports, ids


Fortnight = tuple[LinuxNext, Nights, list[Report], dict[str, str]]


def test_each_night_tells_what_happened(fortnight: Fortnight) -> None:
    reports = fortnight[2]
    by_night = {number: kinds(report) for number, report in enumerate(reports, 1)}
    still = ["still"]
    assert by_night[1] == by_night[2] == {}
    assert by_night[3] == {PROGRAM: ["opened", "named"]}
    assert by_night[4] == {LEG: ["opened", "named"], PROGRAM: still}
    assert by_night[5] == by_night[6] == {LEG: ["still", "rebased"], PROGRAM: still}
    assert by_night[7] == by_night[8] == {LEG: still, PROGRAM: still}
    assert by_night[9] == {LEG: ["still", "moved"], PROGRAM: still}
    assert by_night[10] == {LEG: still, PROGRAM: ["fixed"]}
    assert by_night[11] == {LEG: still}
    assert by_night[12] == {LEG: ["fixed"]}
    assert by_night[13] == by_night[14] == {}


def test_only_nights_with_something_new_exit_with_1(fortnight: Fortnight) -> None:
    codes = [report.exit_code for report in fortnight[2]]
    assert [number for number, code in enumerate(codes, 1) if code is ExitCode.BAD] == [3, 4]
    assert set(codes) == {ExitCode.OK, ExitCode.BAD}


def test_the_two_bugs_are_two_regressions_and_both_are_closed(fortnight: Fortnight) -> None:
    tree, nights, _, ids = fortnight
    found = nights.regressions()
    assert set(found) == {LEG, PROGRAM}
    leg, program = found[LEG], found[PROGRAM]
    assert (leg.state, program.state) == (State.FIXED, State.FIXED)
    assert (leg.opened, leg.closed) == ("next-20261104", "next-20261112")
    assert (program.opened, program.closed) == ("next-20261103", "next-20261110")
    assert (leg.where, program.where) == (Where.MAINLINE, Where.MAINLINE)
    assert program.culprit is not None
    assert program.culprit.oid == ids["program"]
    assert leg.culprit is not None
    assert leg.culprit.oid != ids["leg"]
    assert leg.culprit.subject == "md: check less"
    assert leg.culprit.oid in tree.ancestors(tree.mainline)


def test_one_full_search_for_each_bug_and_a_proof_alone_for_each_rebase(fortnight: Fortnight) -> None:
    tree, nights, _, ids = fortnight
    assert len(nights.searches()) == 4
    assert len(nights.searched()) == 2
    named = nights.culprits()
    assert named[:2] == [ids["program"], ids["leg"]]
    assert [tree.nodes[oid].subject for oid in named[2:]] == ["md: check less"] * 2
    assert len(set(named)) == 4


def test_a_search_runs_inside_the_day_or_on_mainline_as_its_base_says(fortnight: Fortnight) -> None:
    _, nights, reports, _ = fortnight
    program, leg, *_ = nights.searches()
    third, fourth = reports[2].night, reports[3].night
    assert (leg.good, leg.bad) == (fourth.base, fourth.next)
    assert program.bad == third.base
    assert program.good == reports[1].night.base  # the newest earlier base that is known to be good


def test_never_two_drafts_for_one_bug(fortnight: Fortnight) -> None:
    nights = fortnight[1]
    assert nights.drafts() == [LEG, PROGRAM]
    assert len(list(nights.out.rglob("0-report.eml"))) == 2
    mail = (nights.out / "drafts" / LEG / "0-report.eml").read_text()
    assert "md: check less" in mail
    culprit = nights.regressions()[LEG].culprit  # rebased twice since the draft was first written
    assert culprit is not None
    assert f"#regzbot introduced: {culprit.oid[:12]} " in mail


def test_summaries_and_the_page_are_there_for_each_night(fortnight: Fortnight) -> None:
    nights = fortnight[1]
    folders = sorted(path.name for path in nights.out.glob("next-*"))
    assert folders == [f"next-202611{number:02}" for number in range(1, 15)]
    assert "culprit: legs-leg-failed" in (nights.out / "next-20261104/summary.txt").read_text()
    page = (nights.out / "index.html").read_text()
    assert f"drafts/{LEG}/0-report.eml" in page
    assert page.count("<article") == 14 + 2


def test_the_pinned_days_outlive_the_source(fortnight: Fortnight) -> None:
    """Once the source has forgotten a day, its commits are still in the clone of the watch."""
    _, nights, reports, _ = fortnight
    clone = next((nights.folder / "state").glob("nightly/watched/linux-next.git"))
    own = LinuxNext(clone)
    for name in own.git("tag", "-l", "next-*").split():
        own.git("tag", "-d", name)
    own.git("-c", "gc.pruneExpire=now", "gc", "--prune=now", "--quiet")
    for report in reports:
        assert own.git("cat-file", "-t", report.night.next) == "commit"
        assert own.git("cat-file", "-t", report.night.base) == "commit"
