# SPDX-License-Identifier: GPL-2.0-only
"""A campaign that was broken off goes on where it was."""

from dataclasses import replace

import pytest
from file_bench import FileBench, History, line, request

from bisector.campaign.commits import CommitCampaign
from bisector.errors import InfraError, UsageError
from bisector.session import Setting
from bisector.system.xdg import Folders


def test_harness_failure_keeps_what_is_finished_and_resume_goes_on(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    FileBench.fail_after = 5
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError, match="signal 9"):
            CommitCampaign(request(history, "c0", "c16"), bench).run()
        first = list(bench.seen)
    finally:
        FileBench.fail_after = 10**6
    with FileBench(setting) as bench:
        row, outcome = CommitCampaign(request(history, "c0", "c16", resume=True), bench).run()
        judged = [(stage, judgement.candidate) for stage, judgement in bench.store.judgements(row.id)]
    assert len(judged) == len(set(judged))
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert first
    whole = first + bench.seen
    with FileBench(replace(setting, folders=Folders(setting.folders.cache, setting.folders.state / "other"))) as bench:
        CommitCampaign(request(history, "c0", "c16"), bench).run()
    assert sorted(whole) == sorted(bench.seen)


def test_resume_without_anything_to_resume_is_a_usage_error(history: History, setting: Setting) -> None:
    line(history, "good", "bad")
    with FileBench(setting) as bench, pytest.raises(UsageError, match="no unfinished campaign"):
        CommitCampaign(request(history, "c0", "c1", resume=True), bench).run()


def test_resume_of_a_changed_recipe_is_refused(history: History, setting: Setting) -> None:
    line(history, *["good"] * 3, *["bad"] * 3)
    FileBench.fail_after = 1
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError):
            CommitCampaign(request(history, "c0", "c5"), bench).run()
    finally:
        FileBench.fail_after = 10**6
    with FileBench(setting) as bench, pytest.raises(UsageError, match="recipe has changed"):
        CommitCampaign(request(history, "c0", "c5", resume=True, source="recipe: other\n"), bench).run()


def test_a_campaign_at_work_cannot_be_resumed_by_another_process(history: History, setting: Setting) -> None:
    line(history, *["good"] * 3, *["bad"] * 3)
    FileBench.fail_after = 1
    try:
        with FileBench(setting) as bench, pytest.raises(InfraError):
            CommitCampaign(request(history, "c0", "c5"), bench).run()
    finally:
        FileBench.fail_after = 10**6
    with (
        FileBench(setting) as bench,
        bench.lock(bench.store.campaigns()[0].id),
        pytest.raises(InfraError, match="another process"),
    ):
        CommitCampaign(request(history, "c0", "c5", resume=True), bench).run()
