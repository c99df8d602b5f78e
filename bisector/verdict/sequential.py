# SPDX-License-Identifier: GPL-2.0-only
"""Evidence and belief → decided, or how many trials more. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from bisector.model import Reading, Signal, Verdict
from bisector.verdict.budget import ENDS_PART, SEARCH_PART, Budget, Stage
from bisector.verdict.hiding import Sample, elsewhere, harness_odds, hidden_odds
from bisector.verdict.rate import Background, Rate, log_odds

OTHER_CAP = 3
HARNESS_CAP = 5
"""So many failures of the harness, with conclusive trials twice their number more, make a skip where the harness
fails more often than elsewhere."""
TRIAL_CAP = 400
HIDING = math.log(10.0)
"""Odds of hidden reproductions at which a candidate that looks good is a skip."""
LEAST = 0.7
"""Part of the estimated rate that hidden reproductions are taken to have at least."""
WARY = 5
"""So many times the usual clean trials a wary search gives a candidate whose other failures leave a doubt."""

_IN_ORDER = (Signal.REPRODUCED, Signal.CLEAN, Signal.OTHER_FAILURE, Signal.INFRA)  # as Evidence counts them


@dataclass(frozen=True)
class Evidence:
    """Counts of a candidate's trials by signal.

    ``infra``: those that the harness failed. They speak for neither side (law 1), but may hide what would (law 7).
    """

    reproduced: int = 0
    clean: int = 0
    other: int = 0
    infra: int = 0

    @staticmethod
    def of(readings: Iterable[Reading]) -> Evidence:
        """Count the signals of ``readings``."""
        signals = [reading.signal for reading in readings]
        return Evidence(*map(signals.count, _IN_ORDER))

    def plus(self, signal: Signal, trials: int = 1) -> Evidence:
        """With so many trials more of one signal."""
        return self + Evidence(*(trials * (each is signal) for each in _IN_ORDER))

    def __add__(self, more: Evidence) -> Evidence:
        return Evidence(
            self.reproduced + more.reproduced,
            self.clean + more.clean,
            self.other + more.other,
            self.infra + more.infra,
        )

    def less(self, counted: Evidence) -> Evidence:
        """Without what was counted before of the same series, which may have gone on since."""
        return Evidence(
            max(0, self.reproduced - counted.reproduced),
            max(0, self.clean - counted.clean),
            max(0, self.other - counted.other),
            max(0, self.infra - counted.infra),
        )

    @property
    def conclusive(self) -> int:
        """Conclusive trials: reproduced or clean."""
        return self.reproduced + self.clean

    @property
    def harness(self) -> Sample:
        """(trials that the harness failed, all trials)."""
        return self.infra, self.conclusive + self.other + self.infra

    @property
    def figures(self) -> str:
        """Reproduced of the conclusive trials, as people write it."""
        return f"{self.reproduced}/{self.conclusive}"


@dataclass(frozen=True)
class Belief:
    """What the campaign knows when it judges a candidate: a fold over the trials of the judgements before it.

    Args:
        budget: what may be wrong.
        rate: of bad candidates.
        background: of the good end.
        called_good_index: of the next share of the budget for bad candidates called good: 1 + judgements of the search
            so far that were not good, and errors that a proof uncovered. The search's first false good comes at its
            k-th bad candidate for some k, and the k - 1 before were called bad; so share k bounds that event, good
            candidates cost no share, and the sum over k bounds the search's error.
        called_bad_index: likewise 1 + those that were not bad; spent only where there is a background.
        bad_end: (reproduced, trials) of the bad end alone, which no error of a search can spoil.
        others, others_good: other failures among all trials of candidates known to be bad, and good: (other, all).
        harness_bad, harness_good: trials that the harness failed among all of candidates known to be bad, and good.
        wary: a proof met a good candidate whose other failures may hide the bug; from then on a candidate is good only
            where its own speak against that.
        other_cap: other failures in a row that make a skip; with conclusive trials, twice their number more.
        trial_cap: conclusive trials after which the candidate is weak.
        unsearched: no search names the candidate that is to be proven: nothing but its proof speaks for it.
    """

    budget: Budget
    rate: Rate = field(default_factory=Rate)
    background: Background = field(default_factory=Background)
    called_good_index: int = 1
    called_bad_index: int = 1
    bad_end: tuple[int, int] = (0, 0)
    others: Sample = (0, 0)
    others_good: Sample = (0, 0)
    harness_bad: Sample = (0, 0)
    harness_good: Sample = (0, 0)
    wary: bool = False
    other_cap: int = OTHER_CAP
    trial_cap: int = TRIAL_CAP
    unsearched: bool = False

    @property
    def may_call_good(self) -> float:
        """Chance allowed that the next candidate, if bad, is called good."""
        stage = Stage.CALLED_GOOD if self.background.reproduced else Stage.CALLED_GOOD_ALONE
        return self.budget.share(stage, self.called_good_index)

    @property
    def may_call_bad(self) -> float:
        """Chance allowed that the next candidate, if good, is called bad; 0 without a background."""
        return self.budget.share(Stage.CALLED_BAD, self.called_bad_index) if self.background.reproduced else 0.0

    @property
    def search_error(self) -> float:
        """Chance at most that the search up to here holds an error, the ends' included."""
        if self.unsearched:
            return 1.0
        budget, good = self.budget, self.called_good_index
        if not self.background.reproduced:
            return ENDS_PART + budget.spent(Stage.CALLED_GOOD_ALONE, good)
        return ENDS_PART + budget.spent(Stage.CALLED_GOOD, good) + budget.spent(Stage.CALLED_BAD, self.called_bad_index)

    def clean_needed(self) -> int:
        """Clean trials, none reproduced, that make the next candidate good (without a background exact)."""
        if not self.background.reproduced:
            return self.rate.clean_needed(self.may_call_good)
        return first(lambda count: self.side(0, count) is Verdict.GOOD, 2 * self.trial_cap)

    def more_needed(self, evidence: Evidence) -> int:
        """Trials that the shortest way to a decision takes from here, at least 1."""
        to_good = self.clean_needed() - evidence.clean
        if self.background.reproduced:
            reproduced, clean = evidence.reproduced, evidence.clean
            to_good = first(lambda count: self.side(reproduced, clean + count) is Verdict.GOOD, self.trial_cap)
            to_bad = first(lambda count: self.side(reproduced + count, clean) is Verdict.BAD, self.trial_cap)
            to_good = min(to_good, to_bad)
        return max(1, min(to_good, self.trial_cap - evidence.conclusive))

    def after(self, verdict: Verdict, evidence: Evidence) -> Belief:
        """The belief after one more candidate of the search was judged; call it once for each image, in order.

        A candidate that was never tried (it did not build) changes nothing.
        """
        if not evidence.conclusive:
            return self
        called_good_index = self.called_good_index + (verdict is not Verdict.GOOD)
        called_bad_index = self.called_bad_index + (verdict is not Verdict.BAD)
        then = replace(self, called_good_index=called_good_index, called_bad_index=called_bad_index)
        if verdict is Verdict.BAD:
            then = replace(then, harness_bad=added(self.harness_bad, evidence))
        if verdict is not Verdict.BAD or self.background.reproduced:
            return then
        rate = self.rate.with_stopped(evidence.conclusive, max(self.clean_needed(), evidence.conclusive))
        return replace(then, rate=rate, others=_others(self.others, evidence))

    def known_bad(self, *tried: Evidence) -> Belief:
        """The belief with all trials of candidates that are bad for certain: the bad end, a culprit's fresh trials, and
        what a proof found to have been called good wrongly (its trials of search and proof)."""
        whole = Evidence()
        for evidence in tried:
            whole += evidence
        return replace(
            self,
            rate=self.rate.plus(whole.reproduced, whole.conclusive),
            others=_others(self.others, whole),
            harness_bad=added(self.harness_bad, whole),
        )

    def known_good(self, *tried: Evidence) -> Belief:
        """The belief with all trials of candidates that are good for certain; reproductions are background."""
        whole = Evidence()
        for evidence in tried:
            whole += evidence
        seen = self.background
        background = Background(seen.reproduced + whole.reproduced, seen.trials + whole.conclusive)
        others = _others(self.others_good, whole)
        return replace(self, background=background, others_good=others, harness_good=added(self.harness_good, whole))

    def of_suspect(self) -> Belief:
        """The belief for the proof of a suspect that no search named.

        The proof's budget counts on a search that errs in SEARCH_PART of campaigns at most. Without one it has to be
        stricter by that factor for the same ``max_error``.
        """
        return replace(self, budget=Budget(self.budget.max_error * SEARCH_PART), unsearched=True)

    def corrected(self) -> Belief:
        """The belief after a proof uncovered an error of the search: its share is spent."""
        return replace(self, called_good_index=self.called_good_index + 1, called_bad_index=self.called_bad_index + 1)

    def carrying(self, before: Belief) -> Belief:
        """This belief, from ends tried anew, with the shares that the search has spent before it."""
        return replace(
            self, called_good_index=before.called_good_index, called_bad_index=before.called_bad_index, wary=before.wary
        )

    def warned(self) -> Belief:
        """The belief after a proof met other failures that may hide the bug: good verdicts are taken again."""
        return replace(self.corrected(), wary=True)

    def hidden(self, evidence: Evidence) -> float:
        """Logarithm of how much better "its failures are hidden reproductions" explains a candidate: other failures, or
        those of the harness."""
        return max(self.hidden_by_others(evidence), self.hidden_by_harness(evidence))

    def in_doubt(self, evidence: Evidence) -> bool:
        """Whether a wary search needs more: other failures have to speak against hidden reproductions, those of the
        harness, which has honest ones everywhere, need only not speak for them."""
        return self.hidden_by_others(evidence) > -HIDING or self.hidden_by_harness(evidence) > 0.0

    def hidden_by_others(self, evidence: Evidence) -> float:
        """The same for other failures alone."""
        return hidden_odds(evidence.other, evidence.clean, self.others, LEAST * self.rate.mean)

    def hidden_by_harness(self, evidence: Evidence) -> float:
        """The same for the harness's failures alone."""
        return harness_odds(evidence.harness, self.harness_bad, self.harness_good, LEAST * self.rate.mean)

    def unjudged(self, evidence: Evidence) -> str:
        """Which of its failures keep a candidate from a verdict, in words."""
        harness = self.hidden_by_harness(evidence)
        if harness > -math.inf and harness >= self.hidden(evidence):
            return in_harness(evidence.harness, elsewhere(self.harness_bad, self.harness_good))
        return f"{evidence.other} trials ended in another failure"

    def side(self, reproduced: int, clean: int) -> Verdict | None:
        """What the conclusive trials speak for, None while they do not speak clearly enough."""
        odds = log_odds(reproduced, clean, self.rate, self.background)
        if odds <= math.log(self.may_call_good):
            return Verdict.GOOD
        bad_at = -math.log(self.may_call_bad) if self.background.reproduced else math.inf
        return Verdict.BAD if odds >= bad_at else None


