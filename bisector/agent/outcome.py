# SPDX-License-Identifier: GPL-2.0-only
"""What one step of a workload saw, as its verb says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Again = Callable[[], bool]
"""Whether a step does its work once more."""


@dataclass(frozen=True)
class Outcome:
    """What a verb saw; the fields are those of StepFacts."""

    done: bool = True
    exit: int | None = None
    errno: str = ""
    count: int = 0
    failed: int = 0
    blocks: tuple[str, ...] = ()
    detail: str = ""
