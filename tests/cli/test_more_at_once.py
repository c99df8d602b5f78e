# SPDX-License-Identifier: GPL-2.0-only
"""What is said of processors of a VM: advice where it would help, and never a change of what is tried."""

import pytest

from bisector.cli.helpers import idle_builders, more_at_once, trial_slots
from bisector.execute import slots
from bisector.recipe.load import load, override
from bisector.recipe.model import Recipe


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors and much memory."""
    monkeypatch.setattr(slots, "processors", lambda: 2)
    monkeypatch.setattr(slots, "memory", lambda: 64 << 30)


@pytest.fixture
def recipe() -> Recipe:
    return load("virtio-open-lvm-raid1")


def test_a_vm_keeps_two_processors_and_it_is_said_what_one_would_do(recipe: Recipe) -> None:
    assert recipe.vm is not None
    assert (recipe.vm.cpus, trial_slots("auto", [recipe])) == (2, 1)
    said = more_at_once(1, [recipe])
    assert said.startswith("1 at a time, as a VM has 2 processors")
    assert "by 2 at once: vm.cpus=1" in said


@pytest.mark.parametrize("word", ["vm.cpus=2", "vm.cpus=1"])
def test_nothing_is_said_where_the_recipe_says_it_or_one_trial_decides(recipe: Recipe, word: str) -> None:
    assert more_at_once(1, [override(recipe, word)]) == ""
    assert more_at_once(1, [recipe.model_copy(update={"trials": 1, "confidence": None})]) == ""


def test_nothing_is_said_where_no_more_would_fit(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "memory", lambda: 2 << 30)
    assert more_at_once(1, [recipe]) == ""


def test_builds_run_ahead_where_a_processor_is_idle_beside_all_vms(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = override(recipe, "vm.cpus=1")
    assert (idle_builders([one], 1), idle_builders([one], 2), idle_builders([recipe], 1)) == (1, 0, 0)
    monkeypatch.setattr(slots, "processors", lambda: 3)
    assert (idle_builders([one], 2), idle_builders([recipe], 1)) == (1, 1)
