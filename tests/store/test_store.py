# SPDX-License-Identifier: GPL-2.0-only
"""The store: what goes in comes out, a full disk is an infrastructure error, two processes write at once."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from bisector.agent.plan import Result
from bisector.errors import InfraError, UsageError
from bisector.model import (
    BuildFailure,
    Candidate,
    Commit,
    Ending,
    Image,
    Judgement,
    Observation,
    Outcome,
    OutcomeKind,
    Reading,
    Signal,
    TargetKind,
    Trial,
    Verdict,
)
from bisector.store import CampaignRow, Store

CANDIDATE = Candidate(TargetKind.KERNEL_SOURCE, "a" * 40)


def row(name: str, **changes: object) -> CampaignRow:
    values = {"recipe": "r", "title": "t", "source": "recipe: r\n", "repo": "/linux", "good": "g", "bad": "b"}
    return CampaignRow(
        **{"id": name, "find_fix": False, "cell": "", "created": 1.0, "state": "running", **values, **changes}
    )


def trial(seed: int = 1) -> Trial:
    observation = Observation(Ending.FINISHED, Result(complete=True))
    return Trial(0, CANDIDATE, "image", "plan", "ends", "", seed, Reading(Signal.CLEAN, "healthy"), observation, "t/1")


def test_everything_that_goes_in_comes_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    stored = store.add_trial("one", trial())
    image, failure = Image("i", "/k", tools=(("gcc", "12"),)), BuildFailure("compile", ("error: x",))
    store.add_build("one", "k1", CANDIDATE, image)
    store.add_build("one", "k2", CANDIDATE, failure)
    judgement = Judgement(CANDIDATE, Verdict.GOOD, "clean", trials=(stored,))
    store.add_judgement("one", "ends", judgement)
    outcome = Outcome(OutcomeKind.CULPRIT, "x", culprit=Commit("a" * 40, "s"), good=judgement)
    store.finish("one", outcome)
    store.close()
    again = Store(tmp_path)
    assert again.trials("one", image="image", plan="plan", stage="ends") == (stored,)
    assert again.trials("one", stage="proof") == ()
    assert (again.build("one", "k1"), again.build("one", "k2"), again.build("one", "k3")) == (image, failure, None)
    assert again.images("one") == (image,)
    assert [j.verdict for _, j in again.judgements("one")] == [Verdict.GOOD]
    assert again.campaign("on").outcome == outcome


def test_campaigns_are_found_by_the_start_of_their_id(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("raid1-a"))
    store.add_campaign(row("raid1-b", created=2.0))
    assert store.campaign("raid1-b").id == "raid1-b"
    with pytest.raises(UsageError, match="names 2"):
        store.campaign("raid1")
    with pytest.raises(UsageError, match="no campaign"):
        store.campaign("x")


def test_resume_finds_the_newest_unfinished_campaign_of_the_question(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, name in enumerate(("old", "new", "done")):
        store.add_campaign(row(name, created=float(number)))
    store.finish("done", Outcome(OutcomeKind.UNRESOLVED, "x"))
    found = store.newest_unfinished("r", "/linux", "g", "b", False)
    assert found is not None
    assert found.id == "new"
    assert store.newest_unfinished("r", "/linux", "g", "other", False) is None


def write_many(folder: str, count: int) -> None:
    store = Store(Path(folder))
    for seed in range(count):
        store.add_trial("one", trial(seed))


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(tmp_path), 50)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(store.trials("one")) == 100


def test_full_disk_is_an_infrastructure_error_that_says_what_to_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    pages = store._db.execute("pragma page_count").fetchone()[0]
    store._db.execute(f"pragma max_page_count={pages}")  # SQLite's own way to be full
    with pytest.raises(InfraError, match="full") as caught:
        for seed in range(500):
            store.add_trial("one", trial(seed))
    assert "repeat the command" in caught.value.hint
    kept = store.trials("one")
    assert [t.seed for t in kept] == list(range(len(kept)))


def test_a_state_folder_that_cannot_be_made_is_an_infrastructure_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="cannot be used"):
        Store(tmp_path / "file" / "state")


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "bisector.db") as database:
        database.execute("pragma user_version=99")
    with pytest.raises(InfraError, match="schema 99"):
        Store(tmp_path)
