# SPDX-License-Identifier: GPL-2.0-only
"""Which candidates a proof tries against each other: the culprit, what bounds it, and its edits laid over the ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bisector.direction import Direction
from bisector.judge import Judge
from bisector.model import BuildFailure, Candidate, Commit, Edit, EditKind, Image, TargetKind, Verdict
from bisector.search.commits import SearchResult
from bisector.search.gitrepo import History
from bisector.search.knowledge import Knowledge
from bisector.series import TrialSeries

Ready = Callable[[TrialSeries], None]
"""Called with an arm whose image is made, while others are still to be built."""


@dataclass(frozen=True)
class Unchecked:
    """What a proof does not check, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class UncheckedParent:
    """A parent that cannot be tried. ``vouching``: the newer commit of the old side that is tried in its place."""

    parent: Commit
    why: str
    vouching: Candidate | None = None

    def __str__(self) -> str:
        if self.vouching is None:
            return f"the parent {self.parent} ({self.why}), and no newer commit that could be tried vouches for it"
        return (
            f"the parent {self.parent} itself ({self.why}); {self.vouching.revision[:12]} vouches for it, unless it "
            "changed twice between the two"
        )


@dataclass(frozen=True)
class Arms:
    """The arms of one proof, and what cannot be one.

    Args:
        suspects: what the search left, newest first: one commit, or a set that cannot be distinguished.
        new: the culprit, or the newest suspect.
        bad, good: arms that must be bad, and good; those of the culprit's own edits stand last.
        edited: how many of each those are.
        stand_ins: parents of a suspect that cannot be tried, each with what below it nothing of the old side holds. A
            newer commit of the old side vouches for a parent, where there is one.
        unchecked: what is not checked.
    """

    suspects: tuple[Commit, ...]
    new: TrialSeries
    bad: tuple[TrialSeries, ...]
    good: tuple[TrialSeries, ...]
    edited: tuple[int, int] = (0, 0)
    stand_ins: tuple[Commit, ...] = ()
    unchecked: tuple[Unchecked | UncheckedParent, ...] = ()

    @property
    def all_suspects(self) -> tuple[Commit, ...]:
        """What the proof cannot tell apart: law 3 makes a parent that cannot be tried as suspect as the culprit."""
        return tuple({commit.oid: commit for commit in (*self.suspects, *self.stand_ins)}.values())

    def is_edited(self, arm: TrialSeries) -> bool:
        """Whether the arm is an end with the culprit's own edit."""
        bad, good = self.edited
        return any(arm is each for each in (*self.bad[len(self.bad) - bad :], *self.good[len(self.good) - good :]))


@dataclass(frozen=True)
class EndEdit:
    """The culprit's own edit laid over an end.

    Args:
        candidate: the end with the edit.
        must_be_bad: whether it has to reproduce.
        words: what it is, for people.
        unfit: why there is nothing to try, None where there is.
    """

    candidate: Candidate
    must_be_bad: bool
    words: str
    unfit: str | None = None


