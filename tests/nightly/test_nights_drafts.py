# SPDX-License-Identifier: GPL-2.0-only
"""What a watch leaves for people: a draft that tells whether it is fixed already, and drafts that were lost."""

import re
import shutil
from dataclasses import replace

import pytest
from nextgen import LinuxNext
from night_session import FLAG, Nights, day, kinds, with_bug

from bisector.errors import InfraError, Interrupted
from bisector.exitcodes import ExitCode
from bisector.interfaces import Progress
from bisector.nightly import night
from bisector.nightly.records import Kind
from bisector.report.stages import FIXED

LEG = "legs-leg-failed"


def draft(nights: Nights) -> str:
    """The mail, with each run of blanks and line ends as one blank."""
    return " ".join((nights.out / "drafts" / LEG / "0-report.eml").read_text().split())


def recheck_trials(nights: Nights) -> int:
    """Trials that show whether it is fixed already."""
    store = nights.store()
    return sum(len(store.trials(row.id, stage=FIXED)) for row in store.campaigns())


def mainline_bug_with_a_fix_that_repairs_nothing(tree: LinuxNext) -> tuple[str, str]:
    """In one night: the day holds what calls itself the fix and is bad all the same; mainline does not hold it."""
    culprit = tree.mainline_commit("md: check less", FLAG)
    tree.mainline_commit("mainline: later")
    tree.rebase("md")
    fix: list[str] = []
    subject = f'comment on it\n\nFixes: {culprit[:12]} ("md: check less")'
    day(tree, 1, lambda: fix.append(tree.branch_commit("md", subject)))
    return culprit, fix[0]


# ---- is it fixed already?


def test_a_fix_is_tried_before_the_draft_is_written(tree: LinuxNext, nights: Nights) -> None:
    """The search ends on the second night, whose day has the fix: on top of the bad end it repairs."""
    culprit = tree.mainline_commit("md: check less", FLAG)
    tree.mainline_commit("mainline: later")
    day(tree, 1)
    nights.clock = lambda: 60.0 * nights.world.trials
    nights.budget = "5m"
    nights.night()
    assert nights.regressions()[LEG].search
    tree.branches["md"] = []
    tree.rebase("md")
    subject = f'check again\n\nFixes: {culprit[:12]} ("md: check less")'
    fix: list[str] = []
    day(tree, 2, lambda: fix.append(tree.branch_commit("md", subject, {"flags/leg": None})))
    nights.clock, nights.budget = None, "8h"
    report = nights.night()
    assert nights.culprits() == [culprit]
    mail = draft(nights)
    assert f"{fix[0][:12]} " in mail
    assert re.search(r"On top of the bad end the kernel is good \(0 of [1-9]\d* trials reproduced\)", mail)
    notes = [each.text for each in report.night.news if each.kind is Kind.NOTE]
    assert len(notes) == 1
    assert notes[0].startswith(f"it may be fixed already: {fix[0][:12]}")
    page = (nights.out / "campaigns" / nights.searches()[0].id / "report.txt").read_text()
    assert re.search(r"^ *fixed +good ", page, re.MULTILINE)


def test_a_fix_that_repairs_nothing_is_reported_as_such(tree: LinuxNext, nights: Nights) -> None:
    _, fix = mainline_bug_with_a_fix_that_repairs_nothing(tree)
    report = nights.night()
    assert kinds(report) == {LEG: ["opened", "named"]}  # it is in the mail, and no news
    assert recheck_trials(nights) == 1  # one reproduction decides
    assert re.search(
        rf"{fix[:12]} .*On top of the bad end the kernel is bad \(1 of 1 trials reproduced\)", draft(nights)
    )


def test_nothing_more_is_tried_where_the_file_says_so(tree: LinuxNext, nights: Nights) -> None:
    _, fix = mainline_bug_with_a_fix_that_repairs_nothing(tree)
    nights.more = "check_fixed: false\n"
    assert kinds(nights.night()) == {LEG: ["opened", "named"]}
    assert recheck_trials(nights) == 0
    assert re.search(rf"{fix[:12]} .*It was not tested", draft(nights))


