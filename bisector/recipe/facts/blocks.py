# SPDX-License-Identifier: GPL-2.0-only
"""``blocks: {STEP: torn}``: what a verify step found of the blocks that were stamped."""

from __future__ import annotations

from typing import Literal

from bisector.agent.plan import StepFacts
from bisector.model import Fact, FactKind, Observation
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, Row, StepRequirement, Subject, WorkEvidence
from bisector.recipe.facts.step import ended

FINDINGS = 3
"""So many blocks that are not as they were written stand in a reason; the rest in the trial's result."""

Blocks = Literal["clean", "zeroed", "stale", "torn", "flipped", "duplicate", "misdirected", "foreign", "unreadable"]


class ExpectedBlocks(Expect[Blocks]):
    """What became of stamped blocks."""


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    step = ended(fact, observation)
    if step is None or not step.blocks:
        return UNKNOWN
    found = _as_text(step)
    return Finding(any(block in fact.values for block in step.blocks), f"{fact.where}: {found}" if found else "")


def _as_text(step: StepFacts) -> str:
    """What a step's verify printed: the sum, then which blocks first; "" when all was clean."""
    if set(step.blocks) <= {"clean"}:
        return ""
    lines = step.detail.splitlines()
    more = f" (and {step.failed - FINDINGS} more)" if step.failed > FINDINGS else ""
    return "; ".join(line.strip() for line in lines[: FINDINGS + 1]) + more


def _only_of_verify(step: Subject) -> str:
    return "" if step.kind == "verify" else f"only a verify step sees blocks, and {step.name} does {step.kind}"


ROW = Row(
    FactKind.BLOCKS,
    Key.STEP,
    ExpectedBlocks,
    _evaluate,
    StepRequirement.ITS_STEP_IF_GOOD,  # a block is compared with what was flushed, whatever failed since
    WorkEvidence.ALWAYS,
    misfit=_only_of_verify,
)
