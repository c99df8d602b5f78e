# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign says that ends at its ends: no more than what the comparison came to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from bisector.agent.plan import Plan
from bisector.case import Case
from bisector.direction import BUG
from bisector.judge import Judge
from bisector.model import Candidate, Cell, Judgement, Outcome, Question, TargetKind, Verdict
from bisector.search import ends
from bisector.search.sampling import EndTrials
from bisector.verdict.ends import NoDifference
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.sequential import Evidence

CASE = Case(Cell(""), Plan(()), Question((), ()), FixedTrials())
GOOD = Judgement(Candidate(TargetKind.KERNEL_SOURCE, "a" * 40, label="v6.17"), Verdict.BAD, "reproduced in 1/40")
BAD = Judgement(Candidate(TargetKind.KERNEL_SOURCE, "b" * 40, label="v6.18"), Verdict.GOOD, "reproduced in 0/40")


def stopped(monkeypatch: pytest.MonkeyPatch, result: NoDifference, *more: Evidence) -> str:
    monkeypatch.setattr(ends, "_draw", lambda *given: EndTrials(result, GOOD, BAD))
    found = ends.Ends(replace(GOOD, verdict=Verdict.GOOD), replace(BAD, verdict=Verdict.BAD), CASE)
    outcome: Any = ends.ends_anew(cast(Judge, None), found, *more, CASE.rule, BUG)
    assert isinstance(outcome, Outcome)
    return outcome.summary


def test_a_good_end_that_reproduced_once_is_not_called_the_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    said = stopped(
        monkeypatch, NoDifference("both ends reproduce about as often: 0/40 and 1/40"), Evidence(), Evidence()
    )
    assert said.startswith("the ends do not differ: both ends reproduce about as often: 0/40 and 1/40. Try")


def test_ends_that_are_the_other_way_round_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = stopped(monkeypatch, NoDifference("the good end reproduces more often", True), Evidence(), Evidence())
    assert said.startswith(
        "the ends are the other way round: the good end reproduces more often; swap --good and --bad"
    )


def test_what_proofs_saw_of_other_commits_is_not_said_of_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said = stopped(monkeypatch, NoDifference("3/40 at the good one"), Evidence(3, 17), Evidence(1, 8))
    assert "3/40 at the good one, counting what proofs saw: 3/20 of good commits and 1/9 of the bad end. Try" in said
