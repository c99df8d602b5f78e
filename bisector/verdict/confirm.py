# SPDX-License-Identifier: GPL-2.0-only
"""The proof's arithmetic: fresh trials of the culprit and its like against its parents and their like. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bisector.verdict.budget import RATE_PART, Stage
from bisector.verdict.chance import as_far_apart, too_few
from bisector.verdict.hiding import Sample, elsewhere, harness_odds, hidden_odds
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import Belief, Evidence, added, first, often_failed

REPRODUCTIONS = 5
"""Fresh reproductions that the culprit needs: they sharpen p_min, and show its difference from a parent."""

REFUTED = 3
"""Fresh reproductions that make a parent bad: one alone could be a background that the good end did not show."""

UNLIKE = 0.02
"""Chance (Fisher's exact test) at which a parent that reproduces differs from a bad candidate: it has a background."""

HIDDEN = math.log(30.0)
"""Odds at which other failures are taken for hidden reproductions, so that the arm cannot be judged."""

NOT_HIDDEN = math.log(100.0)
"""Odds at which they must speak against it for an arm to be good."""

HARNESS_NOT_HIDDEN = math.log(10.0)
"""The same for failures of the harness, which have the larger sample to be held against: both sides' (hiding.py). Once
a proof met failures that may hide the bug, and where the harness fails often, NOT_HIDDEN holds for them too. After as
many trials as are ever drawn this is enough where it fails often, and elsewhere they need only not speak for hidden
ones: so many of those would."""

OFTEN = 0.1
"""Part of the trials of known candidates that the harness failed, above which NOT_HIDDEN holds for its failures from
the start."""

HIDDEN_ERROR = 0.05
"""Chance that hidden reproductions are rarer than they are taken to be at least; it only matters where the search went
wrong and other failures are common."""


@dataclass(frozen=True)
class Draw:
    """Trials more by arm, to be drawn in turns: ``bad`` as the bad arms were given, ``good`` as the good ones.

    ``expected``: what will be wanted of either side if everything comes out as it must, where that is more.
    """

    bad: tuple[int, ...]
    good: tuple[int, ...]
    expected: tuple[tuple[int, ...], tuple[int, ...]] | None = field(default=None, compare=False)  # a hint


@dataclass(frozen=True)
class Confirmation:
    """Every arm that could be judged came out as wanted.

    Args:
        p_min: the guarantee holds for rates of reproduction at or above it.
        confidence: chance that the true rate is not below p_min.
        error: chance at most that the whole campaign prints a wrong commit, at rates at or above p_min or not.
        unjudged: places among the good arms that could not be judged (law 3: then it is ``narrowed``).
        unchecked: edited arms that could not be judged: (whether it is a bad arm, place). They block nothing.
    """

    p_min: float
    confidence: float
    error: float
    unjudged: tuple[int, ...] = ()
    unchecked: tuple[tuple[bool, int], ...] = ()


@dataclass(frozen=True)
class Contradiction:
    """A good arm is bad after all: the search erred. ``place``: which one.

    ``bad``: it is a bad arm that is good; only a rule that learns nothing says so.
    """

    place: int
    reason: str
    bad: bool = False


@dataclass(frozen=True)
class NewBackground:
    """An arm reproduced now or in the search, but far less often than a bad candidate does: good, with a background.

    ``bad``: it is among the bad arms (the culprit, then). Verdicts that stand on single reproductions are in doubt.
    """

    bad: bool
    place: int
    reason: str


@dataclass(frozen=True)
class NoVerdict:
    """A bad arm could not be judged: other failures, or too many trials. ``bad``: False where it is the fix itself."""

    place: int
    reason: str
    bad: bool = True


@dataclass(frozen=True)
class UnjudgedArms:
    """Of a rule that learns nothing: these arms could not be judged (whether it is a bad one, place), and the others
    came out as wanted. The culprit's edits are not tried then."""

    places: tuple[tuple[bool, int], ...]


@dataclass(frozen=True)
class EditContradiction:
    """The culprit stands against its parents, but an edited arm is not as it has to be: without it the bug is there
    still, or with it not yet. ``bad``: it is among the bad arms."""

    bad: bool
    place: int
    reason: str


Step = Draw | Confirmation | Contradiction | NewBackground | NoVerdict | UnjudgedArms | EditContradiction


def confirm(
    bad: Sequence[Evidence],
    good: Sequence[Evidence],
    belief: Belief,
    number: int,
    edited: tuple[int, int] = (0, 0),
) -> Step:
    """Whether the fresh trials of a proof are enough.

    Args:
        bad: fresh trials of the culprit, then of others that must be bad (the culprit applied on the good end).
        good: fresh trials of each parent (for a narrowed set: of each commit that bounds it), then of others that must
            be good (the culprit reverted on the bad end).
        belief: as the search left it.
        number: of this proof in the campaign, from 1.
        edited: how many of the last bad and of the last good arms are the culprit's own edits laid over an end. They
            are drawn with the rest, and count when culprit and parents are decided: what contradicts the search sends
            it on, whatever the edits say.

    The culprit must reproduce REPRODUCTIONS times, others that must be bad once. Every good arm must stay clean so
    often that one which reproduces at p_min would do so with the proof's share as chance; and the fresh trials
    alone must set it apart from the culprit (Fisher's exact test at the level of max_error). Its other failures must
    speak against hidden reproductions at odds of NOT_HIDDEN; while they do not, the culprit is drawn along, which shows
    how common they are where nothing is hidden. With a background rate each arm is a sequential probability ratio test
    between the bounds of both rates (Wald, 1945).
    """
    needs = _Needs(belief, bad[0], number)
    main_bad, main_good = len(bad) - edited[0], len(good) - edited[1]
    against = _against(bad[:main_bad], good, main_good, needs)
    if against:
        return against
    doubtful = [needs.in_doubt(evidence) for evidence in good]
    if any(doubtful):  # a good arm reproduced: whether it is bad or a background shows comes first
        return Draw((0,) * len(bad), tuple(doubtful))
    draw = _more(bad, good, main_bad, needs)
    if any(draw.bad) or any(draw.good):
        return draw
    unjudged = [place for place, evidence in enumerate(good) if needs.unjudged(evidence)]
    if all(place >= main_good for place in unjudged):
        for place, evidence in enumerate(good[main_good:], main_good):
            if needs.refuted(evidence):
                return EditContradiction(False, place, f"reproduced in {evidence.figures} fresh trials")
        for place, evidence in enumerate(bad[main_bad:], main_bad):
            if needs.is_good(evidence):
                return EditContradiction(True, place, f"reproduced in {evidence.figures} fresh trials")
    judged = [evidence for place, evidence in enumerate(good) if place not in unjudged]
    lost = [(True, place) for place, evidence in enumerate(bad) if not needs.enough_bad(place, evidence)]
    lost += [(False, place) for place in unjudged if place >= main_good]
    missing = tuple(place for place in unjudged if place < main_good)
    return Confirmation(needs.p_min, 1.0 - needs.rate_error, needs.error(judged), missing, tuple(lost))


def proof_trials(belief: Belief, number: int = 1) -> tuple[int, int]:
    """(reproductions of the culprit, clean trials of each parent) that a proof is going to need, as far as is known.

    The second figure assumes that the culprit reproduces as often as is expected, and that nothing fails otherwise.
    """
    clean = round(REPRODUCTIONS * belief.rate.all_trials / belief.rate.all_reproduced) - REPRODUCTIONS
    needs = _Needs(belief, Evidence(REPRODUCTIONS, clean), number)
    return REPRODUCTIONS, first(lambda count: needs.enough_good(Evidence(clean=count)), 2 * belief.trial_cap)


def _more(bad: Sequence[Evidence], good: Sequence[Evidence], main_bad: int, needs: _Needs) -> Draw:
    """What every arm still needs; nothing where it is decided, either way."""
    more_bad = [
        0
        if place >= main_bad and (needs.is_good(evidence) or needs.failing(evidence))
        else needs.more_bad(place, evidence)
        for place, evidence in enumerate(bad)
    ]
    pace = bad[0].conclusive + more_bad[0] if more_bad[0] else 0
    open_arms = [not (needs.unjudged(evidence) or needs.refuted(evidence)) for evidence in good]
    more_good = [
        needs.more_good(evidence, pace) if still else 0 for evidence, still in zip(good, open_arms, strict=True)
    ]
    if not pace:
        behind = [
            min(more, evidence.conclusive + more - bad[0].conclusive)
            for evidence, more in zip(good, more_good, strict=True)
            if more and needs.only_hidden(evidence)
        ]
        more_bad[0] = max([0, *behind])
    return Draw(tuple(more_bad), tuple(more_good))


def _against(bad: Sequence[Evidence], good: Sequence[Evidence], main_good: int, needs: _Needs) -> Step | None:
    """What ends the proof against the search, None when nothing does."""
    for place, evidence in enumerate(good):
        if place < main_good and needs.refuted(evidence):
            return Contradiction(place, f"reproduced in {evidence.figures} fresh trials")
        if needs.unlike_bad_end(evidence):
            return NewBackground(False, place, f"reproduced in {evidence.figures} fresh trials")
    for place, evidence in enumerate(bad):
        if needs.is_good(evidence) or needs.far_too_few(evidence):
            return NewBackground(True, place, f"reproduced in {evidence.figures} fresh trials only")
        if needs.failing(evidence) and not needs.enough_bad(place, evidence):
            return NoVerdict(place, f"{needs.belief.unjudged(evidence)}: {evidence.figures}")
    return None


@dataclass(frozen=True)
class _Needs:
    """What one proof needs, from all that is known by then. The rates' bounds are dear: found late, kept."""

    belief: Belief
    culprit: Evidence
    number: int

    @property
    def has_background(self) -> bool:
        return self.belief.background.reproduced > 0

    @property
    def rate_error(self) -> float:
        return self.belief.budget.share(Stage.RATE, self.number)

    @property
    def share(self) -> float:
        """With a background both sides may err, so each has half."""
        return self.belief.budget.share(Stage.PROOF, self.number) / (2 if self.has_background else 1)

    @cached_property
    def rate(self) -> Rate:
        fresh = self.culprit
        return self.belief.rate.plus(fresh.reproduced, fresh.conclusive) if fresh.reproduced else self.belief.rate

    @cached_property
    def p_min(self) -> float:
        return self.rate.lower(self.rate_error / (2 if self.has_background else 1))

    @cached_property
    def least_hidden(self) -> float:
        """Rate that hidden reproductions have at least."""
        return self.rate.lower(HIDDEN_ERROR)

    @cached_property
    def q_max(self) -> float:
        return self.belief.background.upper(self.rate_error / 2)

    def odds(self, evidence: Evidence) -> float:
        """Logarithm of how much likelier the trials are at p_min than at the highest background."""
        if not self.has_background:
            return math.inf if evidence.reproduced else evidence.clean * math.log1p(-self.p_min)
        if self.p_min <= self.q_max:
            return 0.0  # the bounds of the two rates overlap: nothing speaks for either
        up, down = math.log(self.p_min / self.q_max), math.log((1 - self.p_min) / (1 - self.q_max))
        return evidence.reproduced * up + evidence.clean * down

    def is_bad(self, evidence: Evidence) -> bool:
        return evidence.reproduced > 0 and self.odds(evidence) >= -math.log(self.share)

    def is_good(self, evidence: Evidence) -> bool:
        return evidence.clean > 0 and self.odds(evidence) <= math.log(self.share)

    def refuted(self, evidence: Evidence) -> bool:
        """A good arm that is bad; without a background one reproduction would do, had one not overlooked one."""
        if self.unlike_bad_end(evidence):
            return False
        return self.is_bad(evidence) and evidence.reproduced >= (1 if self.has_background else REFUTED)

    def far_too_few(self, evidence: Evidence) -> bool:
        """A bad arm reproduces so rarely that it is no bad candidate."""
        known, trials = self.belief.rate, evidence.conclusive
        if self.has_background or not 0 < evidence.reproduced < trials * known.all_reproduced / known.all_trials:
            return False
        return too_few(evidence.reproduced, trials, known.lower(self.rate_error)) <= self.share

    def unlike_bad_end(self, evidence: Evidence) -> bool:
        """A good arm reproduces, but so much less often than the bad end that it is a background."""
        if self.has_background or not evidence.reproduced:
            return False
        return as_far_apart((evidence.reproduced, evidence.conclusive), self.belief.bad_end) <= UNLIKE

    def in_doubt(self, evidence: Evidence) -> int:
        """Trials more of a good arm that reproduced where no background was seen, before anything else is drawn."""
        return max(0, REFUTED - evidence.reproduced) if evidence.reproduced and not self.has_background else 0

    def enough_bad(self, place: int, evidence: Evidence) -> bool:
        return self.is_bad(evidence) and evidence.reproduced >= (REPRODUCTIONS if place == 0 else 1)

    def more_bad(self, place: int, evidence: Evidence) -> int:
        if self.enough_bad(place, evidence):
            return 0
        return max(1, (REPRODUCTIONS if place == 0 else 1) - evidence.reproduced)

    def enough_clean(self, evidence: Evidence) -> bool:
        ours, theirs = (evidence.reproduced, evidence.conclusive), (self.culprit.reproduced, self.culprit.conclusive)
        level = (1.0 - RATE_PART) * self.belief.budget.max_error
        return self.is_good(evidence) and as_far_apart(ours, theirs) <= level

    def enough_good(self, evidence: Evidence) -> bool:
        if not self.enough_clean(evidence) or self.hidden_by_others(evidence) > -NOT_HIDDEN:
            return False
        return self.hidden_by_harness(evidence) <= -self.needed_against_hidden(evidence)

    def needed_against_hidden(self, evidence: Evidence) -> float:
        """Odds at which failures of the harness must speak against hidden reproductions; 0: not speak for them."""
        if self.at_most(evidence):
            return HARNESS_NOT_HIDDEN if self.fails_often else 0.0
        return NOT_HIDDEN if self.belief.wary or self.fails_often else HARNESS_NOT_HIDDEN

    def only_hidden(self, evidence: Evidence) -> bool:
        """Clean often enough, and its failures leave a doubt."""
        return self.enough_clean(evidence) and not self.enough_good(evidence)

    def hidden(self, evidence: Evidence) -> float:
        """The worse of both kinds of failure: other ones, and the harness's."""
        return max(self.hidden_by_others(evidence), self.hidden_by_harness(evidence))

    def hidden_by_harness(self, evidence: Evidence) -> float:
        return harness_odds(evidence.harness, self.harness_bad, self.belief.harness_good, self.least_hidden)

    @cached_property
    def fails_often(self) -> bool:
        """Whether the harness fails so often at known candidates that a hidden bug is easily lost in its failures."""
        failed, trials = elsewhere(self.harness_bad, self.belief.harness_good)
        return failed > OFTEN * trials

    @cached_property
    def harness_bad(self) -> Sample:
        return added(self.belief.harness_bad, self.culprit)

    def hidden_by_others(self, evidence: Evidence) -> float:
        other, known = self.belief.others
        fresh = self.culprit
        known_others = other + fresh.other, known + fresh.other + fresh.conclusive
        return hidden_odds(evidence.other, evidence.clean, known_others, self.least_hidden)

    def more_good(self, evidence: Evidence, pace: int) -> int:
        """Trials more of a good arm; while the culprit still draws, no further than it (``pace``)."""
        if pace:
            return max(0, pace - evidence.conclusive)
        most = max(1, 2 * self.belief.trial_cap - evidence.conclusive)
        return first(lambda more: self.enough_good(evidence + Evidence(clean=more)), most)

    def failing(self, evidence: Evidence) -> bool:
        if often_failed(evidence) and self.hidden_by_harness(evidence) >= HIDDEN:
            return True
        return evidence.other >= self.belief.other_cap + 2 * evidence.conclusive or self.at_most(evidence)

    def at_most(self, evidence: Evidence) -> bool:
        """Whether as many conclusive trials were drawn as are ever drawn."""
        return evidence.conclusive >= 2 * self.belief.trial_cap

    def unjudged(self, evidence: Evidence) -> bool:
        if self.enough_good(evidence):
            return False
        return self.failing(evidence) or (self.is_good(evidence) and self.hidden(evidence) >= HIDDEN)

    def error(self, judged: Sequence[Evidence]) -> float:
        """Search × proof + rate, with the proofs before this one and the trials that this one really drew."""
        budget, before = self.belief.budget, self.number - 1
        passed = max((math.exp(self.odds(evidence)) for evidence in judged), default=1.0)
        proofs = (budget.spent(Stage.PROOF, before) if before else 0.0) + min(1.0, passed)
        return min(1.0, self.belief.search_error * proofs + budget.spent(Stage.RATE, self.number))
