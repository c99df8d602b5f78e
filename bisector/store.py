# SPDX-License-Identifier: GPL-2.0-only
"""The truth of all campaigns: one SQLite database, one writer per process, a folder per campaign for files.

Rows hold the frozen types of ``model`` as JSON. Everything else (progress, what was learnt, git's bisect state) is a
fold over these rows.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.agent.plan import dump, load
from bisector.errors import InfraError, UsageError
from bisector.model import BuildFailure, Candidate, Image, Judgement, Observation, Outcome, Reading, Trial

SCHEMA = """
create table if not exists campaigns(
  id text primary key, recipe text not null, title text not null, source text not null, repo text not null,
  good text not null, bad text not null, find_fix integer not null, cell text not null, created real not null,
  state text not null, outcome text);
create table if not exists builds(
  campaign text not null references campaigns(id), key text not null, candidate text not null, image text,
  failure text, at real not null, primary key (campaign, key));
create table if not exists trials(
  number integer primary key autoincrement, campaign text not null references campaigns(id), candidate text not null,
  image text not null, plan text not null, stage text not null, cell text not null, seed integer not null,
  reading text not null, observation text not null, folder text not null, ended real not null);
create index if not exists trials_by_question on trials(campaign, image, plan, stage);
create table if not exists judgements(
  number integer primary key autoincrement, campaign text not null references campaigns(id), stage text not null,
  asked text not null, judgement text not null, at real not null, unique (campaign, stage, asked));
create table if not exists nights(
  watch text not null, tag text not null, next text not null, began real not null, body text not null,
  primary key (watch, tag, next));
create table if not exists regressions(
  watch text not null, id text not null, body text not null, primary key (watch, id));