def test_with_no_time_left_the_draft_says_that_it_was_not_tried(tree: LinuxNext, nights: Nights) -> None:
    _, fix = mainline_bug_with_a_fix_that_repairs_nothing(tree)
    nights.clock = lambda: 1e9 if any(row.outcome for row in nights.store().campaigns()) else 0.0
    report = nights.night()
    assert kinds(report) == {LEG: ["opened", "named", "note"]}
    assert (
        "whether it is fixed already was not tried: the night's budget of time is spent" in report.night.news[-1].text
    )
    assert recheck_trials(nights) == 0
    assert re.search(rf"{fix[:12]} .*It was not tested", draft(nights))
    assert report.exit_code is ExitCode.BAD
    assert not report.night.stopped  # nothing else was left to do


def test_a_harness_that_fails_over_a_fix_does_not_keep_the_draft_back(tree: LinuxNext, nights: Nights) -> None:
    mainline_bug_with_a_fix_that_repairs_nothing(tree)
    nights.world.on_trial = lambda number: _fail(nights)
    report = nights.night()
    assert kinds(report) == {LEG: ["opened", "named", "note"]}
    assert "is left open" in report.night.news[-1].text
    assert nights.drafts() == [LEG]


def _fail(nights: Nights) -> None:
    if any(row.outcome for row in nights.store().campaigns()):
        raise InfraError("QEMU was killed by signal 9")


def test_a_night_that_is_stopped_over_a_fix_goes_on_there(tree: LinuxNext, nights: Nights) -> None:
    mainline_bug_with_a_fix_that_repairs_nothing(tree)
    with nights.session() as session:

        def stop(progress: Progress) -> None:
            if progress.stage == FIXED:
                session.cancel.cancel()

        session.setting = replace(session.setting, listener=stop)
        with pytest.raises(Interrupted):
            night.run(nights.watch(), session)
    assert nights.drafts() == []
    assert kinds(nights.night()) == {LEG: ["opened", "named"]}
    assert "On top of the bad end the kernel is bad" in draft(nights)
    assert len(nights.searches()) == 1


# ---- drafts that are out of date, or lost


def test_a_rebased_culprit_stands_in_the_one_draft(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.night()
    old = nights.regressions()[LEG].culprit
    tree.rebase("md")
    day(tree, 2)
    assert kinds(nights.night()) == {LEG: ["still", "rebased"]}
    new = nights.regressions()[LEG].culprit
    assert old is not None
    assert new is not None
    assert f"#regzbot introduced: {new.oid[:12]} " in draft(nights)
    assert old.oid[:12] not in draft(nights)
    assert nights.drafts() == [LEG]
    assert "draft of a report" in (nights.out / "next-20261102/summary.txt").read_text()


def dead_links(nights: Nights) -> list[str]:
    """What the page over all nights links to and is not there."""
    links = re.findall(r'href="([^"]+)"', (nights.out / "index.html").read_text())
    assert links
    return [link for link in links if not (nights.out / link).exists()]


def test_a_folder_that_was_emptied_is_made_good(tree: LinuxNext, nights: Nights) -> None:
    """As by a runner that cleans its checkout: the memory is elsewhere, and the draft is owed still."""
    day(tree, 1)
    nights.night()
    with_bug(tree, 2)
    nights.night()
    block = draft(nights).split("#regzbot")[1:]
    shutil.rmtree(nights.out)
    day(tree, 3)
    assert kinds(nights.night()) == {LEG: ["still"]}
    assert len(block) == 2
    assert draft(nights).split("#regzbot")[1:] == block
    assert dead_links(nights) == []
    page = (nights.out / "index.html").read_text()
    assert f"drafts/{LEG}/0-report.eml" in page
    assert f"campaigns/{nights.searches()[0].id}/report.html" in page
    assert "next-20261101" in page  # what is remembered is shown, without a link


def test_a_draft_of_what_is_gone_is_owed_no_more(tree: LinuxNext, nights: Nights) -> None:
    with_bug(tree, 1)
    nights.night()
    day(tree, 2, lambda: tree.branch_commit("md", "check again", {"flags/leg": None}))
    assert kinds(nights.night()) == {LEG: ["fixed"]}
    shutil.rmtree(nights.out)
    day(tree, 3)
    nights.night()
    assert nights.drafts() == []
    assert dead_links(nights) == []
