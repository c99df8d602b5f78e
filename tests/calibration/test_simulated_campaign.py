# SPDX-License-Identifier: GPL-2.0-only
"""A small calibration: the whole one is ``python -m bench.calibration`` (docs/trust.md)."""

import pytest

from bench.calibration.__main__ import campaigns, fixed_rule, history, only_faults
from bench.calibration.campaign import Campaign
from bench.calibration.figures import capacity, fewest_trials
from bench.calibration.target import Target, World
from bisector.model import OutcomeKind
from bisector.verdict.budget import Budget

COUNT = 60


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_campaigns_find_what_was_planted_with_all_faults_on(rate: float) -> None:
    tally = campaigns(World(rate), COUNT, 0.01)
    assert tally.wrong == 0
    assert tally.provable_kinds["culprit"] >= 0.9 * tally.provable
    assert tally.false_bad == 0
    assert min(tally.infra, tally.other) > COUNT


def test_the_search_takes_no_more_than_half_of_twenty_trials_a_step() -> None:
    tally = campaigns(World(0.5), COUNT, 0.01)
    assert tally.mean("ends", "search") <= fixed_rule(World(0.5), COUNT, 20)["whole"] / 2


def test_faults_of_the_harness_alone_are_never_good_and_never_bad() -> None:
    assert only_faults(20_000) == 0


def test_a_second_bug_over_part_of_the_range_narrows_and_does_not_mislead() -> None:
    tally = campaigns(World(1.0, masked="always"), COUNT, 0.01)
    assert tally.wrong == 0
    assert set(tally.kinds) <= {"culprit", "narrowed"}


@pytest.mark.parametrize("infra", [0.0, 0.05, 0.2])
def test_a_bug_that_shows_as_a_failure_of_the_harness_is_not_drawn_away(infra: float) -> None:
    tally = campaigns(World(1.0, infra=infra, masked="harness"), COUNT, 0.01)
    assert tally.wrong == 0
    assert tally.kinds["narrowed"] > COUNT / 4
    assert tally.kinds["culprit"] > COUNT / 4


def test_a_background_costs_trials_and_not_the_truth() -> None:
    tally = campaigns(World(0.6, background=0.05), COUNT, 0.01)
    assert tally.wrong == 0
    assert tally.provable_kinds["culprit"] >= 0.9 * tally.provable


def test_a_campaign_is_repeated_by_its_seed() -> None:
    ended = [Campaign(Target(history("history 5"), World(0.2), "5"), Budget(0.01)).run() for _ in range(2)]
    assert ended[0] == ended[1]
    assert ended[0].kind in (OutcomeKind.CULPRIT, OutcomeKind.NARROWED)


def test_no_rule_can_beat_the_channel() -> None:
    assert capacity(1.0) == 1.0
    assert 0.05 < capacity(0.1) < 0.06
    assert fewest_trials(8.0, 0.1, 0.05, 0.01) < campaigns(World(0.1), 20, 0.01).mean("ends", "search")