"""
VERSION = 1


@dataclass(frozen=True)
class CampaignRow:
    """One campaign as stored. ``state``: running, interrupted, failed, finished. ``source``: the recipe as resolved."""

    id: str
    recipe: str
    title: str
    source: str
    repo: str
    good: str
    bad: str
    find_fix: bool
    cell: str
    created: float
    state: str
    outcome: Outcome | None = None


class Store:
    """The database at ``folder/bisector.db`` and the campaigns' folders beside it.

    Raises InfraError, with what to do, whenever the disk or the database refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        with self._guard():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                folder / "bisector.db", timeout=30, check_same_thread=False, isolation_level=None
            )
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.execute("pragma foreign_keys=on")
            self._db.row_factory = sqlite3.Row
            self._open_version()

    def _open_version(self) -> None:
        (version,) = self._db.execute("pragma user_version").fetchone()
        if version not in (0, VERSION):
            raise InfraError(
                f"{self.folder}/bisector.db is of schema {version}, this version reads {VERSION}",
                hint="use that version, or move the folder away to start anew",
            )
        self._db.executescript(SCHEMA + f"pragma user_version={VERSION};")

    def close(self) -> None:
        """Close the database. The store cannot be used afterwards."""
        self._db.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as error:
            raise InfraError(
                f"the store in {self.folder} cannot be used: {error}",
                hint="free space or mend the folder's rights, then repeat the command; nothing finished is lost",
            ) from error

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        with self._guard():
            cursor = self._db.execute(statement, values)
            return cursor.lastrowid or 0

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        with self._guard():
            return self._db.execute(statement, values).fetchall()

    # ---- campaigns

    def campaign_folder(self, campaign: str) -> Path:
        """Where the campaign's files lie."""
        return self.folder / "campaigns" / campaign

    def add_campaign(self, row: CampaignRow) -> None:
        """Store a new campaign and make its folder."""
        self._write(
            "insert into campaigns values (?,?,?,?,?,?,?,?,?,?,?,null)",
            (row.id, row.recipe, row.title, row.source, row.repo, row.good, row.bad, int(row.find_fix), row.cell,
             row.created, row.state),
        )  # fmt: skip
        with self._guard():
            (self.campaign_folder(row.id) / "trials").mkdir(parents=True, exist_ok=True)

    def campaigns(self) -> tuple[CampaignRow, ...]:
        """All campaigns, oldest first."""
        return tuple(self._campaign(row) for row in self._rows("select * from campaigns order by created"))

    def campaign(self, prefix: str) -> CampaignRow:
        """The one campaign whose id starts with ``prefix``. Raises UsageError when none or several do."""
        found = [row for row in self.campaigns() if row.id.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        what = f"no campaign {prefix}" if not found else f"{prefix} names {len(found)} campaigns"
        raise UsageError(what, hint="'bisector campaigns' lists them")

    def newest_unfinished(
        self, recipe: str, repo: str, good: str, bad: str, find_fix: bool, *, source: str = ""
    ) -> CampaignRow | None:
        """The newest campaign of this question that has no outcome yet; what --resume goes on with.

        ``source``: the recipe as resolved; "" for whatever it is.
        """
        rows = self._rows(
            "select * from campaigns where recipe=? and repo=? and good=? and bad=? and find_fix=? and outcome is null "
            "and ? in (source, '') order by created desc",
            (recipe, repo, good, bad, int(find_fix), source),
        )
        return self._campaign(rows[0]) if rows else None

    def set_state(self, campaign: str, state: str) -> None:
        """Note that the campaign runs, was interrupted, or failed."""
        self._write("update campaigns set state=? where id=?", (state, campaign))

    def finish(self, campaign: str, outcome: Outcome) -> None:
        """Store the outcome; the campaign is finished."""
        self._write("update campaigns set state='finished', outcome=? where id=?", (dump(outcome), campaign))

    @staticmethod
    def _campaign(row: sqlite3.Row) -> CampaignRow:
        values = {name: row[name] for name in row.keys()}  # noqa: SIM118 (a Row iterates over values)
        outcome = load(Outcome, values["outcome"]) if values["outcome"] else None
        return CampaignRow(**{**values, "find_fix": bool(values["find_fix"]), "outcome": outcome})

    # ---- builds

    def add_build(self, campaign: str, key: str, candidate: Candidate, made: Image | BuildFailure) -> None:
        """Note what a candidate's build gave."""
        image, failure = (dump(made), None) if isinstance(made, Image) else (None, dump(made))
        self._write(
            "insert or replace into builds values (?,?,?,?,?,?)",
            (campaign, key, dump(candidate), image, failure, time.time()),
        )

    def build(self, campaign: str, key: str) -> Image | BuildFailure | None:
        """What the build called ``key`` gave in this campaign, None when it was not made."""
        rows = self._rows("select image, failure from builds where campaign=? and key=?", (campaign, key))
        if not rows:
            return None
        return load(Image, rows[0]["image"]) if rows[0]["image"] else load(BuildFailure, rows[0]["failure"])

    def images(self, campaign: str) -> tuple[Image, ...]:
        """The images that this campaign made or took, oldest first."""
        rows = self._rows("select image from builds where campaign=? and image is not null order by at", (campaign,))
        return tuple(load(Image, row["image"]) for row in rows)

    def builds(self, campaign: str) -> tuple[tuple[Candidate, Image | BuildFailure, float], ...]:
        """(candidate, what its build gave, when it was noted in seconds since 1970) in that order."""
        rows = self._rows("select candidate, image, failure, at from builds where campaign=? order by at", (campaign,))
        return tuple(
            (
                load(Candidate, row["candidate"]),
                load(Image, row["image"]) if row["image"] else load(BuildFailure, row["failure"]),
                row["at"],
            )
            for row in rows
        )

    # ---- trials

    def add_trial(self, campaign: str, trial: Trial) -> Trial:
        """Store a finished trial; gives it back with its number."""
        number = self._write(
            "insert into trials values (null,?,?,?,?,?,?,?,?,?,?,?)",
            (campaign, dump(trial.candidate), trial.image, trial.plan, trial.stage, trial.cell, trial.seed,
             dump(trial.reading), dump(trial.observation), trial.folder, time.time()),
        )  # fmt: skip
        return replace(trial, number=number)

    def set_reading(self, number: int, reading: Reading) -> None:
        """Give a stored trial the reading that was still to come (``Reading.awaits_control``)."""
        self._write("update trials set reading=? where number=?", (dump(reading), number))

    def trials(self, campaign: str, *, image: str = "", plan: str = "", stage: str = "") -> tuple[Trial, ...]:
        """Trials of the campaign in order, those of one image, question or stage when named."""
        wanted = [("image", image), ("plan", plan), ("stage", stage)]
        chosen = [(name, value) for name, value in wanted if value]
        clauses = "".join(f" and {name}=?" for name, _ in chosen)
        rows = self._rows(
            f"select * from trials where campaign=?{clauses} order by number",
            (campaign, *(value for _, value in chosen)),
        )
        return tuple(self._trial(row) for row in rows)

    def count_trials(self, campaign: str, image: str, plan: str, stage: str) -> int:
        """How many trials of one image, question and stage are stored."""
        rows = self._rows(
            "select count(*) from trials where campaign=? and image=? and plan=? and stage=?",
            (campaign, image, plan, stage),
        )
        return int(rows[0][0])

    @staticmethod
    def _trial(row: sqlite3.Row) -> Trial:
        return Trial(
            number=row["number"],
            candidate=load(Candidate, row["candidate"]),
            image=row["image"],
            plan=row["plan"],
            stage=row["stage"],
            cell=row["cell"],
            seed=row["seed"],
            reading=load(Reading, row["reading"]),
            observation=load(Observation, row["observation"]),
            folder=row["folder"],
        )

    def trial_ends(self, campaign: str) -> dict[int, float]:
        """When each trial was stored: number → seconds since 1970."""
        rows = self._rows("select number, ended from trials where campaign=?", (campaign,))
        return {row["number"]: row["ended"] for row in rows}

    # ---- judgements: a log for people; verdicts are folded from trials and builds

    def add_judgement(self, campaign: str, stage: str, judgement: Judgement) -> None:
        """Log a verdict; the same question asked again (on resume) only renews its line."""
        slim = replace(judgement, trials=())
        asked = dump(judgement.candidate) + judgement.cell
        self._write(
            "insert into judgements values (null,?,?,?,?,?) on conflict (campaign, stage, asked) do update set "
            "judgement=excluded.judgement",
            (campaign, stage, asked, dump(slim), time.time()),
        )

    def judgements(self, campaign: str) -> tuple[tuple[str, Judgement], ...]:
        """(stage, judgement) in the order in which they were reached."""
        rows = self._rows("select stage, judgement from judgements where campaign=? order by number", (campaign,))
        return tuple((row["stage"], load(Judgement, row["judgement"])) for row in rows)

    # ---- what a nightly watch remembers; bodies are nightly/memory.py's types as JSON

    def save_night(self, watch: str, tag: str, oid: str, began: float, body: str) -> None:
        """Store a night as it stands. ``oid``: the commit that its tag named; ``began``: seconds since 1970."""
        self._write("insert or replace into nights values (?,?,?,?,?)", (watch, tag, oid, began, body))

    def nights(self, watch: str) -> tuple[str, ...]:
        """The nights of a watch, oldest first."""
        return tuple(
            row["body"] for row in self._rows("select body from nights where watch=? order by began", (watch,))
        )

    def save_regression(self, watch: str, name: str, body: str) -> None:
        """Store a regression as it stands."""
        self._write("insert or replace into regressions values (?,?,?)", (watch, name, body))

    def regressions(self, watch: str) -> tuple[str, ...]:
        """The regressions that a watch has met."""
        return tuple(row["body"] for row in self._rows("select body from regressions where watch=?", (watch,)))
