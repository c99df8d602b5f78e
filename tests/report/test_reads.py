# SPDX-License-Identifier: GPL-2.0-only
"""A report reads the store once, whatever its format."""

from collections import Counter
from pathlib import Path

import pytest

from bisector.mail.draft import MailOptions, write
from bisector.report import facts, formats
from bisector.store import CampaignRow, Store, TrialKey
from bisector.system.proc import Processes
from tests.report import case


def stored(store: Store) -> CampaignRow:
    """A finished campaign as it is stored: an image, its trials, a verdict and the outcome."""
    made = case.facts(case.OUTCOMES["culprit"])
    store.add_campaign(made.campaign)
    for number, (stage, judgement) in enumerate(made.judgements):
        store.add_build(made.campaign.id, str(number), judgement.candidate, case.image(str(number), "6.18.5"))
        store.add_judgement(made.campaign.id, stage, judgement)
    for trial in made.trials:
        store.add_trial(made.campaign.id, trial)
    store.finish(made.campaign.id, case.OUTCOMES["culprit"])
    return store.campaign(made.campaign.id)


def test_trials_that_were_not_needed_are_no_evidence(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    row = stored(store)
    before = facts.gather(store, row)
    extra = before.trials[0]
    store.add_ahead(row.id, TrialKey(extra.image, extra.plan, extra.stage, 9), extra)
    after = facts.gather(store, row)
    assert [trial.folder for trial in after.ahead] == [extra.folder]
    assert (after.trials, after.infra_count, after.others) == (before.trials, before.infra_count, before.others)


def reads(store: Store) -> list[str]:
    """The statements that read, from here on."""
    found: list[str] = []
    store._db.set_trace_callback(lambda text: found.append(text) if text.lower().startswith("select") else None)
    return found


@pytest.mark.parametrize("kind", sorted(formats.ENDINGS))
def test_a_report_reads_each_of_its_rows_once(kind: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    row = stored(store)
    seen = reads(store)
    formats.render(kind, facts.gather(store, row))
    assert seen, "nothing was read"
    assert [text for text, count in Counter(seen).items() if count > 1] == []


def test_a_draft_reads_each_of_its_rows_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    row = stored(store)
    seen = reads(store)
    write(MailOptions(to=("somebody@example.org",)), store, row, Processes(tmp_path / "processes"))
    assert [text for text, count in Counter(seen).items() if count > 1] == []
