# SPDX-License-Identifier: GPL-2.0-only
"""``made: {LAYER: false}``: whether a layer could be made; refusing one may be the failure, or the right answer."""

from __future__ import annotations

from bisector.model import Fact, FactKind, Observation
from bisector.recipe.facts.hang import ExpectedFlag
from bisector.recipe.facts.row import UNKNOWN, Finding, Key, Row, StepRequirement, WorkEvidence


def _evaluate(fact: Fact, observation: Observation) -> Finding:
    result = observation.result
    if result is None:
        return UNKNOWN
    if result.fault and result.fault.refused == fact.where:
        return Finding("false" in fact.values, f"{fact.where} was not made: {result.fault.message}")
    if result.layer(fact.where):
        return Finding("true" in fact.values)
    return UNKNOWN


ROW = Row(
    FactKind.MADE,
    Key.LAYER,
    ExpectedFlag,
    _evaluate,
    StepRequirement.NO_STEP,
    WorkEvidence.ALWAYS,
    explains_fault=True,
)
