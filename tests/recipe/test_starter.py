# SPDX-License-Identifier: GPL-2.0-only
"""A first recipe written from wishes passes ``check``, whatever was wished for; or is refused with what to ask for."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.cli import new
from bisector.errors import UsageError
from bisector.recipe import failure
from bisector.recipe.failure import STORAGE, TESTED, WORKLOADS, FailureDescription
from bisector.recipe.load import load
from bisector.recipe.matrix import cells
from bisector.recipe.plan import plan_for, question_for
from bisector.recipe.starter import script_text, text

DATA = Path(__file__).parent / "data" / "starter"
EVERY = [FailureDescription("first", *combination) for combination in itertools.product(TESTED, STORAGE, WORKLOADS)]
LVM = (
    *("linear", "striped", "raid0", "raid1", "raid5", "raid6", "raid10", "mirror"),
    *("thin", "snapshot", "cache", "writecache"),
)
BLOCK = {
    "disk",
    "partition-dos",
    "partition-gpt",
    *(f"lvm-{type_}" for type_ in LVM),
    *(f"md-{type_}" for type_ in ("linear", "raid0", "raid1", "raid5", "raid6", "raid10")),
    *(
        f"dm-{type_}"
        for type_ in ("linear", "striped", "unstriped", "crypt", "integrity", "flakey", "delay", "dust", "table")
    ),
    "raw",
}
REDUNDANT = {*(f"lvm-{type_}" for type_ in ("raid1", "raid5", "raid6", "raid10", "mirror"))}
REDUNDANT |= {f"md-{type_}" for type_ in ("raid1", "raid5", "raid6", "raid10")}
FILE_SYSTEMS = ("ext4", "xfs", "btrfs", "f2fs", "vfat", "squashfs")
IMAGES = ("qcow2", "vmdk", "vhdx")
GOLDEN = {
    "script": FailureDescription("script"),
    "script-on-raid1": FailureDescription(
        "script-on-raid1", storage="lvm-raid1", script="bin/repro.sh", bad_exit=7, console=r"it's \d+ blocks",
        good="v6.17", bad="6.18", title="a leg's gone: why?",
    ),
    "guest-on-mirror": FailureDescription("guest-on-mirror", storage="lvm-mirror", workload="guest"),
    "open-qcow2": FailureDescription("open-qcow2", storage="qcow2", workload="open"),
    "qemu-qcow2": FailureDescription("qemu-qcow2", tested="qemu", storage="qcow2"),
}  # fmt: skip


def may_be_written(wishes: FailureDescription) -> bool:
    """What fits together, said once more."""
    if wishes.tested == "qemu" and wishes.workload == "job":
        return wishes.storage in (BLOCK | {*IMAGES}) - ({"raw", *IMAGES} if wishes.console else set())
    if wishes.tested == "qemu":
        return wishes.workload == "script" and wishes.storage in ("none", "raw", *IMAGES) and not wishes.console
    if wishes.workload == "read":
        return wishes.storage in BLOCK
    if wishes.workload in ("fio", "reboot", "power-cut"):
        return wishes.storage in BLOCK | {*FILE_SYSTEMS} - {"squashfs"}
    if wishes.workload == "unplug":
        return wishes.storage in REDUNDANT | {"disk"}
    return wishes.workload == "script" or wishes.storage in BLOCK | {*IMAGES}


def written(wishes: FailureDescription, folder: Path) -> Path:
    """The recipe and its script, as files."""
    file = folder / f"{wishes.name}.yaml"
    file.write_text(text(wishes))
    if wishes.own_script:
        script = folder / wishes.own_script
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(script_text(wishes))
        script.chmod(0o755)
    return file


@pytest.mark.parametrize("console", ["", r"LBA \d+, 0 blocks"])
@pytest.mark.parametrize(
    ("ends", "title"),
    [
        (("", ""), ""),
        (("v6.17", "v6.18"), ""),
        (("6.10", ""), 'it\'s: "lost" # {really}'),
        (("", "5e3175455"), "no: yes"),
    ],
)
def test_each_combination_passes_check_or_is_refused(
    tmp_path: Path, console: str, ends: tuple[str, str], title: str
) -> None:
    passed = 0
    for plain in EVERY:
        wishes = replace(plain, console=console, good=ends[0], bad=ends[1], title=title)
        if not may_be_written(wishes):
            with pytest.raises(UsageError) as caught:
                text(wishes)
            assert caught.value.hint
            continue
        recipe = load(written(wishes, tmp_path))
        assert (recipe.search.good or "", recipe.search.bad or "", recipe.title or "") == (*ends, title)
        passed += 1
    # a script alone, on a file system, and on an image with open, guest and job; without a VM alone or on a file
    without_vm = 0 if console else 2 + len(IMAGES)
    job_of_qemu = len(BLOCK) + len(IMAGES) - (1 + len(IMAGES) if console else 0)
    written_to = 3 * (len(BLOCK) + len(FILE_SYSTEMS) - 1)
    pulled = len(REDUNDANT) + 1
    others = 5 * len(BLOCK) + 1 + len(FILE_SYSTEMS) + 4 * len(IMAGES)
    assert passed == others + without_vm + job_of_qemu + written_to + pulled


@pytest.mark.parametrize("wishes", [w for w in EVERY if may_be_written(w)], ids=str)
def test_each_becomes_a_plan_and_a_question(tmp_path: Path, wishes: FailureDescription) -> None:
    recipe = load(written(wishes, tmp_path))
    (cell,) = cells(recipe)
    plan = plan_for(recipe, cell)
    assert plan.vm is (
        wishes.tested == "kernel" or (wishes.workload == "job" and wishes.storage not in ("raw", *IMAGES))
    )
    assert bool(plan.files) is (wishes.workload == "script")
    assert (failure.LAYER in [layer.name for layer in plan.layers]) is (wishes.storage != "none")
    assert question_for(recipe).bad and question_for(recipe).good


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (FailureDescription("x", slower=20), "  slower: {seconds: {repro: '> 1.2 × good'}}"),
        (FailureDescription("x", storage="ext4", workload="fio"), "        directory: '{data}'"),
        (FailureDescription("x", storage="disk", zoned=True), "  data: {disk: null_blk, size: 128M, zoned: 4M}"),
        (
            FailureDescription("x", storage="md-raid1", workload="unplug", together=True),
            "        - load: {io: data, read: 4k, count: 64, direct: true, while: pull}",
        ),
        (
            FailureDescription("x", storage="ext4", together=True),
            "        - load: {io: data, write: 64k, count: 16, while: repro}",
        ),
        (
            FailureDescription("x", tested="qemu", storage="qcow2", workload="job", together=True),
            "        - ask: {qmp: query-block-jobs, while: repro}",
        ),
        (FailureDescription("x", udev=True), "needs: {udev: true}   # else no udev runs in the VM"),
        (FailureDescription("x", hangs=True), "  hangs: {hang: {vm: true}}   # a step does not end"),
        (FailureDescription("x", tested="qemu", hangs=True), "  hangs: {hang: {repro: true}}   # a step does not end"),
    ],
)
def test_a_wish_is_in_the_recipe(tmp_path: Path, wishes: FailureDescription, words: str) -> None:
    assert words in text(wishes).splitlines()
    assert load(written(wishes, tmp_path))


def test_a_workload_that_may_hang_anyway_says_so_once() -> None:
    for wishes in EVERY:
        if may_be_written(wishes):
            assert text(replace(wishes, hangs=True)).count("{hang: ") == 1


def with_others_beside() -> list[FailureDescription]:
    """Every wish that something can go on beside."""
    others = [replace(wishes, together=True) for wishes in EVERY]
    return [wishes for wishes in others if may_be_written(wishes) and may_be_together(wishes)]


def may_be_together(wishes: FailureDescription) -> bool:
    """Where I/O can go on beside the workload, said once more."""
    if wishes.workload in ("script", "fio"):
        return wishes.tested == "kernel" and wishes.storage in BLOCK | {*FILE_SYSTEMS} - {"squashfs"}
    return wishes.workload == "job" or (wishes.workload == "unplug" and wishes.storage in REDUNDANT)


def test_what_can_go_on_beside_another_thing_becomes_a_plan_and_all_else_is_refused(tmp_path: Path) -> None:
    fit = with_others_beside()
    for plain in EVERY:
        wishes = replace(plain, together=True)
        if not may_be_written(plain):
            continue
        if wishes not in fit:
            with pytest.raises(UsageError) as caught:
                text(wishes)
            assert caught.value.hint
            continue
        recipe = load(written(wishes, tmp_path))
        plan = plan_for(recipe, cells(recipe)[0])
        beside = {step.name: step.during for step in plan.steps if step.group}
        (longest,) = {during for during in beside.values() if during}
        assert beside[longest] == "" and len(beside) >= 2
        condition = recipe.good_when["it-held"]
        assert {*beside} <= set(condition.exit)
        assert {f"{name}-failed" for name in beside if name != longest} <= set(recipe.bad_when)
    assert {wishes.workload for wishes in fit} == set(failure.BESIDE)


def test_every_line_fits_a_terminal() -> None:
    for wishes in [*EVERY, *with_others_beside()]:
        if may_be_written(wishes):
            lines = f"{text(wishes)}{script_text(wishes)}".splitlines()
            assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("name", GOLDEN)
def test_the_text_is_the_golden_one(name: str) -> None:
    assert text(GOLDEN[name]) == (DATA / f"{name}.yaml").read_text()


def test_the_script_that_is_begun_says_nothing_yet(tmp_path: Path) -> None:
    wishes = GOLDEN["script-on-raid1"]
    written(wishes, tmp_path)
    assert os.spawnv(os.P_WAIT, str(tmp_path / wishes.own_script), ["repro.sh"]) not in (0, wishes.bad_exit)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (FailureDescription("No Name"), "no name of a recipe"),
        (FailureDescription("x", title="two\nlines"), "one line"),
        (FailureDescription("x", console="("), "does not compile"),
        (FailureDescription("x", console="a*"), "matches every line"),
        (FailureDescription("x", bad_exit=0), "exit code 0"),
        (FailureDescription("x", good="v6\n"), "not one revision"),
        (FailureDescription("x", storage="disk", workload="reboot", slower=20), "no number to compare"),
        (FailureDescription("x", slower=100), "not from 1 to 99"),
        (FailureDescription("x", fio="rw=read"), "fio is not run"),
        (FailureDescription("x", storage="disk", workload="fio", fio="--rw=read"), "no option of a job"),
        (FailureDescription("x", storage="disk", workload="reboot", zoned=True), "null_blk's"),
        (FailureDescription("x", storage="squashfs", workload="fio"), "cannot be written"),
        (FailureDescription("x", storage="lvm-thin", workload="unplug"), "does not live on"),
        (FailureDescription("x", tested="qemu", udev=True), "no udev of its own"),
        (FailureDescription("x", storage="disk", workload="reboot", together=True), "nothing goes on beside reboot"),
        (FailureDescription("x", storage="disk", workload="unplug", together=True), "gives errors while it is"),
        (FailureDescription("x", storage="disk", workload="job", zoned=True, together=True), "fails on a zone"),
        (FailureDescription("x", together=True), "plain I/O in the VM"),
        (FailureDescription("x", storage="qcow2", together=True), "plain I/O in the VM"),
        (FailureDescription("x", tested="qemu", storage="raw", together=True), "plain I/O in the VM"),
    ],
)
def test_a_wish_that_cannot_be_is_named(wishes: FailureDescription, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        text(wishes)


def test_the_command_line_offers_the_same_words() -> None:
    assert (new.TESTED, new.WORKLOADS, new.DISKS) == (TESTED, WORKLOADS, failure.DISKS)
