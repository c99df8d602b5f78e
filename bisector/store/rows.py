# SPDX-License-Identifier: GPL-2.0-only
"""What the store gives of a campaign: its row, and the line by which it is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bisector.model import Judgement, Outcome
from bisector.stage import CampaignState


class _ReadLate:
    """A field of a frozen row that may be given as a function: called when it is first looked at."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}"

    def __get__(self, row: object | None, owner: type) -> Outcome | None:
        if row is None:
            return None  # the field's default
        value: Outcome | Callable[[], Outcome | None] | None = vars(row)[self._slot]
        if callable(value):
            value = vars(row)[self._slot] = value()
        return value

    def __set__(self, row: object, value: Outcome | Callable[[], Outcome | None] | None) -> None:
        vars(row)[self._slot] = value


@dataclass(frozen=True)
class CampaignRow:
    """One campaign as stored. ``source``: the recipe as resolved.

    ``outcome`` holds every trial that it stands on, megabytes of JSON for a rare bug. The store gives a function that
    reads it, so that a campaign which is only looked up costs no more than its row.
    """

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
    state: CampaignState
    outcome: Outcome | None = _ReadLate()  # type: ignore[assignment]


@dataclass(frozen=True)
class CampaignSummary:
    """A campaign in a list. ``kind``: of its outcome, "" while it has none; ``summary``: the outcome in one sentence.

    Both are text as stored: a newer version may know kinds that this one does not.
    """

    id: str
    recipe: str
    title: str
    repo: str
    good: str
    bad: str
    state: str
    created: float
    find_fix: int  # 1 for a search for a fix
    kind: str
    summary: str


class TrialKey(NamedTuple):
    """What identifies a trial in its campaign. ``place``: trials of its image, question and stage before it."""

    image: str
    plan: str
    stage: str
    place: int


@dataclass(frozen=True)
class WorkRow:
    """What a slot did, where no trial records it.

    ``kind``: "build", "control boot", or "trial" of one that was broken off; ``label``: the candidate and what it was
    for; ``began`` and ``ended``: seconds since 1970; ``result``: "" for well, "failed", "stopped".
    """

    kind: str
    label: str
    slot: str
    worker: str
    began: float
    ended: float
    result: str = ""


@dataclass(frozen=True)
class StoredVerdict:
    """A verdict of any campaign of a recipe. ``source``: the recipe as that campaign resolved it; ``judgement`` comes
    without its trials; ``reproduced`` of ``conclusive`` trials reproduced.
    """

    source: str
    judgement: Judgement
    reproduced: int
    conclusive: int
