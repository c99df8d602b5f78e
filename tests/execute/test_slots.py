# SPDX-License-Identifier: GPL-2.0-only
"""How many trials run at once where nobody says it."""

import pytest

from bisector.execute.slots import automatic, memory, processors

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cpus", "free", "expected"),
    [(2, 24, 1), (4, 24, 2), (16, 64, 8), (16, 8, 2), (1, 24, 1), (64, 1, 1)],
)
def test_each_vm_has_its_processors_and_its_memory(cpus: int, free: int, expected: int) -> None:
    assert automatic(2, 2 * GIB, cpus=cpus, free=free * GIB) == expected


def test_without_a_vm_each_processor_runs_a_trial() -> None:
    assert automatic(0, 0, cpus=6, free=1 * GIB) == 6


def test_this_host_has_some_of_both() -> None:
    assert processors() >= 1
    assert memory() > 64 << 20
