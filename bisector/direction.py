# SPDX-License-Identifier: GPL-2.0-only
"""Which way a search looks, where a bug came from or what fixed it: its ends, git's words, and ours. Pure.

git knows an old and a new side, and looks for the first commit of the new one (git-bisect(1), "Alternate terms"). A
search for a bug has good on the old side, a search for a fix has bad there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from bisector.exitcodes import GitCode
from bisector.model import Outcome, OutcomeKind, Signal, Verdict

End = TypeVar("End")
"""Whatever stands for one of the two ends: a commit, a candidate, a judgement, a name."""


@dataclass(frozen=True)
class Direction:
    """One direction of a search.

    Args:
        find_fix: whether it looks for the commit that fixed the bug.
        old, new: verdict of the commits before the one that is searched for, and from it on.
        git_old, git_new: what git calls the two sides. It does not take "bad" for the old one.
        change: what the commit is called that is searched for.
        lead: of a headline that names it.
        heading: of a section that names it.
        set_heading: of a section that lists commits among which it is.
        sides: what bad and good candidates of a search for a fix have: the bug still, or no more; else "".
    """

    find_fix: bool
    old: Verdict
    new: Verdict
    git_old: str
    git_new: str
    change: str
    lead: str
    heading: str
    set_heading: str
    sides: tuple[str, str] = ("", "")

    def old_new(self, good: End, bad: End) -> tuple[End, End]:
        """The ends as (old, new)."""
        return (good, bad) if self.old is Verdict.GOOD else (bad, good)

    def good_bad(self, old: End, new: End) -> tuple[End, End]:
        """The ends as (good, bad)."""
        return (old, new) if self.old is Verdict.GOOD else (new, old)

    @property
    def swap_hint(self) -> str:
        """What to do where the old end is the newer commit."""
        return (
            "without --find-fix, bad must be the newer one" if self.find_fix else "swap them, or search with --find-fix"
        )

    def code(self, verdict: Verdict) -> GitCode:
        """Exit code that says a verdict to `git bisect run`: 0 is the old side, 1 the new one."""
        return {self.old: GitCode.GOOD, self.new: GitCode.BAD}.get(verdict, GitCode.SKIP)

    def git_word(self, verdict: Verdict) -> str:
        """How git's log names a verdict."""
        return {self.old: self.git_old, self.new: self.git_new}.get(verdict, "skip")

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

    def with_side(self, seen: Verdict | Signal) -> str:
        """A verdict or a signal, with the side that it stands for."""
        side = self.side(seen)
        return f"{seen.value} ({side})" if side else seen.value


BUG = Direction(False, Verdict.GOOD, Verdict.BAD, "good", "bad", "culprit", "First bad commit: ", "Culprit", "Suspects")
FIX = Direction(
    True, Verdict.BAD, Verdict.GOOD, "broken", "fixed", "fix", "Fixed by ", "Fixed by", "Fixed by one of",
    ("still there", "gone"),
)  # fmt: skip


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
