# SPDX-License-Identifier: GPL-2.0-only
"""A recipe that says nothing tells why: what its steps printed and how they ended, in every report."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import case
import pytest

from bisector.agent.plan import Result, StepFacts
from bisector.answer import Answer, CellAnswer
from bisector.mail.letter import Letter, body
from bisector.model import (
    Cell,
    Ending,
    Judgement,
    Observation,
    Outcome,
    OutcomeKind,
    Question,
    Reading,
    Signal,
    Verdict,
)
from bisector.report import html, json_format, printed, table, text
from bisector.verdict.neither import always_neither, stops
from bisector.verdict.signature import read

SAID = "write: invalid option -- 'r'\x1b[31m"
NOTHING = Question((), ())


def silent_end(end: Judgement, said: str = SAID) -> Judgement:
    """Trials whose step said why it did nothing, where no condition looks."""
    steps = (StepFacts("write", 0, 1, done=True, exit=1, errno="EINVAL", detail=f"usage\n{said}\n"),)
    seen = Observation(Ending.FINISHED, Result(complete=True, steps=steps))
    trials = tuple(replace(one, observation=seen, reading=read(seen, NOTHING)) for one in end.trials)
    return replace(end, verdict=Verdict.SKIP, reason=trials[-1].reading.reason, trials=trials)


GOOD, BAD = silent_end(case.GOOD_END), silent_end(case.BAD_END)
OUTCOME = Outcome(OutcomeKind.UNRESOLVED, "nothing was distinguished", good=GOOD, bad=BAD)
ALIKE = replace(OUTCOME, kind=OutcomeKind.ENDS_ALIKE)
SHOWN = "write: invalid option -- 'r'\\x1b[31m"


@pytest.mark.parametrize("outcome", [OUTCOME, ALIKE])
def test_each_end_shows_how_its_steps_ended_and_what_they_printed(outcome: Outcome) -> None:
    report = text.render(case.facts(outcome))
    assert report.count(f"    | {SHOWN}") == 2
    assert "v6.17, step write: exit 1, EINVAL" in report
    assert "v6.18, step write: exit 1, EINVAL" in report
    assert "\x1b" not in report


def test_page_json_and_mail_show_it_too() -> None:
    facts = case.facts(ALIKE)
    page = html.render(facts)
    assert page.count("write: invalid option") == 2
    assert "\x1b" not in page
    steps = json.loads(json_format.render(facts))["printed"]
    assert [(step["step"], step["ended"], step["lines"][-1]) for step in steps] == [
        ("write", "exit 1, EINVAL", SHOWN)
    ] * 2
    written = body(Letter(facts))
    assert "What the steps printed" in written
    assert written.count("invalid option") == 2


def test_a_step_that_hung_is_not_called_done() -> None:
    """Nor is one whose guest was reset: it has come to no end of its own."""
    facts = case.facts(case.OUTCOMES["culprit"])
    assert facts.bad is not None and facts.bad.trial is not None
    steps = (StepFacts("load", 0, 60), StepFacts("rest", 0, 9, done=True, detail="the guest was reset"))
    seen = replace(facts.bad.trial.observation, result=Result(complete=False, steps=steps))
    hung = replace(facts, bad=replace(facts.bad, trial=replace(facts.bad.trial, observation=seen)))
    shown = " ".join(html.render(hung).split())
    for step, words in (("load", "did not end"), ("rest", "cut off")):
        assert re.search(rf"step {step}</[a-z]+> *<[a-z]+[^>]*>{words}<", shown), step


def test_a_culprit_needs_no_such_lines() -> None:
    assert printed.of_outcome(case.OUTCOMES["culprit"]) == ()


def test_only_trials_that_came_to_their_end_are_neither() -> None:
    assert read(GOOD.trials[0].observation, NOTHING).neither
    crashed = replace(GOOD.trials[0].observation, ending=Ending.DEADLINE)
    assert not read(crashed, NOTHING).neither


def test_three_trials_that_ended_alike_stop_a_campaign_and_what_they_printed_may_differ() -> None:
    first, second = GOOD.trials[:2]
    third = silent_end(case.BAD_END, "pid 17: bad option").trials[0]
    assert not stops((first, second))
    assert not stops((first, second, second))
    assert stops((first, second, third))
    other = replace(third, observation=Observation(Ending.FINISHED, Result(complete=True)))
    assert not always_neither((first, second, other))
    clean = replace(third, reading=Reading(Signal.CLEAN))
    assert not stops((first, second, clean))


def test_the_hint_of_a_test_fits_what_the_recipe_asks_for() -> None:
    """Of a recipe that compares with the good end no step has to be corrected: one candidate has nothing to compare."""
    third = silent_end(case.BAD_END, "us=33").trials[0]
    skipped = replace(GOOD, trials=(*GOOD.trials[:2], third))
    plain = Answer("slow", GOOD.candidate, (CellAnswer(Cell(""), skipped),), "test-1", "/folder")
    assert "correct the step" in table.hint(plain)
    hint = table.hint(replace(plain, compares=True))
    assert "bisector run RECIPE --repo" in hint and "correct the step" not in hint
