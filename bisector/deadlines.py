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
    _slowest: dict[str, float] = field(default_factory=dict)  # question → seconds of its slowest clean trial

    def of(self, case: Case) -> float:
        """Seconds for the agent's part of a trial."""
        if case.fixed_deadline:
            return case.plan.deadline
        return clock.deadline(case.plan.deadline, self._slowest_clean(case.plan.identity()), case.question)

    def note(self, trial: Trial) -> None:
        """Learn from a trial that was stored."""
        self._slowest[trial.plan] = max(self._slowest.get(trial.plan, 0.0), agent_seconds(trial))

    def _slowest_clean(self, question: str) -> float:
        if question not in self._slowest:
            stored = self.store.trials(self.campaign, plan=question)
            self._slowest[question] = max((agent_seconds(trial) for trial in stored), default=0.0)
        return self._slowest[question]
