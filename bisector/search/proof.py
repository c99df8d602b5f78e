# SPDX-License-Identifier: GPL-2.0-only
"""The proof of a culprit: it is bad and every one of its parents is good, each freshly tested (law 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bisector.direction import BUG, Direction
from bisector.model import Candidate, Commit, Edit, Judgement, TargetKind, Verdict


class Proven(StrEnum):
    """What the proof says of the culprit that the search named."""

    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not_confirmed"  # the culprit or a parent was judged otherwise than the search had it
    NARROWED = "narrowed"  # a parent cannot be judged, so it is as suspect as the culprit


@dataclass(frozen=True)
class Proof:
    """``judgements``: the culprit's, then its parents' in git's order, as far as they were needed.

    not_confirmed: ``against`` is the commit whose fresh verdict contradicts the search. narrowed: ``suspects`` are the
    culprit and the parents that cannot be judged.
    """

    kind: Proven
    summary: str
    judgements: tuple[Judgement, ...]
    against: Commit | None = None
    suspects: tuple[Commit, ...] = ()


def prove(
    culprit: Commit,
    ask_fresh: Callable[[Candidate], Judgement],
    *,
    lookup: Callable[[str], Commit],
    direction: Direction = BUG,
    edits: tuple[Edit, ...] = (),
    target: TargetKind = TargetKind.KERNEL_SOURCE,
) -> Proof:
    """Test the culprit against every parent, merged ones included, and stop at the first contradiction.

    Args:
        ask_fresh: judges a candidate by new trials, none of them from the search. What it raises comes out of here.
        lookup: id → commit, e.g. ``History.commit``.
        direction: of the search: the culprit must be as its new side, and the parents as its old one.
        edits: those that the search laid over every candidate.
    """
    before, after = direction.old, direction.new
    judgements: list[Judgement] = []

    def fresh(commit: Commit, label: str) -> Judgement:
        judgements.append(ask_fresh(Candidate(target, commit.oid, edits, label)))
        return judgements[-1]

    def not_confirmed(commit: Commit, label: str, wanted: Verdict) -> Proof:
        found = judgements[-1]
        summary = f"{label} {commit} was to be {wanted} and is {found.verdict} in fresh trials: {found.reason}"
        return Proof(Proven.NOT_CONFIRMED, summary, tuple(judgements), against=commit)

    if fresh(culprit, direction.change).verdict is not after:
        return not_confirmed(culprit, direction.change, after)
    untested: list[Commit] = []
    for number, oid in enumerate(culprit.parents, start=1):
        parent, label = lookup(oid), direction.parent(number)
        verdict = fresh(parent, label).verdict
        if verdict is after:
            return not_confirmed(parent, label, before)
        if verdict is not before:
            untested.append(parent)
    if untested:
        named = ", ".join(map(str, untested))
        summary = f"{culprit} is {after}, and whether it came with it is not known: no verdict for its parent {named}"
        return Proof(Proven.NARROWED, summary, tuple(judgements), suspects=(culprit, *untested))
    match len(culprit.parents):
        case 0:
            rest = "it has no parent"
        case 1:
            rest = f"its parent is {before}"
        case count:
            rest = f"each of its {count} parents is {before}"
    return Proof(Proven.CONFIRMED, f"{culprit} is {after} and {rest}, all freshly tested", tuple(judgements))
