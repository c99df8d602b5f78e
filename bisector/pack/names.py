# SPDX-License-Identifier: GPL-2.0-only
"""The names that an export brings along, each held to what we would have called it ourselves. Pure.

They go into paths, into the store and onto a terminal; a record that holds another one is refused as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bisector.codec import DecodeError
from bisector.model import Candidate, Image, Judgement, Trial
from bisector.pack.record import Record
from bisector.printable import is_line
from bisector.recipe.values import FILE_NAME, MAX_FILE_NAME
from bisector.store import CampaignRow

_HEX = "[0-9a-f]{1,64}"
_FORMS = {
    "campaign": r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}",
    "recipe": rf"(?!.{{{MAX_FILE_NAME + 1}}}){FILE_NAME}",
    "stage": r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    "word": r"[a-z_]{1,20}",
    "identity": f"(?:{_HEX})?",  # of an image or a question; "" where there is none
    "commit": r"[0-9a-f]{40}|[0-9a-f]{64}",
    "version": r"[A-Za-z0-9.+~-]{0,40}",
    "trial's folder": r"(?:\.\./[A-Za-z0-9][A-Za-z0-9._+-]{0,199}/)?trials/[A-Za-z0-9][A-Za-z0-9._+-]{0,199}",
}
_LINE = 4096  # characters of what people read on one line: a revision, a title, a cell, a path of the recording host
SOURCE = 1 << 20  # characters of a recipe
YEAR_10000 = 253402300800.0  # seconds since 1970


@dataclass(frozen=True)
class _Name:
    """One name of a record. ``form``: a key of ``_FORMS``, or "line"."""

    place: str
    form: str
    value: str


def check(record: Record) -> None:
    """Raise DecodeError for the first name of a record that is not of its form."""
    for name in (*_of_campaign(record.campaign), *_of_builds(record), *_of_trials(record), *_of_verdicts(record)):
        if not fits(name.form, name.value):
            raise DecodeError(f"{name.place}: {name.value[:60]!a} is not the name of a {name.form}")
    if len(record.campaign.source) > SOURCE:
        raise DecodeError(f"campaign.source: more than {SOURCE >> 20} MiB")
    if not 0 <= record.campaign.created < YEAR_10000:
        raise DecodeError("campaign.created: not a time")


def fits(form: str, value: str) -> bool:
    """Whether a value has the form: one of ``_FORMS`` (no two dots behind each other but in its own place), or a line
    of printable text."""
    if form == "line":
        return len(value) <= _LINE and is_line(value)
    if form != "trial's folder" and ".." in value:
        return False
    return bool(re.fullmatch(_FORMS[form], value, re.ASCII))


def _of_campaign(row: CampaignRow) -> Iterator[_Name]:
    yield _Name("campaign.id", "campaign", row.id)
    yield _Name("campaign.recipe", "recipe", row.recipe)
    yield _Name("campaign.state", "word", row.state)
    for field in ("title", "repo", "good", "bad", "cell"):
        yield _Name(f"campaign.{field}", "line", getattr(row, field))
    if row.outcome:
        ends = [judgement for judgement in (row.outcome.good, row.outcome.bad) if judgement]
        for judgement in (*ends, *row.outcome.proof, *row.outcome.judgements):
            yield from _of_judgement("campaign.outcome", judgement)


def _of_builds(record: Record) -> Iterator[_Name]:
    for number, build in enumerate(record.builds):
        yield from _of_candidate(f"builds[{number}]", build.candidate)
        if build.image:
            yield from _of_image(f"builds[{number}].image", build.image)
        if build.failure:
            yield _Name(f"builds[{number}].failure.stage", "word", build.failure.stage)


def _of_image(place: str, image: Image) -> Iterator[_Name]:
    yield _Name(f"{place}.identity", "identity", image.identity)
    yield _Name(f"{place}.build_id", "identity", image.build_id)
    yield _Name(f"{place}.release", "line", image.release)


def _of_trials(record: Record) -> Iterator[_Name]:
    for number, trial in enumerate(record.trials):
        yield from _of_trial(f"trials[{number}]", trial)


def _of_trial(place: str, trial: Trial) -> Iterator[_Name]:
    yield from _of_candidate(place, trial.candidate)
    yield _Name(f"{place}.image", "identity", trial.image)
    yield _Name(f"{place}.plan", "identity", trial.plan)
    yield _Name(f"{place}.stage", "stage", trial.stage)
    yield _Name(f"{place}.cell", "line", trial.cell)
    yield _Name(f"{place}.folder", "trial's folder", trial.folder)


def _of_verdicts(record: Record) -> Iterator[_Name]:
    for number, verdict in enumerate(record.verdicts):
        yield _Name(f"verdicts[{number}].stage", "stage", verdict.stage)
        yield from _of_judgement(f"verdicts[{number}].judgement", verdict.judgement)


def _of_judgement(place: str, judgement: Judgement) -> Iterator[_Name]:
    yield from _of_candidate(place, judgement.candidate)
    yield _Name(f"{place}.image", "identity", judgement.image)
    yield _Name(f"{place}.plan", "identity", judgement.plan)
    yield _Name(f"{place}.cell", "line", judgement.cell)
    for number, trial in enumerate(judgement.trials):
        yield from _of_trial(f"{place}.trials[{number}]", trial)


def _of_candidate(place: str, candidate: Candidate) -> Iterator[_Name]:
    yield _Name(f"{place}.candidate.revision", "line", candidate.revision)
    yield _Name(f"{place}.candidate.label", "line", candidate.label)
    for edit in candidate.edits:
        yield _Name(f"{place}.candidate.edits", "word", edit.kind)
        yield _Name(f"{place}.candidate.edits", "commit", edit.commit)
