# SPDX-License-Identifier: GPL-2.0-only
"""Whole campaigns with a budget of error instead of a fixed number of trials."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from file_session import SHIPPED, FileSession, History, line, request

from bisector.campaign.commits import CommitCampaign, CommitRequest
from bisector.direction import FIX
from bisector.errors import InfraError
from bisector.model import OutcomeKind, Signal, Verdict
from bisector.recipe.load import loads
from bisector.recipe.resolve import resolved_yaml
from bisector.session import Setting


def unsure(history: History, good: str, bad: str, **changes: object) -> CommitRequest:
    recipe = loads(SHIPPED, "unsure.yaml")
    whole = request(history, good, bad, **changes)
    return replace(whole, recipe=recipe, source=resolved_yaml(recipe))


@pytest.fixture(params=[1.0, 0.5])
def rate(request: pytest.FixtureRequest) -> Iterator[float]:
    FileSession.rate = request.param
    yield request.param
    FileSession.rate = 1.0


def test_flaky_bug_is_found_with_its_chance_of_error(history: History, setting: Setting, rate: float) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    with FileSession(setting) as session:
        _, outcome = CommitCampaign(unsure(history, "c0", "c16"), session).run()
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert "chance of error below" in outcome.summary
    assert any("kept below 0.01" in line for line in outcome.assumptions)
    if rate == 1.0:  # deterministic stays cheap: one trial for a bad candidate, at most four for a good one
        for step in outcome.judgements:
            assert len(step.trials) <= (1 if step.verdict is Verdict.BAD else 4)


def test_flaky_fix_is_found(history: History, setting: Setting, rate: float) -> None:
    line(history, *["bad"] * 6, *["good"] * 5)
    with FileSession(setting) as session:
        _, outcome = CommitCampaign(unsure(history, "c10", "c0", direction=FIX), session).run()
    assert outcome.kind is OutcomeKind.CULPRIT
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c6"]


def test_unjudgeable_neighbour_narrows_with_a_budget_too(history: History, setting: Setting, rate: float) -> None:
    line(history, *["good"] * 5, "broken", *["bad"] * 5)
    with FileSession(setting) as session:
        _, outcome = CommitCampaign(unsure(history, "c0", "c10"), session).run()
    assert outcome.kind is OutcomeKind.NARROWED
    assert {s.oid for s in outcome.suspects} == {history.oids["c5"], history.oids["c6"]}


def test_two_good_ends_are_alike_with_a_budget(history: History, setting: Setting) -> None:
    line(history, "good", "good", "good")
    with FileSession(setting) as session:
        _, outcome = CommitCampaign(unsure(history, "c0", "c2"), session).run()
    assert outcome.kind is OutcomeKind.ENDS_ALIKE
    assert "never reproduced" in outcome.summary


def test_a_resumed_flaky_campaign_repeats_no_trial(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    broken_off = 20  # the ends, the search and the proof take 30 at least, whatever is drawn
    FileSession.rate, FileSession.fail_after = 0.5, broken_off
    try:
        with FileSession(setting) as session, pytest.raises(InfraError):
            CommitCampaign(unsure(history, "c0", "c16"), session).run()
        FileSession.fail_after = 10**6
        with FileSession(setting) as session:
            row, outcome = CommitCampaign(unsure(history, "c0", "c16", resume=True), session).run()
            stored = [t for t in session.store.trials(row.id) if t.reading.signal is not Signal.INFRA]
            assert len(stored) == broken_off + len(session.seen)
    finally:
        FileSession.rate, FileSession.fail_after = 1.0, 10**6
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
