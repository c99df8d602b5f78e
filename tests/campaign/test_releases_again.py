# SPDX-License-Identifier: GPL-2.0-only
"""Searches over releases that are taken over, resumed and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bisector.agent.plan import Result
from bisector.campaign import both
from bisector.campaign.releases import ReleaseCampaign
from bisector.errors import Interrupted
from bisector.mail.letter import Letter, drafts
from bisector.model import Ending, Observation, Signal, Timing
from bisector.report import facts
from bisector.session import Session
from tests.campaign import test_release_campaign as first_file
from tests.campaign.test_release_campaign import ReleaseSession, request, slid, tagged

debs, session, pytestmark = first_file.debs, first_file.session, first_file.pytestmark


def test_a_scan_that_finds_a_fix_alone_reports_no_regression(session: ReleaseSession, debs: Path) -> None:
    """The mail said [REGRESSION], and gave regzbot the newer release as the good end of the range."""
    row, outcome = ReleaseCampaign(request(debs, "6.18", "7.2", scan=True), session).run()
    assert outcome.summary == "bad 6.18, good 7.2; fixed between 6.18.15 and 7.2.6"
    assert outcome.find_fix
    (draft,) = drafts(Letter(facts.gather(session.store, row)))[:1]
    assert "[REGRESSION]" not in draft.subject
    assert "#regzbot" not in draft.body
    assert "and no longer on" in draft.body


def test_a_trial_that_the_harness_failed_stays_one_when_it_is_taken_over(session: ReleaseSession, debs: Path) -> None:
    """A busy host is not in what the trial saw: read again, it was the candidate's failure."""
    inner = ReleaseSession.runner(session, None)  # type: ignore[arg-type]
    late = [Observation(Ending.DEADLINE, Result(), timing=Timing(total=100.0), starved=90.0)]

    class Busy:
        def run(self, *given: Any, **how: Any) -> Observation:
            return late.pop() if late else inner.run(*given, **how)

    session.runner = lambda recipe, campaign="": Busy()  # type: ignore[method-assign]
    rows = [ReleaseCampaign(request(debs), session).run()[0] for _ in range(2)]
    seen = [[trial.reading for trial in session.store.trials(row.id)] for row in rows]
    assert seen[0][0].signal is Signal.INFRA
    assert "busy host" in seen[0][0].reason
    assert [reading.signal for reading in seen[1]] == [reading.signal for reading in seen[0]]


def test_a_search_in_the_source_that_ended_is_not_begun_anew(tmp_path: Path, debs: Path) -> None:
    """Killed between the end of that search and its note, or in the search of the next pair of tags."""
    history = tagged(tmp_path, v6_17=("good",), v6_18=("good", "good"), v6_18_5=("good", "bad", "bad"))
    first, _ = slid(tmp_path, debs, history)
    again, session = slid(tmp_path, debs, history, resume=True)
    assert again == first
    assert again.assumptions.count(first.assumptions[0]) == 1
    with Session(session.setting) as reopened:
        assert len(reopened.store.campaigns()) == 3  # of the releases, of either pair of tags


def test_a_search_that_was_not_noted_yet_is_noted_when_it_goes_on(
    tmp_path: Path, debs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tagged(tmp_path, v6_17=("good",), v6_18=("good", "good", "bad"), v6_18_5=("bad",))

    def killed(*given: object) -> None:
        raise Interrupted("killed")

    with monkeypatch.context() as patched:
        patched.setattr(both, "_noted", killed)
        with pytest.raises(Interrupted):
            slid(tmp_path, debs, history)
    outcome, session = slid(tmp_path, debs, history, resume=True)
    assert outcome.culprit is not None
    assert outcome.assumptions[0].startswith("releases first:")
    with Session(session.setting) as reopened:
        assert len(reopened.store.campaigns()) == 2
