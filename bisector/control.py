# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that does not boot, held against one that does: is it the kernel, or the harness?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bisector.agent.plan import Plan
from bisector.case import Case
from bisector.codec import digest
from bisector.errors import InfraError
from bisector.model import Image, Observation, Reading, Signal, Trial
from bisector.stage import Stage
from bisector.store import Store
from bisector.verdict.signature import reached_agent, read


@dataclass(frozen=True)
class ControlBoot:
    """Boots an image that is known to boot beside one that did not.

    Args:
        known: (what it is, the image) of the candidates that should boot, the best first.
        run: image, plan, folder and stage to the observation of a trial.
    """

    store: Store
    campaign: str
    known: Callable[[], Iterable[tuple[str, Image]]]
    run: Callable[[Image, Plan, str, str], Observation]

    def boot_missing(self, image: Image, case: Case, stage: str) -> None:
        """Boot the control for stored trials whose control boot was cut short by a kill."""
        plan = case.plan.identity()
        for trial in self.store.trials(self.campaign, image=image.identity, plan=plan, stage=stage):
            if trial.reading.awaits_control:
                self.after(trial, case)

    def after(self, trial: Trial, case: Case) -> Trial:
        """The trial with its reading as the control boot has it. Raises InfraError when nothing boots here."""
        reading = read(trial.observation, case.question)
        name, control = next(
            ((name, image) for name, image in self.known() if image.identity != trial.image), ("", None)
        )  # the image that was tried says nothing about itself
        boots = self._boots(control, case) if control else ""
        if boots:
            reading = replace(reading, reason=f"{reading.reason} ({name}'s image boots here: {boots})")
        else:
            other = f"nor does that of {name}" if control else "and no kernel is known to boot here"
            what = f"the VM of {trial.candidate} never reached the agent, {other} ({reading.reason})"
            reading = Reading(Signal.INFRA, reason=what)
        self.store.set_reading(trial.number, reading)
        if not boots:
            hint = "the host is overloaded or broken, or this config cannot boot here: see 'bisector doctor'"
            raise InfraError(reading.reason, hint=hint)
        return replace(trial, reading=reading)

    def _boots(self, control: Image, case: Case) -> str:
        """Boot the control at once; says in words that it did, "" when it did not."""
        token = digest("control", time.time_ns())[:12]
        boot_only = replace(case.plan, steps=(), layers=(), guest=None, files=(), token=token, deadline=30.0)
        boot_only = replace(boot_only, kernels=(), first_kernel="")
        observation = self.run(control, boot_only, f"trials/control-{control.identity[:12]}-{token}", Stage.CONTROL)
        return f"{observation.timing.boot:.0f} s to the agent" if reached_agent(observation) else ""
