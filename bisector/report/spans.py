# SPDX-License-Identifier: GPL-2.0-only
"""Where time went: what the slots did, from its true begin to its true end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bisector.model import BuildFailure, Candidate, Image, Trial
from bisector.store import WorkRow

STOPPED = "stopped"
"""How work ended that was broken off."""

Build = tuple[Candidate, Image | BuildFailure, float]
"""What the build of a candidate gave, and when it was noted in seconds since 1970."""


class SpanKind(StrEnum):
    """What took time."""

    BUILD = "build"
    TRIAL = "trial"
    CONTROL = "control boot"  # of a kernel that should boot, beside one that did not; no trial


@dataclass(frozen=True)
class Span:
    """Where time went: a build or a run of a VM from ``begin`` to ``end``, in seconds since the campaign began.

    ``slot`` that it ran in and ``worker``, the machine: "" where that was not recorded, or for the campaign's own host.
    ``needed``: not so of a trial that ran ahead and that no decision has looked at.
    """

    kind: SpanKind
    label: str
    begin: float
    end: float
    ended: str = ""  # a trial's signal, failed for a build that failed, STOPPED for what was broken off
    slot: str = ""
    worker: str = ""
    needed: bool = True


@dataclass(frozen=True)
class Times:
    """What a store says of times. ``ends``: of trials by number, ``ends_ahead``: of trials that were not needed, by
    folder, both in seconds since 1970; ``work``: builds, and work that no trial records."""

    ends: Mapping[int, float]
    ends_ahead: Mapping[str, float]
    work: Sequence[WorkRow] = ()


def spans(
    created: float, trials: Sequence[Trial], ahead: Sequence[Trial], builds: Iterable[Build], times: Times
) -> tuple[Span, ...]:
    """Builds, trials and control boots in the order in which they began.

    What came from the cache, or from another campaign, took no time here.

    Args:
        created: when the campaign began, in seconds since 1970.
        ahead: trials that ran and were not needed.
    """
    own = [trial for trial in trials if trial.number in times.ends and not trial.taken_from]
    found = [_of_trial(trial, times.ends[trial.number] - created) for trial in own]
    for trial in ahead:
        if trial.folder not in times.ends_ahead:  # a decision has looked at it since
            continue
        span = _of_trial(trial, times.ends_ahead[trial.folder] - created)
        found.append(replace(span, label=f"{span.label}, not needed", needed=False))
    found += [_of_work(row, created) for row in times.work]
    if not any(row.kind == SpanKind.BUILD for row in times.work):
        found += _estimated(builds, found, created)
    return tuple(sorted(found, key=lambda span: (span.begin, span.end)))


def _of_trial(trial: Trial, end: float) -> Span:
    seen = trial.observation
    begin, label = max(0.0, end - seen.timing.total), f"{trial.candidate}, {trial.stage}"
    return Span(SpanKind.TRIAL, label, begin, max(begin, end), trial.reading.signal.value, seen.slot, seen.worker)


def _of_work(row: WorkRow, created: float) -> Span:
    begin = max(0.0, row.began - created)
    end = max(begin, row.ended - created)
    return Span(SpanKind(row.kind), row.label, begin, end, row.result, row.slot, row.worker)


def _estimated(builds: Iterable[Build], trials: Iterable[Span], created: float) -> Iterator[Span]:
    """Builds of a campaign that did not note when they began: one after the other, none beside a trial."""
    ends = sorted(span.end for span in trials)
    clock = 0.0
    for candidate, made, at in sorted(builds, key=lambda build: build[2]):
        end = max(clock, at - created)
        before = max((each for each in ends if each <= end), default=0.0)
        begin = min(end, max(clock, before, end - made.seconds))
        yield Span(SpanKind.BUILD, str(candidate), begin, end, "failed" if isinstance(made, BuildFailure) else "")
        clock = end
