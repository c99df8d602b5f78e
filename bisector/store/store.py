# SPDX-License-Identifier: GPL-2.0-only
"""The store: what goes into the database and comes out of it."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields, replace
from functools import partial
from pathlib import Path

from bisector.codec import dump
from bisector.errors import InfraError, UsageError
from bisector.model import BuildFailure, Candidate, Image, Judgement, Observation, Outcome, Reading, Signal, Trial
from bisector.stage import CampaignState
from bisector.store.database import Database
from bisector.store.rows import CampaignRow, CampaignSummary, StoredVerdict, TrialKey, WorkRow
from bisector.system.locks import locked

ROW = "id, recipe, title, source, repo, good, bad, find_fix, cell, created, state"
"""Columns of a campaign's row; its outcome is megabytes of JSON."""


class Store(Database):
    """The database at ``folder/bisector.db`` and the campaigns' folders beside it.

    Raises InfraError, with what to do, whenever the disk or the database refuses.
    """

    # ---- campaigns

    def campaign_folder(self, campaign: str) -> Path:
        """Where the campaign's files lie. Raises InfraError for an id that leads out of there."""
        if "/" in campaign or "\0" in campaign or campaign in ("", ".", ".."):
            raise InfraError(f"{campaign!a} cannot be the id of a campaign")
        return self.folder / "campaigns" / campaign

    def add_campaign(self, row: CampaignRow) -> CampaignRow:
        """Store a new campaign with its folder and recipe; gives the row back under an id that was free.

        The files come first, so there is never a row without its recipe. What a kill leaves is a folder without a row
        and without a trial; the next campaign of that name takes it.
        """
        with self._guard(), locked(self.folder / "campaigns.lock"):
            free = next(each for each in _numbered(row.id) if not self._taken(each))
            found, folder = replace(row, id=free), self.campaign_folder(free)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                (folder / "trials").mkdir(parents=True)
                (folder / "recipe.yaml").write_text(found.source, encoding="utf-8")
                self._insert(found)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return found

    def _taken(self, campaign: str) -> bool:
        trials = self.campaign_folder(campaign) / "trials"
        return self.has_campaign(campaign) or (trials.is_dir() and any(trials.iterdir()))

    def _insert(self, row: CampaignRow) -> None:
        self._write(
            f"insert into campaigns({ROW}) values (?,?,?,?,?,?,?,?,?,?,?)",
            (row.id, row.recipe, row.title, row.source, row.repo, row.good, row.bad, int(row.find_fix), row.cell,
             row.created, row.state),
        )  # fmt: skip

    def remove_campaign(self, campaign: str) -> None:
        """Take back a campaign that never began: its row and its folder."""
        with self._guard(), self._together():
            self._execute("delete from endings where campaign=?", (campaign,))
            self._execute("delete from runs where campaign=?", (campaign,))
            self._execute("delete from campaigns where id=?", (campaign,))
        shutil.rmtree(self.campaign_folder(campaign), ignore_errors=True)

    def has_campaign(self, campaign: str) -> bool:
        """Whether there is a campaign with exactly this id."""
        return bool(self._rows("select 1 from campaigns where id=?", (campaign,)))

    def campaigns(self, *, recipe: str = "") -> tuple[CampaignRow, ...]:
        """All campaigns, oldest first, or those of one recipe. An outcome is read when it is looked at."""
        clause, values = (" where recipe=?", (recipe,)) if recipe else ("", ())
        rows = self._rows(
            f"select {ROW}, outcome is not null as ended from campaigns{clause} order by created, rowid", values
        )
        return tuple(_campaign_row(row, partial(self._outcome, row["id"]) if row["ended"] else None) for row in rows)

    def listed(self) -> tuple[CampaignSummary, ...]:
        """A line for each campaign, oldest first."""
        names = ", ".join(field.name for field in fields(CampaignSummary) if field.name not in ("kind", "summary"))
        rows = self._rows(
            f"select {names}, coalesce(kind, '') as kind, coalesce(summary, '') as summary from campaigns "
            "left join endings on endings.campaign=campaigns.id order by created, campaigns.rowid"
        )
        return tuple(CampaignSummary(**dict(row)) for row in rows)

    def campaign(self, prefix: str) -> CampaignRow:
        """The campaign with this id, else the one whose id starts so. Raises UsageError when none or several do."""
        names = self._rows("select id from campaigns where id=?", (prefix,)) or self._rows(
            "select id from campaigns where substr(id, 1, ?)=?", (len(prefix), prefix)
        )
        if len(names) != 1:
            what = f"no campaign {prefix}" if not names else f"{prefix} names {len(names)} campaigns"
            raise UsageError(what, hint="'bisector campaigns' lists them")
        (row,) = self._rows(f"select {ROW}, outcome from campaigns where id=?", (names[0]["id"],))
        return _campaign_row(row, partial(self._parsed, row["id"], row["outcome"]))

    def newest_unfinished(
        self, recipe: str, repo: str, good: str, bad: str, find_fix: bool, *, source: str = ""
    ) -> CampaignRow | None:
        """The newest campaign of this question that has no outcome yet; what --resume goes on with.

        ``source``: the recipe as resolved; "" for whatever it is.
        """
        rows = self._rows(
            f"select {ROW} from campaigns where recipe=? and repo=? and good=? and bad=? and find_fix=? and "
            "outcome is null and ? in (source, '') order by created desc, rowid desc limit 1",
            (recipe, repo, good, bad, int(find_fix), source),
        )
        return _campaign_row(rows[0]) if rows else None

    def set_state(self, campaign: str, state: CampaignState) -> None:
        """Note that the campaign runs, was interrupted, or failed."""
        with self._guard(), self._together():
            self._execute("update campaigns set state=? where id=?", (state, campaign))
            if state is CampaignState.RUNNING:
                self._execute("insert into runs values (null,?,?,null)", (campaign, time.time()))
            else:
                self._end_run(campaign)

    def finish(self, campaign: str, outcome: Outcome) -> None:
        """Store the outcome; the campaign is finished."""
        text = dump(outcome)
        with self._guard(), self._together():
            self._execute("update campaigns set state='finished', outcome=? where id=?", (text, campaign))
            self._end_run(campaign)
            self._execute(
                "insert or replace into endings values (?,?,?)", (campaign, outcome.kind.value, outcome.summary)
            )

    def _end_run(self, campaign: str) -> None:
        """The newest run ends; those before it that have no end were killed."""
        newest = "select max(number) from runs where campaign=?"
        self._execute(f"update runs set ended=? where number=({newest}) and ended is null", (time.time(), campaign))

    def runs(self, campaign: str) -> tuple[tuple[float, float | None], ...]:
        """When commands began to work on the campaign, and ended: None for one that was killed, or works still.

        In order, in seconds since 1970; none for a test, and for a campaign of an earlier version.
        """
        rows = self._rows("select began, ended from runs where campaign=? order by number", (campaign,))
        return tuple((row["began"], row["ended"]) for row in rows)

    def _outcome(self, campaign: str) -> Outcome | None:
        (row,) = self._rows("select outcome from campaigns where id=?", (campaign,))
        return self._parsed(campaign, row["outcome"])

    def _parsed(self, campaign: str, text: str | None) -> Outcome | None:
        return self.read(Outcome, text, f"the outcome of campaign {campaign}") if text else None

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
        return self._made(campaign, rows[0])

    def forget_failures(self) -> None:
        """Forget which candidates could not be built, in campaigns that have not ended."""
        unfinished = "select id from campaigns where outcome is null"
        self._write(f"delete from builds where failure is not null and campaign in ({unfinished})", ())

    def images(self, campaign: str) -> tuple[Image, ...]:
        """The images that this campaign made or took, oldest first."""
        rows = self._rows("select image from builds where campaign=? and image is not null order by at", (campaign,))
        return tuple(self._of(campaign, Image, row["image"]) for row in rows)

    def builds(self, campaign: str) -> tuple[tuple[Candidate, Image | BuildFailure, float], ...]:
        """(candidate, what its build gave, when it was noted in seconds since 1970) in that order."""
        rows = self._rows("select candidate, image, failure, at from builds where campaign=? order by at", (campaign,))
        return tuple(
            (self._of(campaign, Candidate, row["candidate"]), self._made(campaign, row), row["at"]) for row in rows
        )

    def _made(self, campaign: str, row: sqlite3.Row) -> Image | BuildFailure:
        if row["image"]:
            return self._of(campaign, Image, row["image"])
        return self._of(campaign, BuildFailure, row["failure"])

    # ---- trials

    def add_trial(self, campaign: str, trial: Trial) -> Trial:
        """Store a finished trial; gives it back with its number."""
        values = (campaign, *_columns(trial), time.time())
        return replace(trial, number=self._write("insert into trials values (null,?,?,?,?,?,?,?,?,?,?,?)", values))

    # ---- trials that ran before anybody needed them

    def add_ahead(self, campaign: str, key: TrialKey, trial: Trial) -> None:
        """Keep a finished trial that no decision has looked at yet; one that is kept already stays."""
        self._write(
            "insert or ignore into trials_ahead values (?,?,?,?,?,?,?,?,?,?,?,?)",
            (campaign, key.place, *_columns(trial), time.time()),
        )

    def keys_ahead(self, campaign: str) -> tuple[TrialKey, ...]:
        """Which trials are kept that no decision has looked at."""
        rows = self._rows("select image, plan, stage, place from trials_ahead where campaign=?", (campaign,))
        return tuple(TrialKey(*row) for row in rows)

    def trials_ahead(self, campaign: str) -> tuple[Trial, ...]:
        """Trials that ran and were not needed; they have no number."""
        rows = self._rows(
            f"select 0 as number, {_COLUMNS} from trials_ahead where campaign=? order by ended", (campaign,)
        )
        return tuple(self._trial(row) for row in rows)

    def count_ahead(self, campaign: str, key: TrialKey) -> Trial:
        """Give a kept trial its number: from now on it counts."""
        where = "campaign=? and image=? and plan=? and stage=? and place=?"
        with self._guard(), self._together():
            number = self._execute(
                f"insert into trials({_COLUMNS}) select {_COLUMNS} from trials_ahead where {where}", (campaign, *key)
            ).lastrowid
            self._execute(f"delete from trials_ahead where {where}", (campaign, *key))
        (row,) = self._rows("select * from trials where number=?", (number,))
        return self._trial(row)

    def ends_ahead(self, campaign: str) -> dict[str, float]:
        """When each trial ended that ran and was not needed: its folder → seconds since 1970."""
        rows = self._rows("select folder, ended from trials_ahead where campaign=?", (campaign,))
        return {row["folder"]: row["ended"] for row in rows}

    def set_reading(self, number: int, reading: Reading) -> None:
        """Give a stored trial the reading that was still to come (``Reading.awaits_control``)."""
        self._write("update trials set reading=? where number=?", (dump(reading), number))

    def trials(
        self, campaign: str, *, image: str = "", plan: str = "", stage: str = "", after: int = 0
    ) -> tuple[Trial, ...]:
        """Trials of the campaign in order, those of one image, question or stage when named.

        ``after``: only those with a larger number; what a caller that knows the others pays for.
        """
        wanted = [("image", image), ("plan", plan), ("stage", stage)]
        chosen = [(name, value) for name, value in wanted if value]
        clauses = "".join(f" and {name}=?" for name, _ in chosen)
        rows = self._rows(
            f"select * from trials where campaign=?{clauses} and number>? order by number",
            (campaign, *(value for _, value in chosen), after),
        )
        return tuple(self._trial(row) for row in rows)

    def _trial(self, row: sqlite3.Row) -> Trial:
        read = partial(self._of, row["campaign"])
        return Trial(
            number=row["number"],
            candidate=read(Candidate, row["candidate"]),
            image=row["image"],
            plan=row["plan"],
            stage=row["stage"],
            cell=row["cell"],
            seed=row["seed"],
            reading=read(Reading, row["reading"]),
            observation=read(Observation, row["observation"]),
            folder=row["folder"],
        )

    def trial_ends(self, campaign: str) -> dict[int, float]:
        """When each trial was stored: number → seconds since 1970."""
        rows = self._rows("select number, ended from trials where campaign=?", (campaign,))
        return {row["number"]: row["ended"] for row in rows}

    # ---- what slots did besides: for people, nothing is decided by it

    def add_work(self, campaign: str, row: WorkRow) -> None:
        """Note what a slot did."""
        self._write("insert into work values (null,?,?,?,?,?,?,?,?)", (campaign, *astuple(row)))

    def work(self, campaign: str) -> tuple[WorkRow, ...]:
        """What slots did besides the trials, in the order in which it ended."""
        columns = ", ".join(field.name for field in fields(WorkRow))
        rows = self._rows(f"select {columns} from work where campaign=? order by ended", (campaign,))
        return tuple(WorkRow(*row) for row in rows)

    # ---- judgements: a log for people; verdicts are folded from trials and builds

    def add_judgement(self, campaign: str, stage: str, judgement: Judgement) -> None:
        """Log a verdict; the same question once more (on resume) only renews its line."""
        slim = replace(judgement, trials=())
        candidate = dump(judgement.candidate) + judgement.cell
        self._write(
            "insert into judgements values (null,?,?,?,?,?) on conflict (campaign, stage, candidate) do update set "
            "judgement=excluded.judgement",
            (campaign, stage, candidate, dump(slim), time.time()),
        )

    def judgements(self, campaign: str) -> tuple[tuple[str, Judgement], ...]:
        """(stage, judgement) in the order in which they were reached."""
        rows = self._rows("select stage, judgement from judgements where campaign=? order by number", (campaign,))
        return tuple((row["stage"], self._of(campaign, Judgement, row["judgement"])) for row in rows)

    def verdicts(self, recipe: str) -> tuple[StoredVerdict, ...]:
        """The verdicts of all campaigns of a recipe, the oldest campaign's first, with the counts of their trials."""
        counts = self._signals(recipe)
        rows = self._rows(
            "select c.id, c.source, j.stage, j.judgement from judgements j join campaigns c on c.id=j.campaign "
            "where c.recipe=? order by c.created, c.rowid, j.number",
            (recipe,),
        )
        found = []
        for row in rows:
            judged = self._of(row["id"], Judgement, row["judgement"])
            question = ("plan", judged.plan) if judged.plan else ("cell", judged.cell)
            seen = counts[(row["id"], row["stage"], judged.image, *question)] if judged.image else Counter()
            reproduced = seen[Signal.REPRODUCED]
            found.append(StoredVerdict(row["source"], judged, reproduced, reproduced + seen[Signal.CLEAN]))
        return tuple(found)

    def _signals(self, recipe: str) -> dict[tuple[str, ...], Counter[str]]:
        """(campaign, stage, image, "plan" or "cell", its value) → how many trials gave which signal."""
        rows = self._rows(
            "select t.campaign, t.stage, t.image, t.plan, t.cell, json_extract(t.reading, '$.signal') as signal, "
            "count(*) as trials from trials t join campaigns c on c.id=t.campaign where c.recipe=? "
            "group by 1, 2, 3, 4, 5, 6",
            (recipe,),
        )
        counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for row in rows:
            for question in ("plan", "cell"):
                key = (row["campaign"], row["stage"], row["image"], question, row[question])
                counts[key][row["signal"]] += row["trials"]
        return counts

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


_COLUMNS = "campaign, candidate, image, plan, stage, cell, seed, reading, observation, folder, ended"


def _columns(trial: Trial) -> tuple[object, ...]:
    """A trial as the database holds it, without its campaign, number and time."""
    return (
        dump(trial.candidate), trial.image, trial.plan, trial.stage, trial.cell, trial.seed, dump(trial.reading),
        dump(trial.observation), trial.folder,
    )  # fmt: skip


def _numbered(name: str) -> Iterator[str]:
    """The name, then NAME-2, NAME-3 ..."""
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def _campaign_row(row: sqlite3.Row, outcome: Callable[[], Outcome | None] | None = None) -> CampaignRow:
    values = {name: row[name] for name in ROW.split(", ")}
    values |= {"find_fix": bool(row["find_fix"]), "state": CampaignState(row["state"])}
    return CampaignRow(**values, outcome=outcome)  # type: ignore[arg-type]
