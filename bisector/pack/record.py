# SPDX-License-Identifier: GPL-2.0-only
"""What was recorded of one campaign, as one frozen type that goes into an export and comes out of it again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bisector.codec import DecodeError, dump, load
from bisector.model import BuildFailure, Candidate, Image, Judgement, Trial
from bisector.store import CampaignRow, Store


@dataclass(frozen=True)
class Build:
    """What a candidate's build gave: one of ``image`` and ``failure``. ``at``: seconds since 1970."""

    candidate: Candidate
    at: float
    image: Image | None = None
    failure: BuildFailure | None = None


@dataclass(frozen=True)
class VerdictLine:
    """A line of the verdict log."""

    stage: str
    judgement: Judgement


@dataclass(frozen=True)
class Record:
    """One campaign: its row with the outcome, builds, trials and verdicts in order."""

    campaign: CampaignRow
    builds: tuple[Build, ...]
    trials: tuple[Trial, ...]
    verdicts: tuple[VerdictLine, ...]

    def images(self) -> dict[str, Image]:
        """Images by identity, as recorded; their paths are those of the machine that made them, or empty."""
        return {build.image.identity: build.image for build in self.builds if build.image}


def of_campaign(store: Store, row: CampaignRow) -> Record:
    """Read one campaign's record from the store."""
    builds = tuple(
        Build(candidate, at, made, None) if isinstance(made, Image) else Build(candidate, at, None, made)
        for candidate, made, at in store.builds(row.id)
    )
    verdicts = tuple(VerdictLine(stage, judgement) for stage, judgement in store.judgements(row.id))
    return Record(row, builds, store.trials(row.id), verdicts)


@dataclass(frozen=True)
class UnusedTrials:
    """Trials that ran ahead and that no decision looked at, apart from the record: nothing is decided by them."""

    trials: tuple[Trial, ...]


def without_paths(record: Record) -> Record:
    """The record less the paths of our cache, which say nothing on another machine."""
    return replace(record, builds=tuple(_bare(build) for build in record.builds))


def _bare(build: Build) -> Build:
    if build.image:
        return replace(build, image=replace(build.image, kernel="", modules="", config="", programs=""))
    return replace(build, failure=replace(build.failure, log="") if build.failure else None)


def text(record: Record | UnusedTrials) -> bytes:
    """As indented JSON."""
    return dump(record, indent=1).encode() + b"\n"


def parse(data: bytes) -> Record:
    """Read ``text`` back. Raises DecodeError."""
    record = load(Record, data)
    for build in record.builds:
        if (build.image is None) is (build.failure is None):
            raise DecodeError("a build has neither image nor failure, or both")
    return record
