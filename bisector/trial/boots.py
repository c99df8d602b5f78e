# SPDX-License-Identifier: GPL-2.0-only
"""Which kernels a trial has booted, and which of them came as far as the agent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bisector.agent.plan import CANDIDATE, Plan, Result

NAMES = {"good-end": "the good end's kernel", "bad-end": "the bad end's kernel", CANDIDATE: "the kernel under test"}


@dataclass(frozen=True)
class FurtherBoot:
    """A boot of the VM after the first one.

    Args:
        whose: the kernel's that was booted.
        at: seconds from the start of the trial.
        is_tested: whether it is the first boot of the kernel under test.
    """

    whose: str
    at: float
    is_tested: bool

    @property
    def name(self) -> str:
        """The kernel, in words."""
        return NAMES.get(self.whose, self.whose)


class BootLog:
    """The boots of a trial, as the script that stands in for QEMU and the agent report them.

    Args:
        build_ids: whose → the build id of its kernel, "" when it is not known; that of the first boot first.
    """

    def __init__(self, plan: Plan, build_ids: Mapping[str, str]) -> None:
        self._build_ids = build_ids
        self._first = next(iter(build_ids), CANDIDATE)
        self._other_first = bool(plan.kernel) or self._first != CANDIDATE
        self._further: list[FurtherBoot] = []
        self._came_up = 0

    @property
    def only_another(self) -> bool:
        """Whether no kernel was booted but one that is not under test."""
        return self._other_first and not self._further

    def of(self, at: float) -> str:
        """Behind what the console showed ``at`` that time: whose kernel it was, where there are several."""
        if not self._further:
            return ""
        ran = [boot.whose for boot in self._further if boot.at <= at]
        whose = ran[-1] if ran else self._first
        return f" ({NAMES.get(whose, whose)})"

    def began(self, whose: str, at: float) -> None:
        """A further boot began."""
        before = {self._first, *(boot.whose for boot in self._further)}
        self._further.append(FurtherBoot(whose, at, whose == CANDIDATE and CANDIDATE not in before))

    def came_up(self) -> None:
        """A further boot has its agent."""
        self._came_up += 1

    def missing(self, result: Result | None) -> FurtherBoot | None:
        """The last boot, where its agent never began; None where it did, or where the same kernel had come up before:
        then it is like any other way in which that kernel stops."""
        up = max(self._came_up, len(result.later_kernels) if result else 0)
        if len(self._further) <= up:
            return None
        last = self._further[-1]
        return last if last.is_tested or last.whose != CANDIDATE else None

    def wrong_kernel(self, result: Result | None) -> str:
        """In words, that another kernel ran than the trial is of; "" where that is not so."""
        ran = (result.kernel, *result.later_kernels) if result else ()
        booted = (self._first, *(boot.whose for boot in self._further))
        for whose, kernel in zip(booted, ran, strict=False):
            wanted = self._build_ids.get(whose, "")
            if kernel.build_id and wanted and kernel.build_id != wanted:
                return f"the wrong kernel booted: its build id is {kernel.build_id}, the image's {wanted}"
        return ""
