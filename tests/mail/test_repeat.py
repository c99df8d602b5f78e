# SPDX-License-Identifier: GPL-2.0-only
"""The command of a draft asks what the trials of the campaign asked."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise

import pytest

from bisector.mail.letter import body
from bisector.mail.repeat import asks_the_same
from bisector.model import Cell, TargetKind
from bisector.recipe import matrix
from bisector.recipe.load import loads
from bisector.recipe.plan import plan_for
from bisector.report.facts import Facts
from bisector.verdict.duration import stretched_plan
from tests.mail.letters import letter
from tests.report import case

TEXT = """\
recipe: slow-to-show
title: a bug that takes its time
target: {kernel: {config: [base, lvm-raid]}}
storage:
  leg: {disk: nvme, size: 64M}
steps:
  - once: {io: leg, read: 4k, count: 1}
  - load: {io: leg, read: 4k, count: 8, for: 20s}
  - tail: {io: leg, read: 4k, count: 8, for: 10s}
bad_when:
  failed: {errno: {load: EIO}}
good_when:
  read: {errno: {load: none}}
"""


def command_of(facts: Facts) -> list[str]:
    text = body(letter("culprit", facts=facts)).replace("\\\n", " ")
    return shlex.split(next(line for line in text.splitlines() if line.strip().startswith("bisector ")))


def facts_of(text: str, **changes: object) -> Facts:
    made = case.facts(replace(case.OUTCOMES["culprit"], cell="", **changes))
    return replace(made, campaign=replace(made.campaign, source=text))


@pytest.mark.parametrize("seconds", [90.0, 47.3])
def test_a_workload_that_was_stretched_is_as_long_when_it_is_repeated(seconds: float) -> None:
    recipe = loads(TEXT, "slow.yaml")
    longer = stretched_plan(plan_for(recipe, Cell("")), seconds)
    facts = facts_of(TEXT)
    assert facts.bad
    words = command_of(replace(facts, bad=replace(facts.bad, plan=longer)))
    for word in (after for before, after in pairwise(words) if before == "--cell"):
        recipe = matrix.override(recipe, word)
    assert plan_for(recipe, Cell("")).steps == longer.steps


def test_a_workload_of_the_recipes_length_needs_no_word() -> None:
    facts = facts_of(TEXT)
    assert facts.bad
    plan = plan_for(loads(TEXT, "slow.yaml"), Cell(""))
    assert "--cell" not in command_of(replace(facts, bad=replace(facts.bad, plan=plan)))
    assert "--cell" not in command_of(facts), "no plan was kept"


@pytest.mark.parametrize(
    ("whose", "expected"), [("good-end", ["--good", case.GOOD[:12]]), ("bad-end", ["--bad", case.BAD[:12]])]
)
def test_the_kernel_that_each_trial_boots_beside_is_named(whose: str, expected: list[str]) -> None:
    both = TEXT.replace("steps:\n", f"steps:\n  - older: {{reboot: {{kernel: {whose}}}}}\n")
    words = command_of(facts_of(both))
    assert words[-2:] == expected
    assert words[:2] == ["bisector", "test"] and not {"--good", "--bad"} & set(command_of(facts_of(TEXT)))


def test_a_packaged_end_is_named_by_its_version_and_a_given_one_by_no_path() -> None:
    both = TEXT.replace("steps:\n", "steps:\n  - older: {reboot: {kernel: good-end}}\n")
    assert command_of(facts_of(both, good=case.GOOD_PACKAGE))[-2:] == ["--good", "6.17.8-1~bpo13+1"]
    given = replace(case.GOOD_END, candidate=replace(case.GOOD_END.candidate, target=TargetKind.GIVEN, revision="/a/b"))
    assert command_of(facts_of(both, good=given))[-2:] == ["--good", "IMAGE"]


@pytest.mark.parametrize(("seconds", "short", "long"), [(30.0, True, False), (90.0, False, True)])
def test_a_shorter_workload_than_the_campaigns_answers_nothing(seconds: float, short: bool, long: bool) -> None:
    """A bug that takes longer to show than the recipe's time was called fixed by a few clean trials of that time."""
    facts = facts_of(TEXT)
    assert facts.bad
    plan = stretched_plan(plan_for(loads(TEXT, "slow.yaml"), Cell("")), seconds)
    facts = replace(facts, bad=replace(facts.bad, plan=plan, judgement=replace(facts.bad.judgement, plan="asked")))
    judged = replace(case.SEARCH_GOOD, plan="another")
    assert asks_the_same(facts, TEXT, judged) is short
    assert asks_the_same(facts, TEXT.replace("20s", "1m").replace("10s", "30s"), judged) is long
    assert asks_the_same(facts, TEXT, replace(judged, plan="asked")), "a trial of the campaign itself"


def test_beside_another_kernel_of_an_end_a_verdict_answers_something_else() -> None:
    both = TEXT.replace("steps:\n", "steps:\n  - older: {reboot: {kernel: good-end}}\n")
    facts = facts_of(both)
    assert facts.bad
    facts = replace(facts, bad=replace(facts.bad, judgement=replace(facts.bad.judgement, plan="asked")))
    judged = replace(case.SEARCH_GOOD, plan="beside another kernel")
    assert not asks_the_same(facts, both, judged)
    assert asks_the_same(facts, both, replace(judged, plan="asked"))
