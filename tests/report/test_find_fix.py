# SPDX-License-Identifier: GPL-2.0-only
"""A search for a fix speaks of a fix, and says of each candidate whether it has the bug still."""

from __future__ import annotations

import json
from dataclasses import replace

from bisector import events
from bisector.direction import BUG, FIX, place_of
from bisector.interfaces import Phase, Progress
from bisector.mail.letter import Letter, body
from bisector.model import Outcome, OutcomeKind, Signal, Verdict
from bisector.report import html, json_format, junit, kcidb, ktap, text
from bisector.report.facts import Facts
from bisector.report.stages import unchecked
from tests.report import case

STILL = replace(case.BAD_END, candidate=case.source(case.GOOD, "v6.17"))
GONE = replace(case.GOOD_END, candidate=case.source(case.BAD, "v6.18"))
AT_FIX = replace(case.PROOF_GOOD, candidate=case.source(case.CULPRIT.oid, "fix"))
AT_PARENT = replace(case.PROOF_BAD, candidate=case.source(case.PARENT.oid, "fix^1"))
OUTCOME = Outcome(
    OutcomeKind.CULPRIT,
    f"{case.CULPRIT}: reproduced 6/6 at fix^1, 0/6 at fix",
    culprit=case.CULPRIT,
    good=GONE,
    bad=STILL,
    proof=(AT_PARENT, AT_FIX),
    find_fix=True,
    newer_untested=False,
)


def facts(outcome: Outcome = OUTCOME) -> Facts:
    made = case.facts(outcome)
    return replace(made, campaign=replace(made.campaign, find_fix=True))


def test_text_names_a_fix_and_each_side() -> None:
    report = text.render(facts())
    assert report.splitlines()[2].startswith("fix         5ff3f74e145a")
    assert "culprit" not in report
    assert "fix^1: bad (still there), 6/6 reproduced" in report
    assert "fix: good (gone), 0/6 reproduced" in report
    assert "still there, 6 of 6 trials reproduced" in report
    assert "whether a newer" not in report


def test_the_page_names_a_fix_and_each_side() -> None:
    page = html.render(facts())
    assert ">fix</span>" in page
    assert "Fixed by 5ff3f74e145a" in page
    assert "bad, still there" in page
    assert "good, gone" in page
    assert "culprit" not in page.lower()


def test_json_says_which_side_a_verdict_stands_on_and_names_the_fix() -> None:
    document = json.loads(json_format.render(facts()))
    assert document["fix"]["oid"] == case.CULPRIT.oid
    assert {(each["verdict"], each["side"]) for each in document["judgements"]} == {
        ("bad", "still there"),
        ("good", "gone"),
    }
    of_bug = json.loads(json_format.render(case.facts(case.OUTCOMES["culprit"])))
    assert of_bug["fix"] is None
    assert {each["side"] for each in of_bug["judgements"]} == {""}


def test_what_ci_systems_read_names_it_too() -> None:
    for report in (junit.render(facts()), ktap.render(facts())):
        assert "fix^1 (20a0e6276edb)" in report
        assert "reproduced (still there)" in report
        assert "clean (gone)" in report
        assert "culprit" not in report
    sent = kcidb.render(facts())
    assert '"side": "gone"' in sent
    assert '"issues": []' in sent


def test_a_mail_names_a_fix_and_does_not_ask_whether_it_is_fixed() -> None:
    sent = body(Letter(facts()))
    assert "Fixed by\n--------" in sent
    assert "Is it fixed already?" not in sent
    assert "whether a newer" not in sent
    several = replace(OUTCOME, kind=OutcomeKind.NARROWED, culprit=None, suspects=(case.CULPRIT, case.PARENT))
    assert "Fixed by one of" in body(Letter(facts(several)))


def test_events_name_a_fix_and_no_culprit() -> None:
    row = events._outcome(OUTCOME)
    assert (row["kind"], row["culprit"], row["fix"]) == ("fix", "", case.CULPRIT.oid)
    row = events._outcome(case.OUTCOMES["culprit"])
    assert (row["kind"], row["culprit"], row["fix"]) == ("culprit", case.CULPRIT.oid, "")
    assert Progress(Phase.OUTCOME, outcome=OUTCOME).outcome is OUTCOME


def test_a_newer_kernel_is_left_open_by_a_search_for_the_bug_alone() -> None:
    line = "whether a newer kernel than the bad end has it fixed already"
    bug = replace(case.OUTCOMES["culprit"], unchecked=(), newer_untested=True)
    assert unchecked(case.facts(bug)) == (line,)
    assert unchecked(case.facts(replace(bug, newer_untested=False))) == ()
    assert unchecked(facts(replace(OUTCOME, unchecked=(line, "more")))) == ("more",)  # as an earlier version wrote it


def test_words_of_both_directions() -> None:
    assert (BUG.with_side(Verdict.BAD), FIX.with_side(Verdict.BAD), FIX.with_side(Verdict.SKIP)) == (
        "bad",
        "bad (still there)",
        "skip",
    )
    assert FIX.with_side(Signal.CLEAN) == "clean (gone)"
    labels = ("culprit", "fix^2", "fix", "fix^x", "culprits", "v6.18", "")
    assert [place_of(label) for label in labels] == [0, 2, 0, None, None, None, None]