@dataclass(frozen=True)
class Decision:
    """The verdict, and the evidence in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class More:
    """So many trials more may be drawn at once without wasting one, unless one of them reproduces."""

    count: int


def decide(evidence: Evidence, belief: Belief) -> Decision | More:
    """Whether the evidence is enough under the belief.

    An other failure says nothing about the candidate (law 2): it costs a trial. Too many of them before a decision, or
    unusually many beside clean trials (they may hide the bug), make the candidate a skip. So do failures of the harness
    where it fails more often than elsewhere (law 7).
    """
    side = belief.side(evidence.reproduced, evidence.clean)
    if side is Verdict.BAD:
        return Decision(side, f"reproduced in {evidence.figures}")
    if side is Verdict.GOOD:
        return _good_or_hidden(evidence, belief)
    if evidence.other >= belief.other_cap + 2 * evidence.conclusive:
        return Decision(Verdict.SKIP, f"{evidence.other} trials ended in another failure")
    if often_failed(evidence) and belief.hidden_by_harness(evidence) >= HIDING:
        return Decision(Verdict.SKIP, belief.unjudged(evidence))
    if evidence.conclusive >= belief.trial_cap:
        return Decision(Verdict.WEAK, f"undecided after {evidence.conclusive} trials: reproduced in {evidence.figures}")
    return More(belief.more_needed(evidence))


def _good_or_hidden(evidence: Evidence, belief: Belief) -> Decision | More:
    """Clean often enough; a wary belief needs more until its failures speak clearly, for WARY times as many."""
    most = min(belief.trial_cap, WARY * belief.clean_needed())
    doubtful = belief.wary and belief.in_doubt(evidence)
    if belief.hidden(evidence) >= HIDING or (doubtful and evidence.conclusive >= most):
        return Decision(Verdict.SKIP, f"{belief.unjudged(evidence)}: they may hide the bug")
    if doubtful:
        left = most - evidence.conclusive
        return More(max(1, first(lambda more: not belief.in_doubt(evidence + Evidence(clean=more)), left)))
    return Decision(Verdict.GOOD, f"clean in {evidence.clean} of {evidence.conclusive}")


def first(holds: Callable[[int], bool], most: int) -> int:
    """The smallest count up to ``most`` from which ``holds`` holds (it holds from some count on), else ``most``."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def often_failed(evidence: Evidence) -> bool:
    """Whether the harness failed so many trials that, where it fails less often elsewhere, there is no verdict."""
    return evidence.infra >= HARNESS_CAP + 2 * evidence.conclusive


def in_harness(here: Sample, elsewhere: Sample) -> str:
    """How often the harness failed at a candidate and elsewhere, in words."""
    there = f"{elsewhere[0]} of {elsewhere[1]} elsewhere" if elsewhere[1] else "and none was run elsewhere"
    return f"{here[0]} of {here[1]} trials failed in the harness, {there}"


def added(known: Sample, evidence: Evidence) -> Sample:
    """What is known of the harness's failures, with one more candidate's."""
    failed, trials = evidence.harness
    return known[0] + failed, known[1] + trials


def _others(known: tuple[int, int], evidence: Evidence) -> tuple[int, int]:
    return known[0] + evidence.other, known[1] + evidence.other + evidence.conclusive
