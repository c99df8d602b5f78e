# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns over a bug that shows as a failure of the harness in part of the history: it is not drawn away (law 7)."""

from __future__ import annotations

import pytest
from acting import RECIPE, Act, Acted, World

from bisector.errors import InfraError
from bisector.model import Outcome, OutcomeKind, Verdict

BUG = range(9, 20)
ABORTS = range(9, 14)
"""Here QEMU aborts under the bug; c14 changes that, and there the bug shows as the recipe says."""


def planted(act: Act, rate: float) -> Acted:
    return act(20, World(rate=rate), bug=BUG, aborts=ABORTS)


def right(acted: Acted, outcome: Outcome) -> bool:
    return outcome.kind not in (OutcomeKind.CULPRIT, OutcomeKind.NARROWED) or "c9" in acted.named(outcome)


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.2])
def test_a_bug_that_aborts_qemu_over_part_of_the_history_never_misleads(act: Act, rate: float) -> None:
    acted = planted(act, rate)
    _, outcome = acted.run("c0", "c19")
    assert right(acted, outcome), outcome.summary
    assert outcome.kind is OutcomeKind.NARROWED
    assert "trials failed in the harness" in outcome.summary
    assert "elsewhere" in outcome.summary


@pytest.mark.parametrize("stop", [30, 60, 90])
def test_a_resumed_campaign_counts_what_the_harness_failed_before(act: Act, stop: int) -> None:
    acted = planted(act, 0.5)
    acted.world.fails_after = stop
    with pytest.raises(InfraError):
        acted.run("c0", "c19")
    with pytest.raises(InfraError):  # the host is still broken: nothing is learnt of any candidate
        acted.run("c0", "c19", resume=True)
    acted.world.fails_after = 10**9
    _, outcome = acted.run("c0", "c19", resume=True)
    assert right(acted, outcome), outcome.summary
    assert outcome.kind is OutcomeKind.NARROWED


def test_a_good_end_that_hides_the_bug_is_not_good(act: Act) -> None:
    acted = act(16, World(rate=0.5), bug=range(16), aborts=range(9))
    _, outcome = acted.run("c0", "c15")
    assert outcome.kind is OutcomeKind.UNRESOLVED
    assert "cannot be judged" in outcome.summary
    assert "trials failed in the harness, 0 of" in outcome.summary
    assert outcome.good
    assert outcome.good.verdict is Verdict.SKIP


def test_with_a_fixed_number_of_trials_it_is_counted_too(act: Act) -> None:
    acted = planted(act, 1.0)
    text = acted_recipe(trials=3)
    _, outcome = acted.run("c0", "c19", text=text)
    assert right(acted, outcome), outcome.summary


def acted_recipe(trials: int) -> str:
    return RECIPE.replace("confidence: {max_error: 0.01}", f"trials: {trials}")
