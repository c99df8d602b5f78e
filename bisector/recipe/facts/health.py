# SPDX-License-Identifier: GPL-2.0-only
"""``health: {LAYER: degraded}``: the state of an array when the workload has ended."""

from __future__ import annotations

from typing import Literal

from bisector.layers import table
from bisector.model import Fact, FactKind, Observation
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, Row, StepRequirement, Subject, WorkEvidence

Health = Literal["healthy", "degraded", "syncing", "none"]


class ExpectedHealth(Expect[Health]):
    """States of an array; ``none`` for a layer without redundancy, as a matrix may put in an array's place."""


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    layer = observation.result.layer(fact.where) if observation.result else None
    return Finding(layer.health in fact.values) if layer and layer.health else UNKNOWN


def _only_of_arrays(layer: Subject) -> str:
    what = f"{layer.name} ({layer.kind} {layer.type})"
    if table.KINDS[layer.kind].health is None:
        return f"{what} has no health: it is no array"
    if not table.ROWS[layer.kind, layer.type].redundant and "none" not in layer.good:
        return f"{what} has no redundancy to lose; take 'none' among the values of a good condition"
    return ""


ROW = Row(
    FactKind.HEALTH,
    Key.LAYER,
    ExpectedHealth,
    _evaluate,
    StepRequirement.NO_STEP,  # an array is whole before the first step
    WorkEvidence.ALWAYS,
    misfit=_only_of_arrays,
)
