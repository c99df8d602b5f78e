# SPDX-License-Identifier: GPL-2.0-only
"""A campaign that was broken off goes on where it was."""

from dataclasses import replace
from pathlib import Path

import pytest
from acting import RECIPE, Act, World
from file_session import FileSession, History, line, request

from bisector.campaign.commits import CommitCampaign
from bisector.errors import InfraError, RecipeChanged, UsageError
from bisector.recipe.load import loads
from bisector.recipe.matrix import cells
from bisector.recipe.resolve import resolved_yaml
from bisector.session import Setting
from bisector.system.xdg import Folders


def test_harness_failure_keeps_what_is_finished_and_resume_goes_on(history: History, setting: Setting) -> None:
    line(history, *["good"] * 9, *["bad"] * 8)
    FileSession.fail_after = 5
    try:
        with FileSession(setting) as session, pytest.raises(InfraError, match="signal 9"):
            CommitCampaign(request(history, "c0", "c16"), session).run()
        first = list(session.seen)
    finally:
        FileSession.fail_after = 10**6
    with FileSession(setting) as session:
        row, outcome = CommitCampaign(request(history, "c0", "c16", resume=True), session).run()
        judged = [(stage, judgement.candidate) for stage, judgement in session.store.judgements(row.id)]
    assert len(judged) == len(set(judged))
    assert outcome.culprit is not None
    assert outcome.culprit.oid == history.oids["c9"]
    assert first
    whole = first + session.seen
    with FileSession(
        replace(setting, folders=Folders(setting.folders.cache, setting.folders.state / "other"))
    ) as session:
        CommitCampaign(request(history, "c0", "c16"), session).run()
    assert sorted(whole) == sorted(session.seen)


def test_resume_without_anything_to_resume_is_a_usage_error(history: History, setting: Setting) -> None:
    line(history, "good", "bad")
    with FileSession(setting) as session, pytest.raises(UsageError, match="no unfinished campaign"):
        CommitCampaign(request(history, "c0", "c1", resume=True), session).run()


def test_resume_of_a_changed_recipe_is_refused(history: History, setting: Setting) -> None:
    line(history, *["good"] * 3, *["bad"] * 3)
    FileSession.fail_after = 1
    try:
        with FileSession(setting) as session, pytest.raises(InfraError):
            CommitCampaign(request(history, "c0", "c5"), session).run()
    finally:
        FileSession.fail_after = 10**6
    with FileSession(setting) as session, pytest.raises(UsageError, match="recipe has changed"):
        CommitCampaign(request(history, "c0", "c5", resume=True, source="recipe: other\n"), session).run()


def test_a_campaign_at_work_cannot_be_resumed_by_another_process(history: History, setting: Setting) -> None:
    line(history, *["good"] * 3, *["bad"] * 3)
    FileSession.fail_after = 1
    try:
        with FileSession(setting) as session, pytest.raises(InfraError):
            CommitCampaign(request(history, "c0", "c5"), session).run()
    finally:
        FileSession.fail_after = 10**6
    with (
        FileSession(setting) as session,
        session.lock(session.store.campaigns()[0].id),
        pytest.raises(InfraError, match="another process"),
    ):
        CommitCampaign(request(history, "c0", "c5", resume=True), session).run()


def test_a_campaign_that_another_command_has_ended_stays_as_it_is(
    history: History, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended between our look for it and our lock: it was run once more, and stood as running after a kill."""
    line(history, *["good"] * 3, *["bad"] * 3)
    with FileSession(setting) as session:
        row, outcome = CommitCampaign(request(history, "c0", "c5"), session).run()
        monkeypatch.setattr(session.store, "newest_unfinished", lambda *question, source="": row)
        session.seen.clear()
        again = CommitCampaign(request(history, "c0", "c5", resume=True), session).run()
        assert again[1] == outcome
        assert session.seen == []
        assert len(session.store.runs(row.id)) == 1


OWN_PROGRAM = RECIPE.replace("LASTING", "count: 1").replace("steps:", "steps:\n  - own: {run: [./own.sh]}")


def test_resume_with_another_file_of_the_recipe_is_refused(act: Act, tmp_path: Path) -> None:
    """Its text is the same, and no trial of before counts for what the file is now."""
    program = tmp_path / "own.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    acted = act(4, World(fails_after=1), bug=range(2, 4))
    recipe = loads(OWN_PROGRAM, tmp_path / "acted.yaml")
    asked = {"recipe": recipe, "source": resolved_yaml(recipe), "cells": cells(recipe)}
    with pytest.raises(InfraError):
        acted.run("c0", "c3", **asked)
    program.write_text("#!/bin/sh\nexit 1\n")
    acted.world.fails_after = 10**9
    with pytest.raises(RecipeChanged, match=r"\./own\.sh has changed since campaign acted-"):
        acted.run("c0", "c3", resume=True, **asked)
    program.write_text("#!/bin/sh\n")
    _, outcome = acted.run("c0", "c3", resume=True, **asked)
    assert acted.named(outcome) == {"c2"}
