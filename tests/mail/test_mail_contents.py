# SPDX-License-Identifier: GPL-2.0-only
"""What a draft says: the error, how sure it is, reverts, mainline, backports."""

from dataclasses import replace

import pytest

from bisector.mail import regression
from bisector.mail.fixed import FixStatus, Newest, Tree
from bisector.mail.letter import Letter, body
from bisector.mail.thread import State
from bisector.model import Candidate, Commit, ConsoleEvent, EventKind, OutcomeKind, Signal, TargetKind
from bisector.numbers import Numbers
from bisector.report.excerpt import LINES, excerpt
from bisector.report.facts import Facts
from tests.mail.letters import FIXED, letter, thread
from tests.report import case


def test_the_error_is_at_most_forty_lines_around_the_decisive_one() -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    assert made.bad is not None
    trial = made.bad.trial
    assert trial is not None
    noise = [
        f"[   {n}.000000] {'abcdefghijklmnop'[n % 16] * (n % 37 + 1)}: word{chr(97 + n % 26)} x" for n in range(900)
    ]
    fatal = "[  450.500000] nvme1n1: I/O Cmd(0x2) @ LBA 2055, 0 blocks, I/O Error"
    log = ["[    1.0] bisector T begin", "[    1.1] bisector T step probe begin", *noise[:450], fatal, *noise[450:]]
    event = replace_event(trial, fatal)
    shown = excerpt("console.log", "\r\n".join(log).encode(), event)
    assert fatal in shown.lines
    assert len(shown.lines) <= LINES
    assert shown.left_out > 800


def replace_event(trial: case.Trial, text: str) -> case.Trial:
    event = ConsoleEvent(9.0, "vm", EventKind.WATCH, "zero-length-command/0", text)
    return replace(
        trial,
        reading=replace(trial.reading, condition="zero-length-command"),
        observation=replace(trial.observation, console=(event,)),
    )


@pytest.mark.parametrize("decisive", [0, 25, 59])
def test_long_lines_do_not_make_more_than_forty_of_the_mail(decisive: int) -> None:
    lines = [f"[    1.{n:06}] {'abcdefgh'[n % 8] * 9} {'x' * 30} {'y' * 30} {'z' * 30}{n:c}" for n in range(200, 260)]
    lines[decisive] = f"[    2.000000] the line that decided {'x' * 40} {'y' * 40}"
    facts = case.facts(case.OUTCOMES["culprit"])
    assert facts.bad is not None and facts.bad.trial is not None
    event = ConsoleEvent(1.0, "vm", EventKind.WATCH, "leg-failed/0", lines[decisive])
    shown = replace(facts.bad.trial, observation=replace(facts.bad.trial.observation, console=(event,)))
    bad = replace(facts.bad, trial=shown, excerpt=excerpt("kernel.log", "\n".join(lines).encode(), shown))
    text = body(letter("culprit", facts=replace(facts, bad=bad)))
    error = text.split("\n\n")[1].split("\n")
    assert 30 < len(error) <= 40
    assert sum("the line that decided" in line for line in error) == 1


def test_how_sure_it_is_stands_with_the_culprit() -> None:
    sure = "chance of error below 0.5 % for a bug that reproduces in at least 40 % of trials"
    outcome = case.OUTCOMES["culprit"]
    sure_outcome = replace(outcome, summary=f"{case.CULPRIT}: reproduced 6/6 at culprit; {sure}")
    found = body(letter("culprit", facts=case.facts(sure_outcome)))
    assert sure in " ".join(found.partition("Environment\n")[0].split())
    assert "chance of error" not in body(letter("culprit"))


def test_a_culprit_applied_to_the_good_end_is_reported_as_that() -> None:
    outcome = case.OUTCOMES["culprit"]
    applied = replace(
        case.PROOF_BAD, candidate=case.source(case.GOOD, "the good end", case.Edit("apply", case.CULPRIT.oid))
    )
    text = body(letter("culprit", facts=case.facts(replace(outcome, proof=(*outcome.proof, applied)))))
    assert "with it applied on the good end   bad, reproduced in 6 of 6 trials" in text
    assert "revert on top of the bad end      not tested" in text


def test_repeated_lines_are_reported_once_and_counted() -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    assert made.bad is not None
    lines = made.bad.excerpt.lines
    assert sum("rescheduling sector" in line for line in lines) <= 3
    assert any("lines left out" in line for line in lines)
    assert lines[-1].endswith("Operation continuing on 1 devices.")
    assert not any("bisector TOKEN" in line for line in lines)


def test_a_revert_on_the_bad_end_is_reported_with_its_figures() -> None:
    outcome = case.OUTCOMES["culprit"]
    without = body(letter("culprit"))
    assert "revert on top of the bad end      not tested" in without
    tested = replace(outcome, proof=(*outcome.proof, case.REVERTED))
    text = body(letter("culprit", facts=case.facts(tested)))
    assert "revert on top of the bad end      good, reproduced in 0 of 6 trials" in text


