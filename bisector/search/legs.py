# SPDX-License-Identifier: GPL-2.0-only
"""Which candidates a proof tries against each other: the culprit, what bounds it, and its edits laid over the ends."""

from __future__ import annotations

from dataclasses import dataclass

from bisector.judge import Judge, Leg
from bisector.model import Candidate, Commit, Edit, TargetKind
from bisector.search.commits import SearchResult
from bisector.search.gitrepo import History
from bisector.search.knowledge import Knowledge


@dataclass(frozen=True)
class Legs:
    """The legs of one proof, and what cannot be one.

    Args:
        suspects: what the search left, newest first: one commit, or a set that cannot be told apart.
        new: the culprit, or the newest suspect.
        bad, good: legs that must be bad, and good; those of the culprit's own edits stand last.
        edited: how many of each those are.
        stand_ins: parents of a suspect that cannot be tried; a newer commit of the older side vouches for each.
        unchecked: what is not checked, in words.
    """

    suspects: tuple[Commit, ...]
    new: Leg
    bad: tuple[Leg, ...]
    good: tuple[Leg, ...]
    edited: tuple[int, int] = (0, 0)
    stand_ins: tuple[Commit, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def all_suspects(self) -> tuple[Commit, ...]:
        """What the proof cannot tell apart: law 3 makes a parent that cannot be tried as suspect as the culprit."""
        return (*self.suspects, *self.stand_ins)

    def is_edited(self, leg: Leg) -> bool:
        """Whether the leg is an end with the culprit's own edit."""
        bad, good = self.edited
        return any(leg is each for each in (*self.bad[len(self.bad) - bad :], *self.good[len(self.good) - good :]))


@dataclass(frozen=True)
class Gathering:
    """Makes the legs. ``old`` and ``new``: the ends; ``stage``: of this proof's trials."""

    judge: Judge
    known: Knowledge
    history: History
    old: Commit
    new: Commit
    find_fix: bool
    stage: str
    target: TargetKind

    def legs(self, found: SearchResult) -> Legs:
        """The legs of the proof of what a search found. Builds what is not built yet."""
        culprit = found.first_bad or self.history.commit(self.known.frontier.bad)
        suspects = found.suspects or (culprit,)
        new = self._leg(culprit, "culprit" if found.first_bad else "newest suspect")
        old, stand_ins, unchecked = self._bounds(suspects)
        bad, good = (old, [new]) if self.find_fix else ([new], old)
        edited = [0, 0]
        if len(suspects) == 1 and not stand_ins and old:
            for way, must_be_bad, words in self._ways(culprit):
                if isinstance(way, str) or way.untestable:
                    unchecked.append(f"{words}: {way if isinstance(way, str) else way.untestable}")
                    continue
                (bad if must_be_bad else good).append(way)
                edited[0 if must_be_bad else 1] += 1
        return Legs(suspects, new, tuple(bad), tuple(good), (edited[0], edited[1]), tuple(stand_ins), tuple(unchecked))

    def _bounds(self, suspects: tuple[Commit, ...]) -> tuple[list[Leg], list[Commit], list[str]]:
        """Parents of the suspects outside their set. One that cannot be tried is a suspect itself; the newer commit
        that vouches for it is tried in its place."""
        inside = {suspect.oid for suspect in suspects}
        parents = [oid for suspect in suspects for oid in suspect.parents if oid not in inside]
        legs: dict[str, Leg] = {}
        stand_ins: list[Commit] = []
        unchecked: list[str] = []
        for place, oid in enumerate(dict.fromkeys(parents), 1):
            parent, why = self.history.commit(oid), "it was skipped"
            if oid not in self.known.frontier.skips:
                leg = self._leg(parent, f"culprit^{place}" if len(suspects) == 1 else f"bound {place}")
                if not leg.untestable:
                    legs[oid] = leg
                    continue
                why = leg.untestable
            stand_ins.append(parent)
            cover = self.known.frontier.covering(oid, self.known.is_ancestor)
            vouching = self._leg(self.history.commit(cover), f"vouches for {oid[:12]}") if cover else None
            if vouching and not vouching.untestable:
                legs.setdefault(cover, vouching)
                unchecked.append(
                    f"the parent {parent} itself ({why}); {vouching.candidate.revision[:12]} vouches for it"
                )
            else:
                unchecked.append(f"the parent {parent} ({why}), and no newer commit that could be tried vouches for it")
        return list(legs.values()), stand_ins, unchecked

    def _ways(self, culprit: Commit) -> list[tuple[Leg | str, bool, str]]:
        """(leg, or why there is none; whether it must be bad; what it is, in words)."""
        ways: list[tuple[Leg | str, bool, str]] = []
        for kind, end, words in (("revert", self.new, "reverted on"), ("apply", self.old, "applied on")):
            label = "the good end" if (end is self.old) is not self.find_fix else "the bad end"
            told = f"the commit {words} {label}"
            must_be_bad = (kind == "apply") is not self.find_fix
            if len(culprit.parents) != 1:
                ways.append(("it is a merge" if culprit.parents else "it has no parent", must_be_bad, told))
                continue
            asked = Candidate(self.target, end.oid, (Edit(kind, culprit.oid),), label=label)
            ways.append((self.judge.leg(asked, self.known.case, self.stage, rounds=True), must_be_bad, told))
        return ways

    def _leg(self, commit: Commit, label: str) -> Leg:
        asked = Candidate(self.target, commit.oid, label=label)
        return self.judge.leg(asked, self.known.case, self.stage, rounds=True)
