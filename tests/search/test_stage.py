# SPDX-License-Identifier: GPL-2.0-only
"""The names under which trials are stored."""

import pytest

from bisector.stage import Stage


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("ends", Stage.ENDS),
        ("ends-again", Stage.ENDS),
        ("proof-12", Stage.PROOF),
        ("harness-check", Stage.CHECK),
        ("proofs", None),
        ("next-0f", None),
        ("", None),
    ],
)
def test_a_stored_name_belongs_to_one_part_or_to_none(name: str, stage: Stage | None) -> None:
    assert Stage.of(name) is stage


def test_what_happens_again_has_a_name_of_its_own_and_belongs_to_the_same_part() -> None:
    assert Stage.PROOF.again(2) == "proof-2"
    assert Stage.of(Stage.ENDS.again("longer")) is Stage.ENDS
