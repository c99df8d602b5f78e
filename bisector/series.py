# SPDX-License-Identifier: GPL-2.0-only
"""One candidate's trials, drawn until a rule has enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from bisector import harness
from bisector.ahead import Scope, UpcomingTrial
from bisector.case import Case
from bisector.errors import InfraError
from bisector.harness import CountedSeries, Tally
from bisector.interfaces import Phase, Progress
from bisector.model import BuildFailure, Candidate, Image, Judgement, Reading, Signal, Trial, Verdict
from bisector.tools import JudgeTools
from bisector.verdict.hiding import Sample
from bisector.verdict.sequential import Decision, Evidence, More

BOOTS = 2  # that must fail before a kernel is said not to boot; an emulated machine has faults of its own
INFRA_IN_A_ROW = 3
"""After so many trials in a row that the harness failed at one candidate, one of another candidate is run: where that
fails too, the harness is broken, and the campaign ends with exit 3."""


class TrialSource(Protocol):
    """Who runs a series' trials: a judge."""

    tools: JudgeTools

    @property
    def checks(self) -> list[Trial]:
        """The trials that were run to see whether the harness works at all."""

    @property
    def broke(self) -> list[harness.Breakdown]:
        """When the host was broken."""

    def trial(self, candidate: Candidate, image: Image, case: Case, stage: str, index: int) -> Trial:
        """Run one trial and store it."""

    def check_harness(self, last: Trial, case: Case) -> Trial | None:
        """A trial, run now, of the candidate at which the harness failed least; None where there is no other."""

    def report(self, phase: Phase, detail: str, stage: str = "") -> None:
        """Report what happens."""

    def ahead(self) -> AbstractContextManager[Scope]:
        """A scope in which trials may run before they are drawn."""


