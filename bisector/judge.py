# SPDX-License-Identifier: GPL-2.0-only
"""Candidate → verdict: image, trials until decided, everything written to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bisector import harness
from bisector.agent.plan import Plan
from bisector.ahead import Run, Scope, TrialsAhead, Wanted
from bisector.builds import BuildsAhead
from bisector.case import Case
from bisector.causes import BuildStage
from bisector.control import ControlBoot
from bisector.deadlines import Deadlines
from bisector.errors import InfraError, Interrupted
from bisector.execute.executor import Executor
from bisector.harness import CountedSeries, Tally
from bisector.interfaces import CancelToken, EditsDoNotApply, Listener, Phase, Progress, Runner, Target, with_context
from bisector.jobs import finished, make_image, run_trial
from bisector.model import (
    BuildFailure,
    Candidate,
    Image,
    Judgement,
    Observation,
    Reading,
    Signal,
    Trial,
    Verdict,
    digest,
)
from bisector.stage import Stage
from bisector.store import Store, TrialKey
from bisector.verdict import clock
from bisector.verdict.hiding import Sample
from bisector.verdict.sequential import Decision, Evidence, More
from bisector.verdict.signature import reached_agent, read

BOOTS = 2  # that must fail before a kernel is said not to boot; an emulated machine has faults of its own
INFRA_IN_A_ROW = 3
"""After so many trials in a row that the harness failed at one candidate, one of another candidate is run: where that
fails too, the harness is broken, and the campaign ends with exit 3."""


@dataclass(frozen=True)
class JudgeTools:
    """The tools a judge works with."""

    target: Target
    runner: Runner
    store: Store
    campaign: str  # id
    executor: Executor
    listener: Listener
    cancel: CancelToken
    trials_at_once: int = 1
    builds_ahead: int = 0


AddFixups = Callable[[Candidate], Candidate]
"""Lays over a candidate the fixups that it needs to be judged at all (search/fixups.py)."""


@dataclass(eq=False)
class TrialSeries:
    """One candidate's trials of one stage, drawn one at a time.

    ``in_turns``: it is drawn in turns with others, whose end depends on what all of them showed. Trials that are stored
    already are then taken one by one as they were drawn, so that a resumed campaign decides as an unbroken one.
    """

    judge: Judge
    candidate: Candidate
    case: Case
    stage: str
    made: Image | BuildFailure
    in_turns: bool = False
    _taken: Tally = field(default_factory=Tally, init=False, repr=False)
    _last: int = field(default=0, init=False, repr=False)  # number of the last trial that was read of the store

    def __post_init__(self) -> None:
        self._stored = CountedSeries(self.judge.checks)

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
            return self._taken.trials[-1].reading
        # The harness's failure is no trial: the one drawn after it is the same trial, with the same seed.
        trial = self.judge.trial(self.candidate, self.made, self.case, self.stage, self._counted.conclusive)
        self._taken.add(trial)
        if harness.failed(trial):
            self._check_harness(trial)
        return trial.reading

    def coming(self, count: int) -> Iterator[Wanted]:
        """The next ``count`` trials of the series that are not stored yet, for a scope to want."""
        if not isinstance(self.made, Image):
            return
        counted = self._counted
        stored = len(counted.trials) - len(self._taken.trials) if self.in_turns else 0
        for rank in range(count - stored):
            yield Wanted(self.candidate, self.made, self.case, self.stage, counted.conclusive + rank, rank)

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
        tools, last = self.judge.tools, self._counted.trials[-1]
        return harness.elsewhere(tools.store.trials(tools.campaign, plan=last.plan), last)

    def _check_harness(self, last: Trial) -> None:
        """After a run of failures: is it the host, or this candidate? Raises InfraError where it is the host."""
        run = harness.in_a_row(self._counted.trials)
        if run % INFRA_IN_A_ROW:
            return
        check = self.judge.check_harness(last, self.case)
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
        judgement = Judgement(
            self.candidate, verdict, why, case.cell.name, image, self.trials, failure, case.plan.identity(),
            evidence.infra, cause,
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


Meanwhile = Callable[[TrialSeries], None]
"""Starts what may run beside a candidate's trials."""


