# SPDX-License-Identifier: GPL-2.0-only
"""How long a trial may take: as the recipe says, or by the slowest clean trial of the same question."""

from __future__ import annotations

from dataclasses import dataclass, field

from bisector.case import Case, agent_seconds
from bisector.model import Trial
from bisector.store import Store
from bisector.verdict import clock


@dataclass
class Deadlines:
    """The deadlines of one campaign, given by its id."""

    store: Store
    campaign: str
    _slowest: dict[tuple[str, str], float] = field(default_factory=dict)
    """Question and machine → seconds of the slowest clean trial."""

    def of(self, case: Case, worker: str = "") -> float:
        """Seconds for the agent's part of a trial on a machine (Work.worker): a slow one is not held to the time of a
        quick one."""
        if case.fixed_deadline:
            return case.plan.deadline
        slowest = self._slowest_clean(case.plan.identity(), worker)
        return clock.deadline(case.plan.deadline, slowest, case.question)

    def note(self, trial: Trial) -> None:
        """Learn from a trial that was stored."""
        key = trial.plan, trial.observation.worker
        if key in self._slowest:
            self._slowest[key] = max(self._slowest[key], agent_seconds(trial))

    def _slowest_clean(self, question: str, worker: str) -> float:
        key = question, worker
        if key not in self._slowest:
            stored = [each for each in self.store.trials(self.campaign, plan=question)
                      if each.observation.worker == worker]  # fmt: skip
            self._slowest[key] = max((agent_seconds(trial) for trial in stored), default=0.0)
        return self._slowest[key]
