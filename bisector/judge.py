# SPDX-License-Identifier: GPL-2.0-only
"""Candidate → verdict: image, trials until decided, everything written to the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from bisector import harness
from bisector.agent.plan import Plan
from bisector.ahead import Run, Scope, TrialsAhead, UpcomingTrial
from bisector.builds import BuildsAhead
from bisector.case import Case
from bisector.causes import BuildStage
from bisector.codec import digest
from bisector.control import ControlBoot
from bisector.deadlines import Deadlines
from bisector.errors import Interrupted
from bisector.execute.share import TrialSlots
from bisector.interfaces import (
    CancelToken,
    EditsDoNotApply,
    KnowsInputs,
    Listener,
    Phase,
    Progress,
    ignore,
    with_context,
)
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
)
from bisector.series import TrialSeries, same_inputs
from bisector.stage import Stage
from bisector.store import TrialKey
from bisector.tools import JudgeTools
from bisector.verdict import clock
from bisector.verdict.sequential import Decision
from bisector.verdict.signature import reached_agent

AddFixups = Callable[[Candidate], Candidate]
"""Lays over a candidate the fixups that it needs to be judged at all (search/fixups.py)."""


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
        self._broke: list[harness.Breakdown] | None = None
        self._control_boot = ControlBoot(tools.store, tools.campaign, self._control_candidates, self._run)
        self.builds = BuildsAhead(tools.builders_ahead, tools.target, tools.executor, tools.cancel, tools.listener)
        slots = tools.slots or TrialSlots(partial(tools.executor.count, "trial"))
        self._ahead = TrialsAhead(slots, self._begin, self._keep, tools.store.keys_ahead(tools.campaign))

    def ahead(self) -> AbstractContextManager[Scope]:
        """A scope in which trials may run before they are drawn (bisector/ahead.py)."""
        return self._ahead.scope()

    def ask(self, candidate: Candidate, case: Case, stage: str) -> Judgement:
        """The candidate's verdict in ``case``. Trials of the same image, question and stage are never repeated.

        Those that are stored are taken one by one, and the verdict stands on no more of them than it needs: where the
        same was judged again later, by more trials, a resumed campaign decides here by those of the first time.
        Raises InfraError when the harness fails, Interrupted when cancelled.
        """
        return self._judge(self.series(candidate, case, stage, in_turns=True))

    def with_fixups(self, candidate: Candidate) -> Candidate:
        """The candidate with the fixups that it needs."""
        return self._add_fixups(candidate) if self._add_fixups else candidate

    def image(self, candidate: Candidate, stage: str = "") -> Image | BuildFailure:
        """The candidate's image, made now if this campaign has not made it yet. ``stage``: on whose behalf.

        A proof builds what it proves (law 8); elsewhere the image of a build with the same inputs will do.
        """
        tools, whole = self.tools, self.tools.build_all or Stage.of(stage) is Stage.PROOF
        try:
            key = tools.target.key(candidate)
        except EditsDoNotApply as error:
            return BuildFailure(BuildStage.EDITS, (str(error),))
        known = tools.store.build(tools.campaign, key)
        if known and _usable(known, whole):
            return known
        self._stop_if_cancelled()
        listener = with_context(tools.listener, stage=stage)
        made: Image | BuildFailure | None = None if whole else self._with_same_inputs(candidate, listener)
        if made is None:
            with self.builds.needed(key):
                future = tools.executor.submit("build", make_image, tools.target, candidate, listener, tools.cancel)
                made = future.result()
        tools.store.add_build(tools.campaign, key, candidate, made)
        return made

    def known_image(self, candidate: Candidate) -> Image | None:
        """The candidate's image as far as it is known without a build. Raises InfraError."""
        return self.stored_image(candidate) or self._with_same_inputs(self.with_fixups(candidate), ignore)

    def stored_image(self, candidate: Candidate) -> Image | None:
        """The candidate's image where this campaign has made or found one. Raises InfraError."""
        try:
            key = self.tools.target.key(self.with_fixups(candidate))
        except EditsDoNotApply:
            return None
        known = self.tools.store.build(self.tools.campaign, key)
        return known if isinstance(known, Image) else None

    def promises_broken(self) -> Iterator[str]:
        """Candidates that the search judged by another build's image, and whose own build gave another one, in words:
        what that build read was not all recorded, or two builds of one source differ."""
        store, campaign = self.tools.store, self.tools.campaign
        own = {candidate: made for candidate, made, _ in store.builds(campaign) if isinstance(made, Image)}
        for _, judged in store.judgements(campaign):
            made = own.get(judged.candidate)
            if judged.same_inputs and made and not made.same_inputs and made.identity != judged.image:
                yield (
                    f"{judged.candidate} was judged by the image of {judged.same_inputs}, and its own build gave "
                    "another one: --build-all builds every candidate"
                )

    def _with_same_inputs(self, candidate: Candidate, listener: Listener) -> Image | None:
        target = self.tools.target
        found = target.same_inputs(candidate) if isinstance(target, KnowsInputs) else None
        if found:
            listener(Progress(Phase.SAME_INPUTS, f"{candidate}: {same_inputs(found.same_inputs)}"))
        return found

    def series(self, candidate: Candidate, case: Case, stage: str, *, in_turns: bool = False) -> TrialSeries:
        """The candidate's trials of ``stage``, for a caller that decides itself when it has enough.

        ``in_turns``: trials that are stored already are taken one by one, as they were drawn.
        """
        candidate = self.with_fixups(candidate)
        self.report(Phase.CANDIDATE, str(candidate), stage)
        made = self.image(candidate, stage)
        if isinstance(made, Image):
            self._control_boot.boot_missing(made, case, stage)
        return TrialSeries(self, candidate, case, stage, made, in_turns)

    def coming(self, candidate: Candidate, case: Case, stage: str, count: int) -> Iterator[UpcomingTrial]:
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
        self.broke[:] = self._breakdowns()
        return checks[-1]

    @property
    def checks(self) -> list[Trial]:
        """The trials that were run to see whether the harness works at all, read of the store once."""
        if self._checks is None:
            self._checks = list(self.tools.store.trials(self.tools.campaign, stage=Stage.CHECK))
        return self._checks

    @property
    def broke(self) -> list[harness.Breakdown]:
        """When the host was broken, read of the store once; grows as checks fail."""
        if self._broke is None:
            self._broke = self._breakdowns()
        return self._broke

    def _breakdowns(self) -> list[harness.Breakdown]:
        failed = any(map(harness.failed, self.checks))  # else there is none, and nothing to read
        return harness.breakdowns(self.tools.store.trials(self.tools.campaign)) if failed else []

    # ---- one trial

    def trial(self, candidate: Candidate, image: Image, case: Case, stage: str, index: int) -> Trial:
        """Run one trial, or take the one that ran ahead, and store it.

        ``index``: how many of this image, question and stage came before it.
        """
        self._stop_if_cancelled()
        store, campaign = self.tools.store, self.tools.campaign
        wanted = UpcomingTrial(candidate, image, case, stage, index)
        trial = self._ahead.take(wanted)
        # Stored before the control boots: law 4.
        stored = store.add_trial(campaign, trial) if trial else store.count_ahead(campaign, wanted.key)
        stored = self._control_boot.after(stored, case) if stored.reading.awaits_control else stored
        self._deadlines.note(stored)
        text = f"{candidate}: {stored.reading.signal} ({stored.reading.condition or stored.reading.reason})"
        self.tools.listener(Progress(Phase.TRIAL, text, trial=stored, stage=stage))
        return stored

    def _begin(self, wanted: UpcomingTrial) -> Run:
        """Start a trial in a slot."""
        image, case, stage = wanted.image, wanted.case, wanted.stage
        seed = int(digest(self.tools.campaign, image.identity, stage, wanted.index)[:12], 16)
        token = digest(seed, time.time_ns())[:12]
        plan = replace(case.plan, seed=seed, token=token)
        folder = f"trials/{stage}-{image.identity[:12]}-{wanted.index}-{token}"

        def trial(observation: Observation) -> Trial:
            return Trial(
                0, wanted.candidate, image.identity, wanted.key.plan, stage, case.cell.name, seed,
                self._reading(finished(observation), case), observation, folder,
            )  # fmt: skip

        cancel = self.tools.cancel.child(token)
        listener = with_context(self.tools.listener, stage=stage, candidate=str(wanted.candidate))
        deadline = partial(self._deadlines.of, case)
        return Run(self._submit(image, plan, folder, listener, cancel, deadline), trial, cancel)

    def _keep(self, key: TrialKey, trial: Trial) -> None:
        self.tools.store.add_ahead(self.tools.campaign, key, trial)

    def _run(self, image: Image, plan: Plan, folder: str, stage: str) -> Observation:
        listener = with_context(self.tools.listener, stage=stage)
        return finished(self._submit(image, plan, folder, listener, self.tools.cancel).result())

    def _submit(
        self,
        image: Image,
        plan: Plan,
        folder: str,
        heard: Listener,
        stop: CancelToken,
        deadline: Callable[[str], float] | None = None,
    ) -> Future[Observation]:
        tools = self.tools
        place = tools.store.campaign_folder(tools.campaign) / folder
        return tools.executor.submit("trial", run_trial, tools.runner, image, plan, place, heard, stop, deadline)

    # ---- a kernel that does not boot, held against one that does

    @staticmethod
    def _reading(observation: Observation, case: Case) -> Reading:
        """What the trial shows; where the VM never came up, no evidence until the control has booted beside it."""
        reading = clock.read_in_time(observation, case.question)
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


def _usable(known: Image | BuildFailure, whole: bool) -> bool:
    """Whether what a campaign has of a build is to be taken; ``whole``: only if it was the candidate's own."""
    if isinstance(known, BuildFailure):
        return known.lasting
    return Path(known.path).exists() and not (whole and known.same_inputs)
