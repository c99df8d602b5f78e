# SPDX-License-Identifier: GPL-2.0-only
"""A cell's name as the command line takes it, and which trials a verdict stands on."""

from dataclasses import replace

import pytest

from bisector.model import Signal, Verdict
from bisector.recipe.load import listed, load
from bisector.recipe.matrix import apply, cell_named, cells, override, plain
from bisector.recipe.resolve import resolved_yaml
from bisector.report.cells import question, trials_of, words
from tests.report import case


@pytest.mark.parametrize("recipe", [each.stem for each in listed()])
def test_a_cells_words_name_that_cell(recipe: str) -> None:
    loaded = load(recipe)
    for cell in cells(loaded):
        if cell.not_applicable or not cell.name:
            continue
        overridden = loaded
        for word in words(cell.name):
            overridden = override(overridden, word)
        assert plain(overridden)["steps"] == plain(apply(loaded, cell))["steps"]
        assert overridden.storage == apply(loaded, cell).storage
        assert overridden.guest == apply(loaded, cell).guest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ()),
        ("plain-md", ()),
        ("a-b.c=1", ("a-b.c=1",)),
        ("steps.probe.read=4, storage.lv.size=64M", ("steps.probe.read=4", "storage.lv.size=64M")),
        ('storage.lv={"lvm": "raid1", "of": ["a", "b"]},storage.{a,b}.disk=nvme',
         ('storage.lv={"lvm": "raid1", "of": ["a", "b"]}', "storage.{a,b}.disk=nvme")),
        ("steps.x.run=[a, b=c],deadline=9s", ("steps.x.run=[a, b=c]", "deadline=9s")),
    ],
)  # fmt: skip
def test_words_of_a_cell(name: str, expected: tuple[str, ...]) -> None:
    assert words(name) == expected


def test_one_question_is_known_by_whatever_name() -> None:
    recipe = load("virtio-open-lvm-raid1")
    native, threads = "guest.drives.vda.aio=native", "guest.drives.vda.aio=threads"
    whole = resolved_yaml(recipe)
    pinned = resolved_yaml(override(recipe, native))
    assert question(whole, native) == question(pinned, native) == question(pinned, "")
    assert question(whole, native) != question(whole, threads)
    assert question(whole.replace("title:", "title: also"), native) == question(whole, native)
    other = apply(recipe, cell_named(recipe, native)).model_copy(update={"bad_when": recipe.good_when})
    assert question(resolved_yaml(other), native) != question(whole, native)
    assert question("no: recipe", native) != question("no: recipe", threads)


def test_a_cell_with_the_plan_of_another_stands_on_its_trials() -> None:
    first = replace(case.PROOF_BAD, plan="plan")
    stored = replace(first, trials=(), cell="a-control")
    assert trials_of(first.trials, "proof", stored) == first.trials
    assert trials_of(first.trials, "proof", replace(stored, plan="another")) == ()
    assert trials_of(first.trials, "search", stored) == ()
    older = replace(stored, plan="")  # stored before plans were
    assert trials_of(first.trials, "proof", older) == ()
    assert trials_of(first.trials, "proof", replace(older, cell=case.CELL)) == first.trials
    assert {trial.reading.signal for trial in first.trials} == {Signal.REPRODUCED}
    assert first.verdict is Verdict.BAD
