# SPDX-License-Identifier: GPL-2.0-only
"""What a judge works with."""

from __future__ import annotations

from dataclasses import dataclass

from bisector.execute.executor import Executor
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
    trials_at_once: int = 1
    builds_ahead: int = 0
    build_all: bool = False  # also what has the inputs of another build
