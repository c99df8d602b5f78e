# SPDX-License-Identifier: GPL-2.0-only
"""Long runs of commits that do not build, in campaigns over real git histories."""

from __future__ import annotations

import math

import pytest
from acting import RECIPE, Act

from bisector.direction import FIX
from bisector.model import OutcomeKind
from bisector.search.knowledge import LONG_RUN, NOT_TRIED

ONCE = RECIPE.replace("confidence: {max_error: 0.01}", "trials: 1")
SIZE, HOLE = 90, range(20, 70)


@pytest.mark.parametrize("culprit", [75, 15])
def test_a_culprit_beyond_a_long_hole_costs_few_builds(act: Act, culprit: int) -> None:
    """Above it git itself jumps out soon; below it goes on for long."""
    acted = act(SIZE, bug=range(culprit, SIZE), broken=HOLE)
    _, outcome = acted.run("c0", f"c{SIZE - 1}", text=ONCE)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {f"c{culprit}"}
    in_the_hole = [j for j in outcome.judgements if j.verdict.value == "skip"]
    assert len(in_the_hole) <= LONG_RUN + 2 * math.log2(SIZE)
    assert any(line.startswith("Edges of a run") for line in acted.messages) is (culprit < HOLE.start)


def test_a_culprit_inside_a_long_hole_is_narrowed_to_it_and_what_splits_it_is_said(act: Act) -> None:
    acted = act(SIZE, bug=range(40, SIZE), broken=HOLE)
    _, outcome = acted.run("c0", f"c{SIZE - 1}", text=ONCE)
    assert outcome.kind is OutcomeKind.NARROWED
    assert acted.named(outcome) == {f"c{number}" for number in range(20, 71)}
    tried = [j for j in outcome.judgements if j.failure]
    assert len(tried) <= 25  # of 50
    assert any(j.reason == NOT_TRIED for j in outcome.judgements)
    assert "search.fixups" in outcome.summary


def test_a_search_for_a_fix_leaves_a_hole_too(act: Act) -> None:
    acted = act(SIZE, bug=range(75), broken=HOLE)
    _, outcome = acted.run(f"c{SIZE - 1}", "c0", text=ONCE, direction=FIX)
    assert outcome.kind is OutcomeKind.CULPRIT
    assert acted.named(outcome) == {"c75"}
