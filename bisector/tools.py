# SPDX-License-Identifier: GPL-2.0-only
"""What a judge works with."""

from __future__ import annotations

from dataclasses import dataclass

from bisector.execute.executor import Executor
from bisector.execute.share import TrialSlots
from bisector.interfaces import CancelToken, Listener, Runner, Target
from bisector.store import Store


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
    builds_ahead: bool = True  # whether what nobody needs yet is built; how much at once is the executor's to say
    build_all: bool = False  # also what has the inputs of another build
    slots: TrialSlots | None = None  # those that it shares with other judges of the session; None: its own

    def builders_ahead(self) -> int:
        """Builds at once that nobody needs yet; another number when machines have come or gone."""
        return self.executor.count("ahead") if self.builds_ahead else 0
