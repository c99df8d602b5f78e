# SPDX-License-Identifier: GPL-2.0-only
"""Evidence → verdict with a fixed number of trials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisector.model import Reading, Signal, Verdict
from bisector.verdict.fixed import FixedTrials
from bisector.verdict.sequential import Decision, Evidence, More


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(), None),
        (Evidence(clean=1), None),
        (Evidence(clean=2), Verdict.GOOD),
        (Evidence(reproduced=1), Verdict.BAD),
        (Evidence(reproduced=1, clean=1, other=9), Verdict.BAD),
        (Evidence(other=2), None),
        (Evidence(other=3), Verdict.SKIP),
        (Evidence(clean=1, other=3), Verdict.SKIP),
        (Evidence(clean=2, other=3), Verdict.GOOD),
    ],
)
def test_two_trials_three_other_failures(evidence: Evidence, verdict: Verdict | None) -> None:
    decision = FixedTrials(2, 3).decide(evidence)
    assert (decision.verdict if isinstance(decision, Decision) else None) == verdict


def test_more_needs_no_trial_that_could_be_wasted() -> None:
    assert FixedTrials(5).decide(Evidence(clean=1)) == More(4)


@given(st.lists(st.sampled_from(list(Signal))), st.integers(1, 5), st.integers(1, 5))
def test_law_1_and_2_infra_makes_nothing_good_or_bad_and_other_failures_never_say_bad(
    signals: list[Signal], trials: int, cap: int
) -> None:
    """The harness's failures may keep a candidate from being good (law 7), and do nothing else."""
    rule = FixedTrials(trials, cap)
    readings = [Reading(signal) for signal in signals]
    without = [reading for reading in readings if reading.signal is not Signal.INFRA]
    decision, plain = rule.decide(Evidence.of(readings)), rule.decide(Evidence.of(without))
    if isinstance(decision, Decision) and decision.verdict in (Verdict.GOOD, Verdict.BAD):
        assert decision == plain
    if isinstance(plain, Decision) and plain.verdict is Verdict.BAD:
        assert decision == plain
    if isinstance(decision, Decision) and decision.verdict is Verdict.BAD:
        assert Signal.REPRODUCED in signals
    if isinstance(decision, Decision) and decision.verdict is Verdict.GOOD:
        assert signals.count(Signal.CLEAN) >= trials
