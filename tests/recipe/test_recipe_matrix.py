# SPDX-License-Identifier: GPL-2.0-only
"""Overrides: cells, controls and the command line's own, in one grammar."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisector.errors import RecipeError, UsageError
from bisector.model import Cell
from bisector.recipe import parse
from bisector.recipe.load import load, loads
from bisector.recipe.matrix import _text as written
from bisector.recipe.matrix import _value as value_of
from bisector.recipe.matrix import apply, cells, controls, override
from bisector.recipe.model import Recipe
from bisector.recipe.resolve import resolved_yaml

GRAMMAR = Path(__file__).parent / "data" / "grammar"
RAID1 = (GRAMMAR / "virtio-dio-lvm-raid1.yaml").read_text()


def raid1(*changes: tuple[str, str]) -> Recipe:
    text = RAID1
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return loads(text, GRAMMAR / "changed.yaml")


def test_matrix_is_multiplied_out_in_the_files_order() -> None:
    recipe = load(GRAMMAR / "enospc-unseen.yaml")
    seen = [tuple(value for _, value in cell.overrides) for cell in cells(recipe)]
    assert seen == list(itertools.product(["ide", "ahci", "virtio-blk"], ["enospc", "report"]))
    assert cells(recipe)[0].name == "guest.drives.data.device=ide,guest.drives.data.werror=enospc"


def test_recipe_without_matrix_is_one_cell_without_name() -> None:
    recipe = load(GRAMMAR / "my-reproducer.yaml")
    assert cells(recipe) == (Cell(""),)
    assert apply(recipe, Cell("")) == recipe


def test_cell_changes_what_it_names_and_nothing_else() -> None:
    recipe = raid1()
    threads = apply(recipe, cells(recipe)[1])
    assert threads.guest and recipe.guest
    assert (recipe.guest.drives["vda"].aio, threads.guest.drives["vda"].aio) == ("native", "threads")
    assert threads.guest.drives["vda"].cache.direct
    assert (threads.storage, threads.steps, threads.bad_when) == (recipe.storage, recipe.steps, recipe.bad_when)
    assert (threads.matrix, threads.controls) == ({}, {})
    assert threads.file == recipe.file


def test_control_may_put_another_layer_in_place() -> None:
    recipe = raid1()
    (control,) = controls(recipe)
    assert (control.name, control.expect) == ("plain-md", "good")
    boot = apply(recipe, control).storage["boot"]
    assert (boot.kind, boot.type, boot.of, boot.size) == ("md", "raid1", ("leg0", "leg1"), None)


LINEAR = (
    "plain-md: {expect: good, set: {storage.boot: {md: raid1, of: [leg0, leg1]}}}",
    "linear: {expect: good, set: {storage.boot: {lvm: linear, of: leg0, size: 32M}}}",
)


def test_a_layer_without_redundancy_may_take_an_arrays_place_where_good_allows_it() -> None:
    with pytest.raises(RecipeError, match="has no redundancy to lose; take 'none' among the values of a good"):
        raid1(LINEAR)
    recipe = raid1(LINEAR, ("health: {boot: healthy}", "health: {boot: [healthy, none]}"))
    assert apply(recipe, controls(recipe)[0]).storage["boot"].type == "linear"


def test_key_that_the_recipe_leaves_at_its_default_can_be_overridden() -> None:
    recipe = override(load(GRAMMAR / "enospc-unseen.yaml"), "guest.drives.data.cache.direct=true")
    assert recipe.guest and recipe.guest.drives["data"].cache.direct
    assert apply(raid1(), Cell("", (("steps.load.for", "20s"),))).steps["load"].seconds == 20
    assert apply(raid1(), Cell("", (("vm.memory", "4G"),))).vm.memory == 4 << 30  # type: ignore[union-attr]
    assert apply(raid1(), Cell("", (("deadline", "10m"),))).deadline == 600


def test_cell_that_qemu_refuses_is_not_applicable_and_says_why() -> None:
    recipe = raid1(
        ("matrix: {guest.drives.vda.aio: [native, threads]}",
         "matrix: {guest.drives.vda.aio: [native, threads], guest.drives.vda.cache.direct: [true, false]}"),
    )  # fmt: skip
    assert [bool(cell.not_applicable) for cell in cells(recipe)] == [False, True, False, False]
    assert "QEMU refuses aio native without" in cells(recipe)[1].not_applicable
    with pytest.raises(UsageError, match="QEMU refuses aio native"):
        apply(recipe, cells(recipe)[1])


def test_a_recipe_is_parsed_once_however_many_cells_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[object] = []
    real = parse.parse
    monkeypatch.setattr(parse, "parse", lambda data: parsed.append(data) or real(data))
    recipe = load("virtio-open-family")
    every = (*cells(recipe), *controls(recipe))
    tried = [apply(recipe, cell) for cell in every if not cell.not_applicable]
    assert len(every) > 100
    assert len(tried) > 50
    assert len(parsed) == 1


@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_copy_of_a_recipe_has_edits_of_its_own(deep: bool) -> None:
    recipe = raid1()
    cell = cells(recipe)[0]
    assert apply(recipe, cell).title == recipe.title
    changed = recipe.model_copy(update={"title": "another"}, deep=deep)
    assert apply(changed, cell).title == "another"
    assert apply(pickle.loads(pickle.dumps(changed)), cell).title == "another"


@pytest.mark.parametrize("name", ["virtio-open-family", "virtio-dio-lvm-raid1", "qcow2-discard-race", "flaky-guest"])
def test_an_edited_recipe_is_the_one_that_its_text_would_be(name: str) -> None:
    recipe = load(name) if name != "flaky-guest" else raid1()
    for cell in (*cells(recipe), *controls(recipe)):
        if not cell.not_applicable:
            found = apply(recipe, cell)
            assert found == loads(resolved_yaml(found), recipe.file)


def test_parity_needs_three_legs_and_two_of_it_four() -> None:
    levels = ", ".join(f"{{md: {level}, of: [leg0, leg1]}}" for level in ("raid1", "raid5", "raid6"))
    recipe = raid1(("{guest.drives.vda.aio: [native, threads]}", f"{{storage.boot: [{levels}]}}"))
    found = [cell.not_applicable for cell in cells(recipe)]
    assert found == [None, "md raid5 needs 3 legs or more, found 2", "md raid6 needs 4 legs or more, found 2"]


def test_level_with_too_few_legs_is_a_cell_that_is_not_applicable() -> None:
    recipe = raid1(("{guest.drives.vda.aio: [native, threads]}", "{storage.boot.lvm: [raid1, raid10, mirror]}"))
    assert [cell.not_applicable for cell in cells(recipe)] == [None, "lvm raid10 needs 4 legs or more, found 2", None]


def test_recipe_whose_own_combination_is_refused_loads_when_the_matrix_fixes_it() -> None:
    fixed = raid1(
        ("aio: native, cache: {direct: true}", "aio: native"),
        ("{guest.drives.vda.aio: [native, threads]}", "{guest.drives.vda.cache.direct: [true, false]}"),
    )
    assert [bool(cell.not_applicable) for cell in cells(fixed)] == [False, True]
    with pytest.raises(RecipeError, match="QEMU refuses aio native"):
        raid1(
            ("aio: native, cache: {direct: true}", "aio: native"),
            ("matrix: {guest.drives.vda.aio: [native, threads]}\n", ""),
        )


def test_command_line_override_takes_its_axis_out_of_the_matrix() -> None:
    recipe = override(load(GRAMMAR / "enospc-unseen.yaml"), "guest.drives.data.device=nvme")
    assert [cell.overrides for cell in cells(recipe)] == [
        (("guest.drives.data.werror", "enospc"),),
        (("guest.drives.data.werror", "report"),),
    ]
    assert recipe.guest and recipe.guest.drives["data"].device == "nvme"
    assert [control.name for control in controls(recipe)] == ["silent"]


def test_braces_set_one_value_at_several_places() -> None:
    legs = "storage.{leg0, leg1}.disk"
    recipe = raid1(("matrix: {guest.drives.vda.aio: [native, threads]}", f"matrix: {{'{legs}': [nvme, scsi]}}"))
    assert [cell.name for cell in cells(recipe)] == [f"{legs}=nvme", f"{legs}=scsi"]
    scsi = apply(recipe, cells(recipe)[1]).storage
    assert (scsi["leg0"].disk, scsi["leg1"].disk, scsi["boot"].lvm) == ("scsi", "scsi", "raid1")
    assert override(recipe, f"{legs}=loop").storage["leg1"].disk == "loop"


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("'storage.{leg0,leg7}.disk': [nvme]", "no 'leg7' in storage"),
        ("'storage.{leg0,leg1}.disk': [floppy]", "'floppy' is not known"),
        ("'storage.{leg0,leg1}.size': [64M], storage.leg1.size: [32M]", "lies inside storage.leg1.size"),
    ],
)
def test_braces_that_lead_nowhere_are_said(axis: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        raid1(("matrix: {guest.drives.vda.aio: [native, threads]}", f"matrix: {{{axis}}}"))
    assert message in str(caught.value.diagnostics)


def test_numbers_in_a_matrix_survive_cells_and_pickles() -> None:
    recipe = raid1(("{guest.drives.vda.aio: [native, threads]}", "{steps.load.probability: [0.30, 1], vm.cpus: [2]}"))
    recipe = pickle.loads(pickle.dumps(recipe))
    assert [cell.name for cell in cells(recipe)] == [
        "steps.load.probability=0.3,vm.cpus=2",
        "steps.load.probability=1,vm.cpus=2",
    ]
    assert [apply(recipe, cell).steps["load"].probability for cell in cells(recipe)] == [0.3, 1.0]


def test_command_line_value_is_yaml() -> None:
    recipe = override(raid1(), "storage.boot={lvm: mirror, of: [leg0, leg1], size: 16M, log: core}")
    assert recipe.storage["boot"].log == "core"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("guest.drives.vda.aio", "expected PATH=VALUE"),
        ("=x", "expected PATH=VALUE"),
        ("guest.drives.vdb.aio=threads", "no 'vdb' in guest.drives; did you mean 'vda'"),
        ("guest.drives.vda.aoi=threads", "no key 'aoi' in guest.drives.vda; did you mean 'aio'"),
        ("guest.drives.vda.aio=treads", "'treads' is not known; did you mean 'threads'"),
        ("guest.drives.vda.aio.x=1", "guest.drives.vda.aio has nothing inside"),
        ("storage.boot.size.x=1", "storage.boot.size has nothing inside"),
        ("storage=1", "expected a mapping"),
        ("steps.lode.count=3", "no 'lode' in steps; did you mean 'load'"),
        ("steps.load.count=many", "expected a whole number"),
        ("search.good=v6.1", "search is the same for all cells"),
        ("speed=3", "no 'speed' in the recipe"),
        ("deadline=", "has no value"),
        ("deadline=[", "is not YAML"),
        ("deadline=!x 3s", "a tag"),
        ("deadline=*a", "an alias"),
        ("vm.cpus=" + "[" * 5000, "nested deeper"),
        ("guest.drives.vda.cache=1", "expected a mapping"),
        ("..=1", "no '' in the recipe"),
        ("storage..x=1", "no '' in storage"),
    ],
)
def test_bad_override_is_a_usage_error_in_words(assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(raid1(), assignment)
    assert message in str(caught.value)


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=30), st.text(max_size=10))
def test_any_override_is_applied_or_refused(path: str, value: str) -> None:
    for assignment in (f"{path}={value}", f"guest.drives.vda.{path}={value}", f"steps.load.{path}={value}"):
        try:
            override(raid1(), assignment)
        except UsageError:
            continue


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]))
LEAVES = st.one_of(st.booleans(), st.integers(-(10**30), 10**30), TEXT)
KEYS = st.text("abc.-", min_size=1, max_size=4)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=8
)


@settings(deadline=None)  # the machine may be busy
@given(VALUES)
def test_value_of_a_cell_reads_back_as_it_was(value: object) -> None:
    assert value_of(written(value)) == value
