# SPDX-License-Identifier: GPL-2.0-only
"""Stores of other versions: an older one is brought to today's schema, a newer one is refused by name."""

import gzip
import json
import multiprocessing
import sqlite3
import stat
from pathlib import Path

import pytest

from bisector import __version__
from bisector.cli import main
from bisector.errors import InfraError
from bisector.exitcodes import ExitCode
from bisector.model import OutcomeKind, Verdict
from bisector.nightly.state import nights_of
from bisector.store import Store, schema

DATA = Path(__file__).parent / "data"


def old(folder: Path, version: int) -> Path:
    """A database as a released version wrote it (two acted campaigns, one of them interrupted)."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "bisector.db"
    file.write_bytes(gzip.decompress((DATA / f"version-{version}.db.gz").read_bytes()))
    return file


def tables(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "bisector.db") as db:
        return {sql for (sql,) in db.execute("select sql from sqlite_master where sql is not null")}


def test_a_store_of_version_1_is_brought_to_today(tmp_path: Path) -> None:
    old(tmp_path, 1)
    store = Store(tmp_path)
    first, second = store.listed()
    assert (first.kind, first.state, second.kind, second.state) == ("culprit", "finished", "", "interrupted")
    whole = store.campaign(first.id)
    assert whole.outcome is not None
    assert whole.outcome.kind is OutcomeKind.CULPRIT
    assert first.summary == whole.outcome.summary
    assert len(store.trials(first.id)) == 31
    assert store.campaign(second.id).outcome is None
    assert (store.nights("w"), store.regressions("w")) == (("{}",), ("{}",))
    store.close()
    assert [each.id for each in Store(tmp_path).listed()] == [first.id, second.id]  # and is opened again


def test_a_night_of_version_2_is_read_under_todays_names(tmp_path: Path) -> None:
    old(tmp_path, 2)
    store = Store(tmp_path)
    (night,) = nights_of(store, "watch")
    assert night.finished == ("legs-1",)
    assert [(each.condition, each.conclusive, each.verdict) for each in night.answers] == [
        ("", 2, Verdict.BAD),
        ("leg-failed", 9, Verdict.GOOD),
    ]
    first = store.listed()[0]
    judged = store.campaign(first.id).outcome
    assert judged is not None
    assert judged.good is not None
    store.add_judgement(first.id, "ends", judged.good)
    store.add_judgement(first.id, "ends", judged.good)


def test_trials_that_version_4_ran_ahead_are_still_there(tmp_path: Path) -> None:
    old(tmp_path, 4)
    store = Store(tmp_path)
    first = store.listed()[0].id
    (ahead,) = store.trials_ahead(first)
    assert store.ends_ahead(first) == {ahead.folder: store.trial_ends(first)[store.trials(first)[0].number]}
    assert store.work(first) == ()


def test_a_campaign_of_version_5_has_its_work_and_no_runs(tmp_path: Path) -> None:
    old(tmp_path, 5)
    store = Store(tmp_path)
    first = store.listed()[0].id
    assert [(row.kind, row.ended - row.began) for row in store.work(first)] == [("build", 30)]
    assert store.runs(first) == ()


def test_each_version_has_a_database_of_its_own_to_be_tested_with() -> None:
    kept = {int(path.name.split("-")[1].split(".")[0]) for path in DATA.glob("version-*.db.gz")}
    assert kept == set(range(1, len(schema.MIGRATIONS)))


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_a_migrated_store_has_the_tables_of_a_new_one(tmp_path: Path, version: int) -> None:
    old(tmp_path / "old", version)
    Store(tmp_path / "old").close()
    Store(tmp_path / "new").close()
    with sqlite3.connect(tmp_path / "old/bisector.db") as one, sqlite3.connect(tmp_path / "new/bisector.db") as other:
        for table in (
            "campaigns",
            "builds",
            "trials",
            "judgements",
            "nights",
            "regressions",
            "meta",
            "endings",
            "trials_ahead",
            "work",
            "runs",
        ):
            columns = [db.execute(f"pragma table_info({table})").fetchall() for db in (one, other)]
            assert columns[0] == columns[1] != []


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old(tmp_path, 1)
    before = tables(tmp_path)

    def fails(db: sqlite3.Connection) -> None:
        db.execute("create table half(x)")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fails))
        with pytest.raises(InfraError, match="disk I/O error"):
            Store(tmp_path)
    assert tables(tmp_path) == before
    assert len(Store(tmp_path).listed()) == 2


def test_a_newer_store_is_refused_with_both_versions_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    Store(tmp_path / "bisector").close()
    with sqlite3.connect(tmp_path / "bisector/bisector.db") as db:
        db.execute("pragma user_version=99")
        db.execute("update meta set value='7.1.0' where name='version'")
    assert main(["campaigns"]) == ExitCode.INFRA
    said = capfd.readouterr().err
    assert "is of schema 99, written by bisector 7.1.0; this is bisector " + __version__ in said
    assert "use the version that wrote it" in said


def test_a_newer_store_that_names_nobody_is_refused_too(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "bisector.db") as db:
        db.execute("drop table meta")
        db.execute("pragma user_version=99")
    with pytest.raises(InfraError, match=f"reads schemas up to {len(schema.MIGRATIONS)}"):
        Store(tmp_path)


@pytest.mark.parametrize(
    "change", ["drop table endings", "alter table runs drop column ended", "alter table endings rename to other"]
)
def test_a_store_whose_tables_are_not_those_of_its_schema_is_refused_with_what_to_do(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A tree between two versions may have written it; a campaign is not to begin and then fail."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    Store(tmp_path / "bisector").close()
    with sqlite3.connect(tmp_path / "bisector/bisector.db") as db:
        db.execute(change)
    assert main(["campaigns"]) == ExitCode.INFRA
    said = capfd.readouterr().err
    assert "no released version" in said
    assert "move the database away" in said and "free space" not in said


def test_a_file_that_is_no_database_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "bisector").mkdir()
    (tmp_path / "bisector/bisector.db").write_bytes(b"not SQLite's" * 1000)
    assert main(["campaigns"]) == ExitCode.INFRA
    said = capfd.readouterr().err
    assert "cannot be used: file is not a database" in said
    assert "move the database away" in said and "free space" not in said


@pytest.mark.parametrize("changes", [{"a_field_of_the_next_version": 1}, {"kind": "enlightened"}])
def test_what_a_newer_version_wrote_into_an_outcome_is_an_error_with_a_hint_and_lists_still_work(
    tmp_path: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    old(tmp_path / "bisector", 1)
    with sqlite3.connect(tmp_path / "bisector/bisector.db") as db:
        (name, text), *_ = db.execute("select id, outcome from campaigns where outcome is not null").fetchall()
        db.execute("update campaigns set outcome=? where id=?", (json.dumps(json.loads(text) | changes), name))
    assert main(["campaigns"]) == ExitCode.OK
    assert name in capfd.readouterr().out
    assert main(["report", name]) == ExitCode.INFRA
    said = capfd.readouterr().err
    assert f"the outcome of campaign {name} cannot be read: " in said
    assert "use the newer of the two" in said
    assert "unexpected" not in said


def open_once(folder: str) -> str:
    try:
        Store(Path(folder)).close()
    except InfraError as error:
        return error.what
    return ""


def test_many_first_commands_at_once_all_open_the_store(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(6) as pool:
        for number in range(15):
            assert set(pool.map(open_once, [str(tmp_path / str(number))] * 6, chunksize=1)) == {""}


def test_nobody_else_reads_the_store_and_an_old_one_is_tightened(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / str(number)
        if number == 1:
            old(folder, 1).chmod(0o644)
            folder.chmod(0o755)
        store = Store(folder)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.glob("bisector.db*"))}
        store.close()
        assert modes.pop(str(number)) == 0o700
        assert set(modes.values()) == {0o600}
