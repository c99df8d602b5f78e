# SPDX-License-Identifier: GPL-2.0-only
"""All facts, in the order in which a condition's facts are counted: watches are named by it, and plans are known by it.

A new fact is a member of ``FactKind``, a row (in a module of its own where none fits), and a line at the end of here.
"""

from __future__ import annotations

from bisector.model import FactKind
from bisector.recipe.facts import blocks, console, event, hang, health, leak, made, number, oops, step, tap
from bisector.recipe.facts.row import Row

_ROWS = (
    console.ROW,
    step.EXIT,
    step.OUTPUT,
    step.ERRNO,
    health.ROW,
    blocks.ROW,
    event.ROW,
    hang.ROW,
    oops.ROW,
    number.SECONDS,
    number.VALUE,
    number.COUNT,
    tap.ROW,
    made.ROW,
    leak.ROW,
)
ROWS: dict[FactKind, Row] = {row.kind: row for row in _ROWS}
