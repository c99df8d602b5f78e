# SPDX-License-Identifier: GPL-2.0-only
"""A first recipe with several layers on each other passes ``check``, or is refused with what to ask for."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.errors import UsageError
from bisector.recipe.failure import DISKS, STORAGE, WORKLOADS, FailureDescription
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.plan import plan_for, question_for
from bisector.recipe.starter import text

PAIRS = [FailureDescription("first", storage=top, below=(low,)) for top, low in itertools.product(STORAGE, STORAGE)]


def stack(*layers: str, **more: object) -> FailureDescription:
    return FailureDescription("first", storage=layers[0], below=layers[1:], **more)  # type: ignore[arg-type]


def drawn(seed: int) -> FailureDescription:
    """Three or four layers, and what else may be wished for."""
    draw = random.Random(seed)
    layers = [draw.choice(STORAGE[2:]) for _ in range(draw.choice((3, 3, 4)))]  # neither nothing nor a disk
    return stack(
        *layers,
        disks=draw.choice((0, 0, 0, 0, 2, 3, 4, 5, 8)),
        disk=draw.choice(("", *DISKS)),
        workload=draw.choice(("script", "script", *WORKLOADS)),
        together=draw.random() < 0.2,
    )


def loaded(wishes: FailureDescription, folder: Path) -> Recipe | None:
    """None where it is refused."""
    try:
        written = text(wishes)
    except UsageError as error:
        assert error.hint
        return None
    assert max(map(len, written.splitlines())) <= 80
    script = folder / "first.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (folder / "first.yaml").write_text(written)
    return load(folder / "first.yaml")


def test_each_pair_passes_check_or_is_refused(tmp_path: Path) -> None:
    passed = {(wishes.storage, *wishes.below) for wishes in PAIRS if loaded(wishes, tmp_path)}
    fit = {("ext4", "md-raid5"), ("md-raid1", "dm-crypt"), ("qcow2", "xfs"), ("lvm-snapshot", "lvm-thin")}
    fit |= {("lvm-cache", "partition-gpt"), ("qcow2", "lvm-linear"), ("dm-delay", "dm-delay")}
    unfit = {("md-raid1", "ext4"), ("md-raid5", "md-raid1"), ("ext4", "disk"), ("ext4", "qcow2"), ("disk", "md-raid1")}
    unfit |= {("none", "md-raid1"), ("ext4", "lvm-snapshot"), ("lvm-cache", "lvm-writecache")}
    assert fit <= passed and not unfit & passed
    assert len(passed) > len(PAIRS) / 3


@pytest.mark.parametrize("part", range(4))
def test_higher_ones_become_a_plan_or_are_refused(tmp_path: Path, part: int) -> None:
    plans = 0
    for seed in range(part * 250, part * 250 + 250):
        wishes = drawn(seed)
        if recipe := loaded(wishes, tmp_path):
            plan = plan_for(recipe, cells(recipe)[0])
            assert {"data", "leg0"} <= {layer.name for layer in plan.layers}
            assert question_for(recipe).bad and question_for(recipe).good
            plans += 1
    assert plans > 20


def test_what_lies_below_an_array_is_there_for_each_member(tmp_path: Path) -> None:
    recipe = loaded(stack("xfs", "lvm-linear", "md-raid10", "dm-crypt", disks=4, disk="scsi"), tmp_path)
    assert recipe is not None and recipe.storage is not None
    of = {name: layer.of for name, layer in recipe.storage.items()}
    assert of["md-raid10"] == tuple(f"dm-crypt-{number}" for number in range(4))
    assert (of["dm-crypt-3"], of["lvm-linear"], of["data"]) == (("leg3",), ("md-raid10",), ("lvm-linear",))
    assert {recipe.storage[f"leg{number}"].type for number in range(4)} == {"scsi"}


def test_the_arrays_health_is_a_condition_wherever_it_stands(tmp_path: Path) -> None:
    recipe = loaded(stack("ext4", "dm-crypt", "md-raid5"), tmp_path)
    assert recipe is not None
    assert list(recipe.bad_when["leg-failed"].health) == ["md-raid5"]
    assert list(recipe.good_when["it-held"].health) == ["md-raid5"]
    recipe = loaded(stack("lvm-raid1", "dm-crypt", "lvm-linear", workload="unplug"), tmp_path)
    assert recipe is not None and "leg-failed" not in recipe.bad_when


def test_two_layers_of_a_type_have_two_names(tmp_path: Path) -> None:
    recipe = loaded(stack("lvm-linear", "dm-linear", "dm-linear"), tmp_path)
    assert recipe is not None and recipe.storage is not None
    assert {"dm-linear", "dm-linear-2", "data", "leg0"} == set(recipe.storage)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (stack("ext4", "btrfs"), "fs ext4 does not lie on fs btrfs"),
        (stack("ext4", "disk"), "nothing of a first recipe lies on 'disk'"),
        (stack("ext4", "md-raid1", "md-raid1"), None),
        (stack("disk", "md-raid1"), "disk lies on nothing"),
        (stack("f2fs", "dm-linear", zoned=True), "lies on nothing here"),
        (stack("md-raid1", "md-raid0"), "md raid1 is made of disks here"),
        (stack("ext4", "lvm-snapshot"), "lvm snapshot lies on no disk"),
        (stack("qcow2", "squashfs"), "does not lie on"),
        (stack("raw", "xfs", tested="qemu"), "lies on nothing here"),
        (FailureDescription("first", storage="md-raid5", disks=2), "--disks 2: md-raid5 lies on an array of 3 to 8"),
        (FailureDescription("first", storage="md-raid5", disks=9), "--disks 9"),
        (FailureDescription("first", storage="lvm-raid10", disks=5), "--disks 5"),
        (FailureDescription("first", storage="ext4", disks=2), "--disks 2: ext4 lies on one"),
        (FailureDescription("first", disks=2), "there are no disks"),
        (FailureDescription("first", storage="ext4", disk="floppy"), "--disk 'floppy': not one of nvme"),
        (FailureDescription("first", storage="disk", disk="nvme", zoned=True), "--disk 'nvme'"),
    ],
)
def test_what_cannot_be_is_named(wishes: FailureDescription, said: str | None) -> None:
    with pytest.raises(UsageError, match=said):
        text(wishes)


def test_the_command_takes_a_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["new", "first", "--storage", "ext4,dm-crypt,md-raid5", "--disks", "4", "--disk", "virtio-blk"]
    assert main([*words, "--folder", str(tmp_path)]) == 0
    recipe = load(tmp_path / "first.yaml")
    assert recipe.storage is not None and len(recipe.storage) == 7
    assert main(["new", "second", "--storage", "ext4,dm-cript", "--folder", str(tmp_path)]) == 2
    assert "--storage dm-cript: not one of none, disk" in capsys.readouterr().err
