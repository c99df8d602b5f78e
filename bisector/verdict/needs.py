# SPDX-License-Identifier: GPL-2.0-only
"""What the arms of one proof need, from all that is known by then. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bisector.verdict.budget import RATE_PART, Stage
from bisector.verdict.chance import as_far_apart, too_few
from bisector.verdict.hiding import Sample, both, elsewhere, harness_odds, hidden_odds, spread_odds
from bisector.verdict.rate import Rate
from bisector.verdict.sequential import Belief, Evidence, added, first, often_failed

REPRODUCTIONS = 5
"""Fresh reproductions that the culprit needs: they sharpen the rate, and show its difference from a parent. Four or six
cost as much: fewer ask for more clean trials."""

REFUTED = 3
"""Fresh reproductions that make a parent bad: one alone could be a background that the good end did not show."""

UNLIKE = 0.02
"""Chance (Fisher's exact test) at which a parent that reproduces differs from a bad candidate: it has a background. Up
to SURE reproductions it is looked at after each, and a tenth of it is needed."""

SURE = 6
"""Reproductions up to which a parent is drawn that seems to have a background."""

HIDDEN = math.log(30.0)
"""Odds at which other failures are taken for hidden reproductions, so that the arm cannot be judged."""

NOT_HIDDEN = math.log(100.0)
"""Odds at which they must speak against it for an arm to be good."""

SPREAD_HIDDEN = math.log(300.0)
"""The same by the Bayes factor, whose doubts are honest: a good parent that is given up costs a whole search."""

ALONE_NOT_HIDDEN = math.log(200.0)
"""NOT_HIDDEN by the Bayes factor where nothing but the parent's own failures speaks for it."""

STANDS_NOT_HIDDEN = math.log(50.0)
"""The same where the end without the culprit is good, too: a culprit that only uncovers the bug would leave it there,
in the open or hidden, so this arm would reproduce, or its failures would speak for hiding beside the parent's."""

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

NOTHING = Evidence()


@dataclass(frozen=True)
class GoodArm:
    """An arm that must be good.

    Args:
        fresh: its trials in this proof.
        searched: those of the search, which called it good; none where it was never judged.
        edited: whether it is an end with the culprit's own edit.
        shared: whether its trials are those of another arm, too, for both have one image.
    """

    fresh: Evidence
    searched: Evidence = NOTHING
    edited: bool = False
    shared: bool = False

    def plus(self, clean: int) -> GoodArm:
        """With so many clean fresh trials more."""
        return replace(self, fresh=self.fresh + Evidence(clean=clean))


@dataclass(frozen=True)
class Needs:
    """The rates' bounds are dear: found late, kept.

    Args:
        belief: as the search left it.
        culprit: the culprit's fresh trials.
        number: of this proof in the campaign, from 1.
        beside: fresh trials of the edited arms that must be good. A parent whose failures hide the bug means that the
            culprit only uncovers it; then the end without the culprit hides it as well, or shows it. So failures there
            speak for or against hiding as the parent's own do.
    """

    belief: Belief
    culprit: Evidence
    number: int
    beside: Evidence = NOTHING

    @property
    def has_background(self) -> bool:
        """Whether good candidates reproduce, too."""
        return self.belief.background.reproduced > 0

    @property
    def rate_error(self) -> float:
        """Chance at most that p_min is above the true rate."""
        return self.belief.budget.share(Stage.RATE, self.number)

    @property
    def share(self) -> float:
        """With a background both sides may err, so each has half."""
        return self.belief.budget.share(Stage.PROOF, self.number) / (2 if self.has_background else 1)

    @cached_property
    def rate(self) -> Rate:
        """Of bad candidates, the fresh trials of the culprit counted in."""
        fresh = self.culprit
        return self.belief.rate.plus(fresh.reproduced, fresh.conclusive) if fresh.reproduced else self.belief.rate

    @cached_property
    def p_min(self) -> float:
        """Lower bound of the rate."""
        return self.rate.lower(self.rate_error / (2 if self.has_background else 1))

    @cached_property
    def least_hidden(self) -> float:
        """Rate that hidden reproductions have at least."""
        return self.rate.lower(HIDDEN_ERROR)

    @cached_property
    def q_max(self) -> float:
        """Upper bound of the background."""
        return self.belief.background.upper(self.rate_error / 2)

    # ---- what the conclusive trials say

    def odds(self, evidence: Evidence) -> float:
        """Logarithm of how much likelier the trials are at p_min than at the highest background."""
        if not self.has_background:
            return math.inf if evidence.reproduced else evidence.clean * math.log1p(-self.p_min)
        if self.p_min <= self.q_max:
            return 0.0  # the bounds of the two rates overlap: nothing speaks for either
        up, down = math.log(self.p_min / self.q_max), math.log((1 - self.p_min) / (1 - self.q_max))
        return evidence.reproduced * up + evidence.clean * down

    def allowed(self, arm: GoodArm) -> float:
        """Chance at most that a bad candidate stays as clean as the arm (no background)."""
        if arm.edited:
            return self.share
        return self.belief.budget.share(Stage.PARENT, max(self.number, self.belief.called_good_index))

    def missed(self, arm: GoodArm) -> float:
        """Chance that a bad candidate stays as clean in search and proof, doubt about the rate included."""
        if arm.fresh.reproduced:
            return 1.0
        before = 0 if arm.searched.reproduced or self.belief.wary else arm.searched.clean
        return self.rate.missed(arm.fresh.clean + before)

    def clean_enough(self, arm: GoodArm) -> bool:
        """Whether the arm is good by its conclusive trials."""
        if self.strict and not self.is_good(arm.fresh):
            return False
        return self.has_background or (arm.fresh.clean > 0 and self.missed(arm) <= self.allowed(arm))

    def is_bad(self, evidence: Evidence) -> bool:
        """Whether the fresh trials speak for bad."""
        return evidence.reproduced > 0 and self.odds(evidence) >= -math.log(self.share)

    def is_good(self, evidence: Evidence) -> bool:
        """Whether the fresh trials alone, held against p_min, speak for good."""
        return evidence.clean > 0 and self.odds(evidence) <= math.log(self.share)

    def refuted(self, evidence: Evidence) -> bool:
        """A good arm that is bad; without a background one reproduction would do, had one not overlooked one."""
        if self._unlike(evidence, UNLIKE):
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
        return self._unlike(evidence, UNLIKE if evidence.reproduced >= SURE else UNLIKE / 10)

    def _unlike(self, evidence: Evidence, level: float) -> bool:
        if self.has_background or not evidence.reproduced:
            return False
        return as_far_apart((evidence.reproduced, evidence.conclusive), self.belief.bad_end) <= level

    def in_doubt(self, evidence: Evidence) -> int:
        """Trials more of a good arm that reproduced where no background was seen, before anything else is drawn."""
        if self.has_background or not evidence.reproduced:
            return 0
        return max(0, (SURE if self._unlike(evidence, UNLIKE) else REFUTED) - evidence.reproduced)

    @property
    def strict(self) -> bool:
        """Whether the fresh trials have to do without those of the search: good candidates reproduce, too, or a proof
        met failures that may hide the bug, and then a search met many bad candidates that stay clean for ever."""
        return self.has_background or self.belief.wary

    def expected(self) -> Needs:
        """The needs once the culprit reproduced often enough, if it does so as often as is expected."""
        more = REPRODUCTIONS - self.culprit.reproduced
        if more <= 0:
            return self
        rate = self.belief.rate
        trials = max(REPRODUCTIONS, round(REPRODUCTIONS * rate.all_trials / rate.all_reproduced))
        return replace(self, culprit=Evidence(REPRODUCTIONS, trials - REPRODUCTIONS))

    def enough_bad(self, place: int, evidence: Evidence) -> bool:
        """Whether an arm that must be bad reproduced often enough; ``place`` 0: the culprit."""
        return self.is_bad(evidence) and evidence.reproduced >= (REPRODUCTIONS if place == 0 else 1)

    def more_bad(self, place: int, evidence: Evidence) -> int:
        """Reproductions that it lacks."""
        if self.enough_bad(place, evidence):
            return 0
        return max(1, (REPRODUCTIONS if place == 0 else 1) - evidence.reproduced)

    def apart(self, arm: GoodArm) -> bool:
        """Whether the fresh trials alone set a parent apart from the culprit: the chance that the two are alike and lie
        so far apart is below what ``max_error`` leaves beside p_min."""
        ours, theirs = arm.fresh, self.culprit
        level = (1.0 - RATE_PART) * self.belief.budget.max_error
        return as_far_apart((ours.reproduced, ours.conclusive), (theirs.reproduced, theirs.conclusive)) <= level

    def enough_clean(self, arm: GoodArm) -> bool:
        """Whether its conclusive trials are enough, those of the search and the fresh ones alone."""
        return self.clean_enough(arm) and (self.apart(arm) or (arm.edited and not self.strict))

    # ---- what the failures say

    def enough_good(self, arm: GoodArm) -> bool:
        """Whether the arm is good. For an edited one failures are no doubt: it blocks nothing (law 3)."""
        if not self.enough_clean(arm):
            return False
        return arm.edited or not self.may_hide(arm)

    def may_hide(self, arm: GoodArm) -> bool:
        """Whether its failures leave a doubt; those that the search saw count where they add to it."""
        seen = [arm]
        if not (self.strict or self.stands_without):
            seen.append(GoodArm(arm.fresh + arm.searched))
        others, harness = (max(map(odds, seen)) for odds in (self.hidden_by_others, self.hidden_by_harness))
        return others > -self.needed_of_others or harness > -self.needed_against_hidden(arm)

    @property
    def needed_of_others(self) -> float:
        """Odds at which other failures must speak against hidden reproductions."""
        if self.strict:
            return NOT_HIDDEN
        return STANDS_NOT_HIDDEN if self.stands_without else ALONE_NOT_HIDDEN

    @property
    def hidden_at(self) -> float:
        """Odds at which failures are taken for hidden reproductions."""
        return HIDDEN if self.strict else SPREAD_HIDDEN

    @property
    def stands_without(self) -> bool:
        """Whether the end without the culprit is as clean as a good one has to be."""
        return self.enough_clean(GoodArm(self.beside, edited=True))

    def needed_against_hidden(self, arm: GoodArm) -> float:
        """Odds at which failures of the harness must speak against hidden reproductions; 0: not speak for them."""
        if self.at_most(arm.fresh):
            return HARNESS_NOT_HIDDEN if self.fails_often else 0.0
        if self.belief.wary or self.fails_often:
            return NOT_HIDDEN
        return HARNESS_NOT_HIDDEN if self.has_background else self.needed_of_others

    def hidden(self, arm: GoodArm) -> float:
        """The worse of both kinds of failure: other ones, and the harness's."""
        return max(self.hidden_by_others(arm), self.hidden_by_harness(arm))

    def pooled(self, arm: GoodArm) -> Evidence:
        """The trials whose failures speak for or against the arm. Not those of the search: where a second bug hides the
        first, it met many bad candidates, and went on from the one whose failures were few by chance."""
        return arm.fresh if arm.edited or self.strict else arm.fresh + self.beside

    def hidden_by_harness(self, arm: GoodArm) -> float:
        """Odds of hidden reproductions by failures of the harness."""
        here, bad, good = self.pooled(arm).harness, self.harness_bad, self.belief.harness_good
        if self.strict or self.fails_often:
            return harness_odds(here, bad, good, self.least_hidden)
        return spread_odds(here, elsewhere(bad, good), (self.rate.all_reproduced, self.rate.all_trials))

    @cached_property
    def fails_often(self) -> bool:
        """Whether the harness fails so often at known candidates that a hidden bug is easily lost in its failures."""
        failed, trials = elsewhere(self.harness_bad, self.belief.harness_good)
        return failed > OFTEN * trials

    @cached_property
    def harness_bad(self) -> Sample:
        """Failures of the harness at bad candidates."""
        return added(self.belief.harness_bad, self.culprit)

    @cached_property
    def known_others(self) -> Sample:
        """(other failures, all trials) of candidates that are known."""
        (other, known), fresh = self.belief.others, self.culprit
        bad = other + fresh.other, known + fresh.other + fresh.conclusive
        return both(bad, self.belief.others_good)

    def hidden_by_others(self, arm: GoodArm) -> float:
        """The same by other failures."""
        pooled = self.pooled(arm)
        if self.strict:
            return hidden_odds(pooled.other, pooled.clean, self.known_others, self.least_hidden)
        here, rate = (pooled.other, pooled.other + pooled.clean), (self.rate.all_reproduced, self.rate.all_trials)
        return spread_odds(here, self.known_others, rate)

    def failing(self, evidence: Evidence) -> bool:
        """Whether an arm cannot be judged for its failures."""
        if often_failed(evidence) and self.hidden_by_harness(GoodArm(evidence, edited=True)) >= self.hidden_at:
            return True
        return evidence.other >= self.belief.other_cap + 2 * evidence.conclusive or self.at_most(evidence)

    def at_most(self, evidence: Evidence) -> bool:
        """Whether as many conclusive trials were drawn as are ever drawn."""
        return evidence.conclusive >= 2 * self.belief.trial_cap

    def unjudged(self, arm: GoodArm) -> bool:
        """Whether a good arm cannot be judged: it fails too often, or its failures may hide the bug."""
        if self.enough_good(arm):
            return False
        return self.failing(arm.fresh) or (self.clean_enough(arm) and self.hidden(arm) >= self.hidden_at)

    def open(self, arm: GoodArm) -> bool:
        """Whether the arm is not judged yet, neither way."""
        return not (self.unjudged(arm) or self.refuted(arm.fresh) or self.enough_good(arm))

    def until(self, arm: GoodArm, holds: Callable[[GoodArm], bool]) -> int:
        """Clean trials more of an arm until ``holds`` holds."""
        most = max(1, 2 * self.belief.trial_cap - arm.fresh.conclusive)
        return first(lambda more: holds(arm.plus(more)), most)

    def error(self, judged: Sequence[GoodArm]) -> float:
        """Chance at most of a wrong culprit, by the trials that this proof really drew.

        Without a background it falls with the chance that the least tried arm is bad; with one it is search × proof +
        rate, with the proofs before this one.
        """
        budget, before = self.belief.budget, self.number - 1
        if not self.has_background:
            most = max((self.missed(arm) / self.allowed(arm) for arm in judged), default=1.0)
            return budget.max_error * min(1.0, most)
        passed = max((math.exp(self.odds(arm.fresh)) for arm in judged), default=1.0)
        proofs = (budget.spent(Stage.PROOF, before) if before else 0.0) + min(1.0, passed)
        return min(1.0, self.belief.search_error * proofs + budget.spent(Stage.RATE, self.number))