class Judge:
    """Asks the target for images and the runner for trials until the verdict's rule has enough.

    Args:
        tools: the tools.
        control: a candidate known to boot (the good end), booted where another one does not: is it the kernel or the
            harness? None where there is none.
        fixups: lays over a candidate the fixups that it needs to be judged at all.
    """

    second: Candidate | None = None
    """Booted where the control itself is what does not boot: the bad end, where there is one."""

    def __init__(self, tools: JudgeTools, control: Candidate | None = None, fixups: AddFixups | None = None) -> None:
        self.tools = tools
        self._add_fixups = fixups
        self.control = control
        self._deadlines = Deadlines(tools.store, tools.campaign)
        self._checks: list[Trial] | None = None
        self._control_boot = ControlBoot(tools.store, tools.campaign, self._control_candidates, self._run)
        self.builds = BuildsAhead(tools.builds_ahead, tools.target, tools.executor, tools.cancel)
        self._ahead = TrialsAhead(tools.trials_at_once, self._begin, self._keep, tools.store.keys_ahead(tools.campaign))

    def ahead(self) -> AbstractContextManager[Scope]:
        """A scope in which trials may run before they are drawn (bisector/ahead.py)."""
        return self._ahead.scope()

    def ask(self, candidate: Candidate, case: Case, stage: str, meanwhile: Meanwhile | None = None) -> Judgement:
        """The candidate's verdict in ``case``. Trials of the same image, question and stage are never repeated.

        ``meanwhile``: called once the image is made, before its trials run.

        Raises InfraError when the harness fails, Interrupted when cancelled.
        """
        series = self.series(candidate, case, stage)
        if meanwhile:
            meanwhile(series)
        return self._judge(series)

    def with_fixups(self, candidate: Candidate) -> Candidate:
        """The candidate with the fixups that it needs."""
        return self._add_fixups(candidate) if self._add_fixups else candidate

    def image(self, candidate: Candidate, stage: str = "") -> Image | BuildFailure:
        """The candidate's image, made now if this campaign has not made it yet. ``stage``: on whose behalf."""
        tools = self.tools
        try:
            key = tools.target.key(candidate)
        except EditsDoNotApply as error:
            return BuildFailure(BuildStage.EDITS, (str(error),))
        known = tools.store.build(tools.campaign, key)
        if known and (known.lasting if isinstance(known, BuildFailure) else Path(known.path).exists()):
            return known
        self._stop_if_cancelled()
        listener = with_context(tools.listener, stage=stage)
        with self.builds.needed(key):
            future = tools.executor.submit("build", make_image, tools.target, candidate, listener, tools.cancel)
            made = future.result()
        tools.store.add_build(tools.campaign, key, candidate, made)
        return made

    def series(self, candidate: Candidate, case: Case, stage: str, *, in_turns: bool = False) -> TrialSeries:
        """The candidate's trials of ``stage``, for a caller that decides itself when it has enough.

        ``in_turns``: drawn in turns with other series.
        """
        candidate = self.with_fixups(candidate)
        self.report(Phase.CANDIDATE, str(candidate), stage)
        made = self.image(candidate, stage)
        if isinstance(made, Image):
            self._control_boot.boot_missing(made, case, stage)
        return TrialSeries(self, candidate, case, stage, made, in_turns)

    def coming(self, candidate: Candidate, case: Case, stage: str, count: int) -> Iterator[Wanted]:
        """The next ``count`` trials of a candidate whose image is made, for a scope to want; none without an image."""
        candidate = self.with_fixups(candidate)
        yield from TrialSeries(self, candidate, case, stage, self.image(candidate, stage)).coming(count)

    def _judge(self, series: TrialSeries) -> Judgement:
        with self.ahead() as scope:
            while not series.untestable:
                decision = series.decide()
                if isinstance(decision, Decision):
                    return series.judgement(decision.verdict, decision.reason)
                scope.want(series.coming(decision.count))
                series.draw()
        return series.judgement(Verdict.SKIP, series.untestable)

    # ---- whose failure is it, the candidate's or the host's? (law 7)

    def check_harness(self, last: Trial, case: Case) -> Trial | None:
        """A trial, run now, of the candidate at which the harness failed least; None where there is no other.

        ``last``: of a run of failures. By a check that failed a resumed campaign knows that the run was the host's.
        """
        tools, checks = self.tools, self.checks
        known = harness.fails_least(tools.store.trials(tools.campaign, plan=last.plan), last.image)
        image = self.image(known.candidate) if known else None
        if known is None or not isinstance(image, Image):
            return None
        checks.append(self.trial(known.candidate, image, case, Stage.CHECK, len(checks)))
        return checks[-1]

    @property
    def checks(self) -> list[Trial]:
        """The trials that were run to see whether the harness works at all, read of the store once."""
        if self._checks is None:
            self._checks = list(self.tools.store.trials(self.tools.campaign, stage=Stage.CHECK))
        return self._checks

    # ---- one trial

    def trial(self, candidate: Candidate, image: Image, case: Case, stage: str, index: int) -> Trial:
        """Run one trial, or take the one that ran ahead, and store it.

        ``index``: how many of this image, question and stage came before it.
        """
        self._stop_if_cancelled()
        store, campaign, wanted = self.tools.store, self.tools.campaign, Wanted(candidate, image, case, stage, index)
        trial = self._ahead.take(wanted)
        # Stored before the control boots: law 4.
        stored = store.add_trial(campaign, trial) if trial else store.count_ahead(campaign, wanted.key)
        stored = self._control_boot.after(stored, case) if stored.reading.awaits_control else stored
        self._deadlines.note(stored)
        text = f"{candidate}: {stored.reading.signal} ({stored.reading.condition or stored.reading.reason})"
        self.tools.listener(Progress(Phase.TRIAL, text, trial=stored, stage=stage))
        return stored

    def _begin(self, wanted: Wanted) -> Run:
        """Start a trial in a slot."""
        image, case, stage = wanted.image, wanted.case, wanted.stage
        seed = int(digest(self.tools.campaign, image.identity, stage, wanted.index)[:12], 16)
        token = digest(seed, time.time_ns())[:12]
        plan = replace(case.plan, seed=seed, token=token, deadline=self._deadlines.of(case))
        folder = f"trials/{stage}-{image.identity[:12]}-{wanted.index}-{token}"

        def trial(observation: Observation) -> Trial:
            return Trial(
                0, wanted.candidate, image.identity, wanted.key.plan, stage, case.cell.name, seed,
                self._reading(finished(observation), case), observation, folder,
            )  # fmt: skip

        cancel = self.tools.cancel.child(token)
        listener = with_context(self.tools.listener, stage=stage, candidate=str(wanted.candidate))
        return Run(self._submit(image, plan, folder, listener, cancel), trial, cancel)

    def _keep(self, key: TrialKey, trial: Trial) -> None:
        self.tools.store.add_ahead(self.tools.campaign, key, trial)

    def _run(self, image: Image, plan: Plan, folder: str, stage: str) -> Observation:
        listener = with_context(self.tools.listener, stage=stage)
        return finished(self._submit(image, plan, folder, listener, self.tools.cancel).result())

    def _submit(self, image: Image, plan: Plan, folder: str, heard: Listener, stop: CancelToken) -> Future[Observation]:
        tools = self.tools
        place = tools.store.campaign_folder(tools.campaign) / folder
        return tools.executor.submit("trial", run_trial, tools.runner, image, plan, place, heard, stop)

    # ---- a kernel that does not boot, held against one that does

    @staticmethod
    def _reading(observation: Observation, case: Case) -> Reading:
        """What the trial shows; where the VM never came up, no evidence until the control has booted beside it."""
        reading = read(observation, case.question)
        if reading.signal is not Signal.INFRA and (busy := clock.too_busy(observation)):
            return Reading(Signal.INFRA, reason=busy)
        if reading.signal is Signal.INFRA or reached_agent(observation) or not case.plan.vm:
            return reading
        return replace(reading, signal=Signal.INFRA, awaits_control=True)

    def _control_candidates(self) -> Iterator[tuple[str, Image]]:
        """(what it is, the image) of the candidates that may be booted to see whether anything boots here."""
        for name, candidate in (("the good end", self.control), ("the bad end", self.second)):
            if candidate is not None:
                image = self.image(self.with_fixups(candidate))
                if isinstance(image, Image):
                    yield name, image

    def _stop_if_cancelled(self) -> None:
        if self.tools.cancel.cancelled():
            raise Interrupted("stopped between trials", hint="what is finished is kept")

    def report(self, phase: Phase, detail: str, stage: str = "") -> None:
        """Report to the listener what happens."""
        self.tools.listener(Progress(phase, detail, stage=stage))
