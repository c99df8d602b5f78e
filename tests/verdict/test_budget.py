# SPDX-License-Identifier: GPL-2.0-only
"""What may be wrong, spent over decisions whose number nobody knows."""

import pytest

from bisector.verdict.budget import RATE_PART, SEARCH_PART, Budget, Stage

MANY = 5000


@pytest.mark.parametrize("max_error", [0.001, 0.01, 0.05, 0.2])
def test_the_parts_stay_inside_max_error_however_many_decisions_there_are(max_error: float) -> None:
    budget = Budget(max_error)
    spent = {stage: budget.spent(stage, MANY) for stage in Stage}
    search = spent[Stage.ENDS] + spent[Stage.CALLED_GOOD] + spent[Stage.CALLED_BAD]
    assert search <= SEARCH_PART + 1e-12
    assert search * spent[Stage.PROOF] + spent[Stage.RATE] <= max_error
    assert spent[Stage.RATE] <= RATE_PART * max_error * (1 + 1e-12)


@pytest.mark.parametrize("stage", list(Stage))
def test_shares_fall_and_are_never_nothing(stage: Stage) -> None:
    shares = [Budget(0.01).share(stage, index) for index in range(1, 60)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] > 0


def test_a_typical_search_spends_most_of_its_part_and_not_all_of_it() -> None:
    budget = Budget(0.01)
    assert 0.5 < budget.spent(Stage.CALLED_GOOD, 6) / budget.spent(Stage.CALLED_GOOD, MANY) < 0.9


def test_decisions_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Budget(0.01).share(Stage.PROOF, 0)
