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


@given(st.lists(st.sampled_from(list(Signal)), min_size=100), st.integers(1, 6), st.integers(1, 5))
def test_a_bound_of_trials_holds_whatever_they_show(signals: list[Signal], most: int, cap: int) -> None:
    """Those that the harness fails are no trials; three of them in a row end all elsewhere."""
    rule, drawn = FixedTrials(most, cap, most=most), Evidence()
    for signal in signals:
        decision = rule.decide(drawn)
        if isinstance(decision, Decision):
            break
        assert 1 <= decision.count <= most - drawn.clean - drawn.other
        drawn = drawn.plus(signal)
    assert drawn.clean + drawn.other + drawn.reproduced <= most
    decision = rule.decide(drawn)
    if isinstance(decision, Decision) and decision.verdict is not Verdict.SKIP:
        assert decision == FixedTrials(most, cap).decide(drawn), "a bound makes nothing good or bad"


def test_a_bound_that_is_used_up_is_said() -> None:
    one = FixedTrials(1, 3, most=1).decide(Evidence(other=1))
    assert one == Decision(Verdict.SKIP, "1 trial ended in another failure, and no more than 1 is run")
    three = FixedTrials(3, 3, most=3).decide(Evidence(clean=1, other=2))
    assert three == Decision(Verdict.SKIP, "2 trials ended in another failure, and no more than 3 are run")
    assert FixedTrials(3, 3, most=3).decide(Evidence(clean=1, other=1)) == More(1)


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