def test_newest_mainline_is_said_tested_or_not() -> None:
    tested = body(letter("culprit", fixed=FIXED))
    assert "v7.1-rc2, is bad (2 of\n    2 trials reproduced)" in tested or "v7.1-rc2, is bad" in tested
    assert "next-20261120, was not tested" in tested
    assert "#regzbot fix" not in tested
    assert "whether a newer kernel" not in tested
    untested = body(letter("culprit", fixed=FixStatus(looked=True, newest=(Newest(Tree.MAINLINE, "v7.1", "1" * 40),))))
    assert "v7.1, was not tested" in untested
    assert "whether a newer kernel" in untested


def test_a_backport_names_its_upstream_commit() -> None:
    upstream = Commit("b" * 40, "block: simplify direct io validity check")
    text = body(letter("culprit", fixed=FixStatus(looked=True, upstream=upstream)))
    assert "Upstream commit: bbbbbbbbbbbb (" in text


def test_signals_and_outcomes_of_the_case_are_what_the_tests_say() -> None:
    facts: Facts = case.facts(case.OUTCOMES["culprit"])
    assert facts.outcome is not None
    assert facts.outcome.kind is OutcomeKind.CULPRIT
    assert facts.bad is not None
    assert facts.bad.trial is not None
    assert facts.bad.trial.reading.signal is Signal.REPRODUCED


def test_a_message_of_several_lines_is_shown_as_several() -> None:
    made = case.facts(case.OUTCOMES["culprit"])
    assert made.bad is not None
    assert made.bad.trial is not None
    shown = excerpt("kernel.log", rb"[    8.0] md: Disk failure.\x0amd: Operation continuing." + b"\n", made.bad.trial)
    assert shown.lines == ("[    8.0] md: Disk failure.", "md: Operation continuing.")


@pytest.mark.parametrize("outcome", ["ends_alike", "unresolved", "not_confirmed"])
def test_a_search_for_a_fix_that_found_none_does_not_say_that_it_is_gone(outcome: str) -> None:
    facts = case.facts(replace(case.OUTCOMES[outcome], find_fix=True))
    text = " ".join(body(Letter(facts)).split())
    assert "no longer" not in text
    assert "did not find it: this mail names no fix." in text


@pytest.mark.parametrize("outcome", ["culprit", "narrowed", "not_confirmed"])
@pytest.mark.parametrize("find_fix", [False, True])
def test_the_log_names_a_commit_as_git_did_only_where_the_proof_bore_it_out(outcome: str, find_fix: bool) -> None:
    log = case.BISECT_LOG.replace("# first bad commit", "# first 'fixed' commit") if find_fix else case.BISECT_LOG
    facts = case.facts(replace(case.OUTCOMES[outcome], find_fix=find_fix, bisect_log=log))
    assert ("# first " in body(Letter(facts))) is (outcome == "culprit")


@pytest.mark.parametrize(("outcome", "find_fix", "said"), [
    ("culprit", False, True), ("not_confirmed", False, False), ("culprit", True, False),
])  # fmt: skip
def test_only_a_claimed_commit_is_another_one_than_regzbot_has(outcome: str, find_fix: bool, said: bool) -> None:
    facts = case.facts(replace(case.OUTCOMES[outcome], find_fix=find_fix))
    assert regression.contradicts(facts, thread(State.TRACKED, "0123456789ab")) is said


@pytest.mark.parametrize("find_fix", [False, True])
def test_numbers_of_the_good_end_are_compared_by_a_command_that_has_both_ends(find_fix: bool) -> None:
    """A test of one candidate has no verdict there."""
    numbers = Numbers("value", "load", "us", (1.0,) * 9, (2.0,) * 9, (("> 1.2 × good", "> 1.41421"),), 1.0, 2.0, 2.0)
    facts = case.facts(replace(case.OUTCOMES["culprit"], numbers=(numbers,), find_fix=find_fix))
    text = " ".join(body(letter("culprit", facts=facts)).replace("\\\n", " ").split())
    fix = "--find-fix " if find_fix else ""
    wanted = f"bisector run virtio-dio-lvm-raid1 --repo LINUX {fix}--good {case.GOOD[:12]} --bad {case.BAD[:12]} --cell"
    assert wanted in text
    assert "bisector test" not in text


@pytest.mark.parametrize(
    ("label", "name"), [("6.17.8", "v6.17.8"), ("6.17.0", "v6.17"), ("own-build", "a-given-image")]
)
def test_a_given_image_is_named_by_its_release_and_not_by_where_it_lies(label: str, name: str) -> None:
    """The end of the search as a person wrote it (6.12) is not what was tried last."""
    outcome = case.OUTCOMES["range"]
    assert outcome.good
    given = Candidate(TargetKind.GIVEN, "/srv/images/of/mine", label=label)
    made = case.facts(replace(outcome, good=replace(outcome.good, candidate=given)))
    made = replace(made, campaign=replace(made.campaign, good="6.12", bad="6.18"))
    assert regression.ends(made) == (name, "v6.18.5")
