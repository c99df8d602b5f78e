# SPDX-License-Identifier: GPL-2.0-only
"""Why a recipe says nothing: how each step of a trial ended, and the last lines that it printed. Pure.

It is shown where no verdict explains itself: ends that are alike or cannot be judged, and a candidate that is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bisector.agent.plan import StepFacts
from bisector.model import Judgement, Outcome, OutcomeKind, Trial, Verdict
from bisector.printable import printable_line

LINES = 5  # of what a step printed, its last ones
UNEXPLAINED = (OutcomeKind.ENDS_ALIKE, OutcomeKind.UNRESOLVED)


@dataclass(frozen=True)
class StepOutput:
    """One step of one trial. ``ended``: its exit code and errno in words; ``lines``: the last ones that it printed."""

    candidate: str
    cell: str
    trial: int
    step: str
    ended: str
    lines: tuple[str, ...]

    @property
    def head(self) -> str:
        """``trial 3, v6.18, step write: exit 1``."""
        return f"trial {self.trial}, {self.candidate}, step {self.step}: {self.ended}"


def of_outcome(outcome: Outcome | None) -> tuple[StepOutput, ...]:
    """A trial of each end, where the outcome leaves open why they did not differ."""
    if outcome is None or outcome.kind not in UNEXPLAINED:
        return ()
    ends = filter(None, (outcome.good, outcome.bad))
    return tuple(printed for end in ends for printed in of_judgement(end))


def of_test(judgements: Sequence[Judgement]) -> tuple[StepOutput, ...]:
    """A trial of each cell that could not be judged."""
    skipped = [one for one in judgements if one.verdict in (Verdict.SKIP, Verdict.WEAK)]
    return tuple(printed for one in skipped for printed in of_judgement(one))


def of_judgement(judgement: Judgement) -> tuple[StepOutput, ...]:
    """Its last trial that was neither bad nor good, else its last one."""
    neither = [trial for trial in judgement.trials if trial.reading.neither]
    shown = (neither or list(judgement.trials))[-1:]
    return tuple(printed for trial in shown for printed in _of_trial(trial))


def _of_trial(trial: Trial) -> Iterator[StepOutput]:
    result = trial.observation.result
    for step in result.steps if result else ():
        lines = [printable_line(line.rstrip()) for line in step.detail.splitlines() if line.strip()]
        name = printable_line(str(trial.candidate))
        yield StepOutput(name, trial.cell, trial.number, step.name, ended(step), tuple(lines[-LINES:]))


def ended(step: StepFacts) -> str:
    """How a step ended, in words. A pause or a reset of its guest leaves it without an exit code."""
    if step.skipped:
        return "not issued, by its probability"
    if not step.done:
        return "did not end"
    parts = [f"exit {step.exit}"] if step.exit is not None else []
    parts += [step.errno] if step.errno else []
    parts += [f"{step.failed} of {step.count + step.failed} operations failed"] if step.failed else []
    return ", ".join([*parts, *step.blocks]) or "cut off"
