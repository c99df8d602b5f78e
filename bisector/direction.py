# SPDX-License-Identifier: GPL-2.0-only
"""Which way a search looks, where a bug came from or what fixed it, and the words that say so. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bisector.model import Outcome, OutcomeKind, Signal, Verdict


@dataclass(frozen=True)
class Direction:
    """The words of one direction.

    Args:
        change: what the commit is called that is searched for.
        lead: of a headline that names it.
        heading: of a section that names it.
        set_heading: of a section that lists commits among which it is.
        sides: what bad and good candidates of a search for a fix have: the bug still, or no more; else "".
    """

    change: str
    lead: str
    heading: str
    set_heading: str
    sides: tuple[str, str] = ("", "")

    def parent(self, number: int) -> str:
        """What the commit's parent is called, from 1."""
        return f"{self.change}^{number}"

    def kind(self, kind: OutcomeKind) -> str:
        """An outcome's kind as people read it."""
        return self.change if kind is OutcomeKind.CULPRIT else kind.value

    def side(self, seen: Verdict | Signal) -> str:
        """On which side of the fix a candidate or a trial stood; "" for one that could not tell, or where a bug's
        origin is searched for."""
        bad, good = self.sides
        return bad if seen in (Verdict.BAD, Signal.REPRODUCED) else good if seen in (Verdict.GOOD, Signal.CLEAN) else ""

    def told(self, seen: Verdict | Signal) -> str:
        """A verdict or a signal, with the side that it stands for."""
        side = self.side(seen)
        return f"{seen.value} ({side})" if side else seen.value


BUG = Direction("culprit", "First bad commit: ", "Culprit", "Suspects")
FIX = Direction("fix", "Fixed by ", "Fixed by", "Fixed by one of", ("still there", "gone"))


def direction(find_fix: bool) -> Direction:
    """The direction of a search."""
    return FIX if find_fix else BUG


def of_outcome(outcome: Outcome | None) -> Direction:
    """The direction of the search that an outcome is of."""
    return direction(outcome is not None and outcome.find_fix)


def place_of(label: str) -> int | None:
    """What a candidate's label says of its place: 0 for the commit that is searched for, its parent's number, else
    None. Campaigns of earlier versions call a fix "culprit"."""
    name, caret, number = label.partition("^")
    if name not in (BUG.change, FIX.change) or (caret and not number.isdecimal()):
        return None
    return int(number) if caret else 0