@dataclass(eq=False)
class TrialSeries:
    """One candidate's trials of one stage, drawn one at a time.

    ``in_turns``: trials that are stored already are taken one by one as they were drawn, so that a resumed campaign
    decides as an unbroken one, which had fewer at that point: others were drawn in turns with these, or more of these
    were drawn after a proof threw doubt on the search. Else all that are stored are there from the start.
    """

    judge: TrialSource
    candidate: Candidate
    case: Case
    stage: str
    made: Image | BuildFailure
    in_turns: bool = False
    _taken: Tally = field(default_factory=Tally, init=False, repr=False)
    _last: int = field(default=0, init=False, repr=False)  # number of the last trial that was read of the store

    def __post_init__(self) -> None:
        self._stored = CountedSeries(self.judge.broke)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Conclusive trials, and those that ended in another failure: all but the harness's failures."""
        return tuple(trial for trial in self._drawn.trials if not harness.failed(trial))

    @property
    def evidence(self) -> Evidence:
        """Counts of the trials by signal, the harness's failures among them (law 7)."""
        return self._drawn.evidence

    @property
    def untestable(self) -> str:
        """Why this candidate has no conclusive trials: its build failed or it does not boot. Else ""."""
        if isinstance(self.made, BuildFailure):
            return f"{self.made.stage} failed: {self.made.errors[0] if self.made.errors else 'no error line'}"
        drawn = self._drawn
        stuck = drawn.conclusive
        if drawn.booted or stuck < BOOTS:
            return ""
        last = next(trial for trial in reversed(drawn.trials) if not harness.failed(trial))
        return f"does not boot in {stuck} of {stuck}: {last.reading.reason}"

    def draw(self) -> Reading:
        """One trial more, be it one that the harness fails. Raises InfraError where that is the host's, Interrupted."""
        assert isinstance(self.made, Image)
        if self.take(1):
            self._check_that_was_cut()
            return self._taken.trials[-1].reading
        self._check_that_was_cut()
        # The harness's failure is no trial: the one drawn after it is the same trial, with the same seed.
        trial = self.judge.trial(self.candidate, self.made, self.case, self.stage, self._counted.conclusive)
        self._taken.add(trial)
        if harness.failed(trial):
            self._check_harness(trial)
        return trial.reading

    def coming(self, count: int) -> Iterator[UpcomingTrial]:
        """The next ``count`` trials of the series that are not stored yet, for a scope to want."""
        if not isinstance(self.made, Image):
            return
        counted = self._counted
        stored = len(counted.trials) - len(self._taken.trials) if self.in_turns else 0
        for rank in range(count - stored):
            yield UpcomingTrial(self.candidate, self.made, self.case, self.stage, counted.conclusive + rank, rank)

    def take(self, count: int) -> int:
        """Take up to ``count`` trials that are stored already (a series drawn in turns); how many there were."""
        have = len(self._taken.trials)
        taken = self._counted.trials[have : have + count] if self.in_turns else ()
        for trial in taken:
            self._taken.add(trial)
        return len(taken)

    def decide(self) -> Decision | More:
        """Whether the trials are enough for a verdict."""
        evidence = self.evidence
        return self.case.rule.held_against(evidence, self.failed_elsewhere).decide(evidence)

    def failed_elsewhere(self) -> Sample:
        """(trials that the harness failed, all trials) of other candidates, up to the last trial of this one."""
        tools, last = self.judge.tools, self._drawn.trials[-1]
        return harness.elsewhere(tools.store.trials(tools.campaign, plan=last.plan), last)

    def _check_that_was_cut(self) -> None:
        """Make up for the check of a run of failures that was stored, and whose process was killed before it."""
        stored = self._counted.trials
        if not stored or not harness.failed(stored[-1]) or (self.in_turns and len(self._taken.trials) < len(stored)):
            return
        if not any(check.number > stored[-1].number for check in self.judge.checks):
            self._check_harness(stored[-1], cut=True)

    def _check_harness(self, last: Trial, *, cut: bool = False) -> None:
        """After a run of failures: is it the host, or this candidate? Raises InfraError where it is the host.

        ``cut``: the run was stored by another process; without another candidate it may be repeated at will.
        """
        run = harness.in_a_row(self._counted.trials)
        if run % INFRA_IN_A_ROW:
            return
        check = self.judge.check_harness(last, self.case)
        if cut and check is None:
            return
        if check and not harness.failed(check):
            words = f"{self.candidate}: {run} trials in a row failed in the harness, one of {check.candidate} did not"
            self.judge.report(Phase.TRIAL, words, self.stage)
            return
        there = f", and so did one of {check.candidate}" if check else ""
        folder = self.judge.tools.store.campaign_folder(self.judge.tools.campaign) / last.folder
        raise InfraError(
            f"{run} trials of {self.candidate} in a row failed in the harness{there}: {last.reading.reason}",
            hint=f"no verdict was taken from them; see {folder}, then 'bisector doctor', then repeat the command",
        )

    def judgement(self, verdict: Verdict, reason: str) -> Judgement:
        """Close the series with a verdict: it is stored and reported."""
        failure, image = (self.made, "") if isinstance(self.made, BuildFailure) else (None, self.made.identity)
        case, evidence, why = self.case, self.evidence, self._why(verdict, reason)
        cause = harness.cause(verdict, failure, self.untestable, evidence)
        instead = self.made.same_inputs if isinstance(self.made, Image) else ""
        why = f"{why}; {same_inputs(instead)}" if instead else why
        judgement = Judgement(
            self.candidate, verdict, why, case.cell.name, image, self.trials, failure, case.plan.identity(),
            evidence.infra, cause, instead,
        )  # fmt: skip
        tools = self.judge.tools
        tools.store.add_judgement(tools.campaign, self.stage, judgement)
        text = f"{self.candidate}: {verdict} ({why})"
        tools.listener(Progress(Phase.VERDICT, text, judgement=judgement, stage=self.stage))
        return judgement

    @property
    def _drawn(self) -> Tally:
        return self._taken if self.in_turns else self._counted

    @property
    def _counted(self) -> Tally:
        """What is stored of this image, question and stage, without the failures of a harness that failed elsewhere
        too; another series of the same image may have drawn some."""
        if isinstance(self.made, Image):
            tools, plan, image = self.judge.tools, self.case.plan.identity(), self.made.identity
            for trial in tools.store.trials(tools.campaign, image=image, plan=plan, stage=self.stage, after=self._last):
                self._stored.add(trial)
                self._last = trial.number
        return self._stored.tally

    def _why(self, verdict: Verdict, reason: str) -> str:
        """The reason with the condition that was seen, or with the last other failure of a skip."""
        readings = [trial.reading for trial in self._drawn.trials]
        wanted = (Signal.REPRODUCED,) if verdict is not Verdict.SKIP else harness.common_failure(self.evidence)
        named = [reading for reading in readings if reading.signal in wanted] or readings
        if not named:
            return reason
        if verdict is Verdict.SKIP:
            return reason if named[-1].reason in reason else f"{reason}: {named[-1].reason}"
        text = f"{reason}: {named[-1].condition}" if named[-1].condition else reason
        return f"{text} ({self.case.lasting})" if self.case.lasting else text


def same_inputs(built: str) -> str:
    """Why a candidate was not built; ``built``: what was, as people name it."""
    return f"same inputs as {built}: nothing it changes is read by this build"