@dataclass(frozen=True)
class ProofPlanner:
    """Makes the arms. ``old`` and ``new``: the ends; ``stage``: of this proof's trials.

    ``paths``: where the change is assumed to lie; nothing outside of them is a suspect.
    """

    judge: Judge
    known: Knowledge
    history: History
    old: Commit
    new: Commit
    direction: Direction
    stage: str
    target: TargetKind
    paths: tuple[str, ...] = ()
    ready: Ready = lambda arm: None

    def arms(self, found: SearchResult, ready: Ready = lambda arm: None) -> Arms:
        """The arms of the proof of what a search found. Builds what is not built yet; ``ready`` is called with each arm
        that is built."""
        planner = replace(self, ready=ready)
        return planner._arms(found)

    def _arms(self, found: SearchResult) -> Arms:
        culprit = found.first_bad or self.history.commit(self.known.frontier.first_new)
        suspects = found.suspects or (culprit,)
        new = self._arm(culprit, self.direction.change if found.first_bad else "newest suspect")
        old, stand_ins, parents = self._bounds(suspects)
        unchecked: list[Unchecked | UncheckedParent] = [*parents]
        good, bad = self.direction.good_bad(old, [new])
        edited = [0, 0]
        if len(suspects) == 1 and not stand_ins and old:
            for way in self.ways(culprit):
                if way.unfit is not None:
                    unchecked.append(Unchecked(way.words, way.unfit))
                    continue
                arm = self._series(way.candidate)
                if arm.untestable:
                    unchecked.append(Unchecked(way.words, arm.untestable))
                    continue
                (bad if way.must_be_bad else good).append(arm)
                edited[0 if way.must_be_bad else 1] += 1
        return Arms(suspects, new, tuple(bad), tuple(good), (edited[0], edited[1]), tuple(stand_ins), tuple(unchecked))

    def _bounds(self, suspects: tuple[Commit, ...]) -> tuple[list[TrialSeries], list[Commit], list[UncheckedParent]]:
        """Parents of the suspects outside their set. One that cannot be tried is a suspect itself; the newer commit
        that vouches for it is tried in its place."""
        inside = {suspect.oid for suspect in suspects}
        parents = [oid for suspect in suspects for oid in suspect.parents if oid not in inside]
        arms: dict[str, TrialSeries] = {}
        stand_ins: list[Commit] = []
        unchecked: list[UncheckedParent] = []
        for place, oid in enumerate(dict.fromkeys(parents), 1):
            parent, why = self.history.commit(oid), "it cannot be judged"
            if oid not in self.known.frontier.skips:
                arm = self._arm(parent, self.direction.parent(place) if len(suspects) == 1 else f"bound {place}")
                if not arm.untestable:
                    arms[oid] = arm
                    continue
                why = arm.untestable
            stand_ins += [parent, *self.open_below(oid)]
            cover = self.known.frontier.covering(oid, self.known.is_ancestor)
            vouching = self._arm(self.history.commit(cover), f"vouches for {oid[:12]}") if cover else None
            if vouching and not vouching.untestable:
                arms.setdefault(cover, vouching)
                unchecked.append(UncheckedParent(parent, why, vouching.candidate))
            else:
                unchecked.append(UncheckedParent(parent, why))
        return list(arms.values()), stand_ins, unchecked

    def open_below(self, oid: str) -> tuple[Commit, ...]:
        """Commits that a commit holds and that nothing of the old side holds: with it they are suspect.

        None after a search among all commits, which asks until each is held. A search among first parents never asks
        for what a merge brought in.
        """
        return self.history.left(oid, self.known.frontier.old, self.paths)

    def ways(self, culprit: Commit) -> list[EndEdit]:
        """The culprit reverted on the end that has it and applied on the end that has not, as far as that is a change
        to the end. Builds them."""
        ways = []
        search = self.direction
        for kind, end, side, wanted, words in (
            (EditKind.REVERT, self.new, search.new, search.old, "reverted on"),
            (EditKind.APPLY, self.old, search.old, search.new, "applied on"),
        ):
            label = f"the {side} end"
            way = EndEdit(
                Candidate(self.target, end.oid, (Edit(kind, culprit.oid),), label=label),
                must_be_bad=wanted is Verdict.BAD,
                words=f"the commit {words} {label}",
            )
            ways.append(replace(way, unfit=self._unfit(way, culprit, end, label)))
        return ways

    def _unfit(self, way: EndEdit, culprit: Commit, end: Commit, label: str) -> str | None:
        """Why an edit says nothing: it cannot be made, or leaves the end as it is. None where it says something."""
        if len(culprit.parents) != 1:
            return "it is a merge" if culprit.parents else "it has no parent"
        held = self.known.is_ancestor(culprit.oid, end.oid)
        if held is (end is self.old):
            return f"{label} holds it already" if held else f"{label} does not hold it"
        edited, plain = (self._image(each) for each in (way.candidate, replace(way.candidate, edits=())))
        if isinstance(edited, Image) and isinstance(plain, Image) and edited.identity == plain.identity:
            return f"it changes nothing in what is built of {label}"
        return None

    def _image(self, candidate: Candidate) -> Image | BuildFailure:
        return self.judge.image(self.judge.with_fixups(candidate), self.stage)

    def _arm(self, commit: Commit, label: str) -> TrialSeries:
        return self._series(Candidate(self.target, commit.oid, label=label))

    def _series(self, candidate: Candidate) -> TrialSeries:
        made = self.judge.series(candidate, self.known.case, self.stage, in_turns=True)
        self.ready(made)
        return made
