# SPDX-License-Identifier: GPL-2.0-only
"""The store: what goes in comes out, a full disk is an infrastructure error, two processes write at once."""

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent.plan import Result
from bisector.causes import BuildStage, Cause
from bisector.codec import dump, load
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
from bisector.stage import CampaignState
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


def test_a_judgement_of_an_earlier_version_has_no_cause() -> None:
    skip = Judgement(CANDIDATE, Verdict.SKIP, "does not boot in 2 of 2", cause=Cause.NO_BOOT)
    stored = json.loads(dump(skip))
    assert load(Judgement, json.dumps(stored)) == skip
    del stored["cause"]
    assert load(Judgement, json.dumps(stored)) == replace(skip, cause=Cause.NONE)


def test_everything_that_goes_in_comes_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    stored = store.add_trial("one", trial())
    image, failure = Image("i", "/k", tools=(("gcc", "12"),)), BuildFailure(BuildStage.COMPILE, ("error: x",))
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


FULL = """
import sys
from pathlib import Path
from bisector.errors import InfraError
from bisector.model import Outcome, OutcomeKind
from bisector.stage import CampaignState
from bisector.store import Store
from tests.store.test_store import row, trial
folder = Path(sys.argv[1])
store = Store(folder)
store.add_campaign(row("one"))
for seed in range(3):
    store.add_trial("one", trial(seed))
with (folder / "filler").open("ab", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)):
            pass
    except OSError:
        pass
long = Outcome(OutcomeKind.UNRESOLVED, summary="x" * 100_000)
for act in (
    lambda: [store.add_trial("one", trial(seed)) for seed in range(3, 2000)],
    lambda: store.finish("one", long),
    lambda: [store.set_state("one", CampaignState.RUNNING) for _ in range(2000)],
    lambda: store.add_campaign(row("two", source="x" * 100_000)),
):
    try:
        act()
        print("done")
    except InfraError as error:
        print(error.what.rpartition(": ")[2], "|", error.hint)
(folder / "filler").unlink()
again = Store(folder)
kept = [one.seed for one in again.trials("one")]
assert kept[:3] == [0, 1, 2] and kept == list(range(len(kept)))
assert [one.id for one in again.campaigns()] == ["one"]
again.finish("one", long)
assert again.campaign("one").outcome == long
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk in a private mount namespace takes root")
def test_a_disk_that_is_full_loses_nothing_and_says_that_it_is_full(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=1m small "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, FULL]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert len(said) == 4
    for line in said:
        assert "no space is left" in line, said
        assert "free space" in line


def test_a_state_folder_that_cannot_be_made_is_an_infrastructure_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="cannot be used"):
        Store(tmp_path / "file" / "state")


def test_an_id_that_matches_exactly_is_found_beside_longer_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("raid1", "raid1-2", "raid1-20"):
        store.add_campaign(row(name))
    assert store.campaign("raid1").id == "raid1"
    assert store.campaign("raid1-2").id == "raid1-2"
    with pytest.raises(UsageError, match="raid names 3"):
        store.campaign("raid")
    with pytest.raises(UsageError, match="no campaign %"):
        store.campaign("%")


def add_one(folder: str, count: int) -> list[str]:
    store = Store(Path(folder))
    return [store.add_campaign(row("same")).id for _ in range(count)]


def test_campaigns_that_begin_at_once_get_ids_of_their_own(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        given = [name for names in pool.starmap(add_one, [(str(tmp_path), 10)] * 3, chunksize=1) for name in names]
    assert sorted(given) == sorted(["same", *(f"same-{number}" for number in range(2, 31))])
    assert {path.parent.name for path in tmp_path.glob("campaigns/*/recipe.yaml")} == set(given)


def test_what_a_kill_left_of_a_campaign_is_taken_and_what_holds_trials_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "campaigns/one/trials").mkdir(parents=True)
    (tmp_path / "campaigns/one/half").touch()
    (tmp_path / "campaigns/two/trials/ends-0").mkdir(parents=True)
    assert [store.add_campaign(row(name)).id for name in ("one", "two")] == ["one", "two-2"]
    assert sorted(path.name for path in (tmp_path / "campaigns/one").iterdir()) == ["recipe.yaml", "trials"]
    assert (tmp_path / "campaigns/two/trials/ends-0").is_dir()


def test_no_row_is_left_of_a_campaign_whose_recipe_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InfraError, match="No space left"):
        store.add_campaign(row("one"))
    assert store.campaigns() == ()
    assert not (tmp_path / "campaigns/one").exists()


def test_trials_after_a_number_are_those_that_came_later(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    numbers = [store.add_trial("one", trial(seed)).number for seed in range(5)]
    question = {"image": "image", "plan": "plan", "stage": "ends"}
    assert [t.number for t in store.trials("one", **question, after=numbers[2])] == numbers[3:]
    plan = store._db.execute(
        "explain query plan select * from trials where campaign=? and image=? and plan=? and stage=? and number>? "
        "order by number", ("one", "image", "plan", "ends", 3)
    ).fetchall()  # fmt: skip
    assert [line["detail"] for line in plan] == [
        "SEARCH trials USING INDEX trials_by_question (campaign=? AND image=? AND plan=? AND stage=? AND rowid>?)"
    ]


def test_a_list_of_campaigns_reads_no_outcome_and_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    store.add_campaign(row("two", created=2.0))
    outcome = Outcome(OutcomeKind.CULPRIT, "it was x", culprit=Commit("a" * 40, "s"))
    store.finish("two", outcome)
    read: list[type] = []
    monkeypatch.setattr("bisector.store.database.load", lambda kind, text: read.append(kind) or load(kind, text))
    assert [(each.id, each.kind, each.summary) for each in store.listed()] == [
        ("one", "", ""), ("two", "culprit", "it was x")
    ]  # fmt: skip
    rows = (*store.campaigns(), store.campaign("tw"))
    assert read == []
    assert [each.outcome for each in rows] == [None, outcome, outcome]
    assert read == [Outcome, Outcome]


def test_a_candidate_without_a_config_of_its_own_is_stored_as_before_there_were_any() -> None:
    """Rows of verdicts are found by this text, also those that an earlier version wrote."""
    plain = Candidate(TargetKind.KERNEL_SOURCE, "a" * 40)
    assert dump(plain) == '{"edits": [], "label": "", "revision": "' + "a" * 40 + '", "target": "kernel_source"}'
    own = replace(plain, config_lines=("CONFIG_X=y",))
    assert load(Candidate, dump(own)) == own != plain == load(Candidate, dump(plain))


def test_runs_are_kept_with_their_ends_and_a_killed_one_has_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_campaign(row("one"))
    store.set_state("one", CampaignState.RUNNING)  # killed
    store.set_state("one", CampaignState.RUNNING)
    store.set_state("one", CampaignState.INTERRUPTED)
    store.set_state("one", CampaignState.RUNNING)
    store.finish("one", Outcome(OutcomeKind.UNRESOLVED, "nothing"))
    (killed, first), (_, second), (third_began, third) = store.runs("one")
    assert first is None
    assert second is not None
    assert third is not None
    assert killed <= second <= third_began <= third
    store.finish("one", Outcome(OutcomeKind.UNRESOLVED, "again"))
    assert store.runs("one")[2] == (third_began, third)
