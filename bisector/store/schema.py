# SPDX-License-Identifier: GPL-2.0-only
"""The database's tables, and what makes those of an earlier version into those of today.

``pragma user_version`` holds the version of the schema: how many of ``MIGRATIONS`` were applied. A migration is never
changed once it was released; a new one goes behind it. tests/store/data holds databases as released versions wrote
them.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bisector import __version__
from bisector.errors import InfraError
from bisector.system.locks import locked

ANOTHER = "move the database away, or give another state folder by XDG_STATE_HOME, to begin anew"
"""What helps where a database is not to be used."""

BUSY = 30.0
"""Seconds for which a statement waits for another process's transaction."""


def connect(file: Path) -> sqlite3.Connection:
    """Open the database, made or brought to today's schema when needed.

    Many commands may begin at once in a folder that is new. SQLite's own locks do not cover the change to a write-ahead
    log (the second process fails at once, whatever its timeout), so our own lock is held while a database is opened.

    Raises InfraError for one of a newer version, sqlite3.Error and OSError.
    """
    with locked(file.with_name(f"{file.name}.lock")):
        _private(file)
        db = sqlite3.connect(file, timeout=BUSY, check_same_thread=False, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            _prepare(db, file)
        except BaseException:
            db.close()
            raise
    return db


def _private(file: Path) -> None:
    """Nobody else reads the database. SQLite gives the modes of its file to those that it lays beside it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _prepare(db: sqlite3.Connection, file: Path) -> None:
    (version,) = db.execute("pragma user_version").fetchone()
    if version > len(MIGRATIONS):
        raise InfraError(
            f"{file} is of schema {version}, written by {writer(db)}; this is bisector {__version__}, which reads "
            f"schemas up to {len(MIGRATIONS)}",
            hint=f"use the version that wrote it, or {ANOTHER}",
        )
    if db.execute("pragma journal_mode").fetchone()[0] != "wal":
        db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("pragma foreign_keys=on")
    if version < len(MIGRATIONS):
        migrate(db, version)
    if missing := sorted(_columns(_new()) - _columns(db)):
        raise InfraError(
            f"{file} says that it is of schema {len(MIGRATIONS)}, and has no {'.'.join(missing[0])}: no released "
            "version of bisector wrote it so",
            hint=ANOTHER,
        )
    _sign(db)


def _new() -> sqlite3.Connection:
    """A database of today's schema in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    migrate(db, 0)
    return db


def _columns(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Names of all tables, each with the names of its columns."""
    rows = db.execute(
        "select t.name as its, c.name as name from sqlite_master t, pragma_table_info(t.name) c where t.type='table'"
    )
    return {(row["its"], row["name"]) for row in rows}


def _sign(db: sqlite3.Connection) -> None:
    """Note the newest version of bisector that opened the database, so that older ones can name it."""
    known = db.execute("select value from meta where name='version'").fetchone()
    if known is None or _numbers(known["value"]) < _numbers(__version__):
        db.execute("insert or replace into meta values ('version', ?)", (__version__,))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def migrate(db: sqlite3.Connection, version: int, to: int | None = None) -> None:
    """Bring a database from schema ``version`` to ``to`` (today's), all or nothing."""
    db.execute("begin immediate")
    try:
        for step in MIGRATIONS[version:to]:
            step(db)
        db.execute(f"pragma user_version={to or len(MIGRATIONS)}")
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise


def writer(db: sqlite3.Connection) -> str:
    """Which version of bisector was the newest to open the database, for people."""
    try:
        row = db.execute("select value from meta where name='version'").fetchone()
    except sqlite3.Error:  # no such table: a schema of which we know nothing
        row = None
    return f"bisector {row[0]}" if row else "another version of bisector"


# ---- the schemas, oldest first


def _first(db: sqlite3.Connection) -> None:
    for statement in (
        "create table if not exists campaigns("
        " id text primary key, recipe text not null, title text not null, source text not null, repo text not null,"
        " good text not null, bad text not null, find_fix integer not null, cell text not null, created real not null,"
        " state text not null, outcome text)",
        "create table if not exists builds("
        " campaign text not null references campaigns(id), key text not null, candidate text not null, image text,"
        " failure text, at real not null, primary key (campaign, key))",
        "create table if not exists trials("
        " number integer primary key autoincrement, campaign text not null references campaigns(id),"
        " candidate text not null, image text not null, plan text not null, stage text not null, cell text not null,"
        " seed integer not null, reading text not null, observation text not null, folder text not null,"
        " ended real not null)",
        "create index if not exists trials_by_question on trials(campaign, image, plan, stage)",
        "create table if not exists judgements("
        " number integer primary key autoincrement, campaign text not null references campaigns(id),"
        " stage text not null, candidate text not null, judgement text not null, at real not null,"
        " unique (campaign, stage, candidate))",
        "create table if not exists nights("
        " watch text not null, tag text not null, next text not null, began real not null, body text not null,"
        " primary key (watch, tag, next))",
        "create table if not exists regressions("
        " watch text not null, id text not null, body text not null, primary key (watch, id))",
    ):
        db.execute(statement)


def _listed_apart(db: sqlite3.Connection) -> None:
    """What a list says of an outcome in a table of its own: in the campaign's row SQLite would find it behind the
    megabytes of the outcome. And who wrote this."""
    db.execute("create table meta(name text primary key, value text not null)")
    db.execute(
        "create table endings("
        " campaign text primary key references campaigns(id), kind text not null, summary text not null)"
    )
    for row in db.execute("select id, outcome from campaigns where outcome is not null").fetchall():
        try:
            outcome = json.loads(row["outcome"])
            ending = str(outcome["kind"]), str(outcome["summary"])
        except (ValueError, LookupError, TypeError, RecursionError):
            ending = "damaged", "its outcome cannot be read"
        db.execute("insert into endings values (?,?,?)", (row["id"], *ending))


NIGHT = {
    "answers", "base", "base_name", "began", "ended", "moved_from", "news", "next", "state", "stopped", "tag",
    "troubles", "used", "watch",
}  # fmt: skip
ANSWER = {
    "campaign", "candidate", "carried", "cell", "conditions", "key", "question", "reason", "recipe", "reproduced",
    "role", "sure", "verdict",
}  # fmt: skip
"""Keys of a night, and of its answers, that kept their names in version 3."""


def _plainer_names(db: sqlite3.Connection) -> None:
    """A column of judgements, two keys of a night's answer and one of the night itself got plainer names."""
    column = db.execute("pragma table_info(judgements)").fetchall()[3]["name"]
    if column != "candidate":
        db.execute(f'alter table judgements rename column "{column}" to candidate')
    for row in db.execute("select rowid, body from nights").fetchall():
        try:
            night: dict[str, Any] = _renamed(json.loads(row["body"]), NIGHT, ("finished",))
            night["answers"] = [_renamed(answer, ANSWER, ("condition", "conclusive")) for answer in night["answers"]]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue  # what reads the night says that it is damaged
        db.execute("update nights set body=? where rowid=?", (json.dumps(night, sort_keys=True), row["rowid"]))


def _renamed(record: dict[str, object], kept: set[str], names: tuple[str, ...]) -> dict[str, object]:
    """The record with its other keys renamed, in the order of the alphabet."""
    others = sorted(set(record) - kept)
    return {key: record[key] for key in record if key in kept} | {
        new: record[old] for old, new in zip(others, names, strict=True)
    }


def _trials_ahead(db: sqlite3.Connection) -> None:
    """Trials that ran before a decision looked at them, apart from those that count."""
    db.execute(
        "create table trials_ahead("
        " campaign text not null references campaigns(id), place integer not null, candidate text not null,"
        " image text not null, plan text not null, stage text not null, cell text not null, seed integer not null,"
        " reading text not null, observation text not null, folder text not null, ended real not null,"
        " primary key (campaign, image, plan, stage, place))"
    )


def _work(db: sqlite3.Connection) -> None:
    """What slots did that no trial records: builds, and work that was broken off."""
    db.execute(
        "create table work("
        " number integer primary key, campaign text not null references campaigns(id), kind text not null,"
        " label text not null, slot text not null, worker text not null, began real not null, ended real not null,"
        " result text not null)"
    )
    db.execute("create index work_of on work(campaign)")


def _runs(db: sqlite3.Connection) -> None:
    """When commands worked on a campaign; ``ended`` is null where one was killed, or works still."""
    db.execute(
        "create table runs("
        " number integer primary key, campaign text not null references campaigns(id), began real not null, ended real)"
    )
    db.execute("create index runs_of on runs(campaign)")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _first, _listed_apart, _plainer_names, _trials_ahead, _work, _runs,
)  # fmt: skip
