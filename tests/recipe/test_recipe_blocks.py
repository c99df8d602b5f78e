# SPDX-License-Identifier: GPL-2.0-only
"""The recipes of stamped blocks: what they plan, what they build, and how what a trial saw of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisector.agent.plan import AgentEvent, Result, StepFacts
from bisector.model import Cell, Ending, Observation, Signal
from bisector.recipe.load import load, loads
from bisector.recipe.matrix import cells, controls
from bisector.recipe.modules import modules_for
from bisector.recipe.plan import plan_for, question_for
from bisector.verdict.signature import read

DUPLICATE = load("duplicate-4k-blocks")
ENOSPC = load("enospc-unseen")


def seen(*steps: tuple[str, str, tuple[str, ...]], stop: bool = False, go: int = 0) -> Observation:
    """A finished trial: (step, errno, blocks) each; every step done."""
    facts = [StepFacts(name, 0, 1, done=True, exit=0, errno=errno, blocks=blocks) for name, errno, blocks in steps]
    facts.append(StepFacts("go", 1, 2, done=True, exit=go))
    events = (AgentEvent(0.5, "qmp", "STOP"),) if stop else ()
    return Observation(Ending.FINISHED, Result(complete=True, steps=tuple(facts), events=events))


def test_plan_of_the_duplicates() -> None:
    plan = plan_for(DUPLICATE, Cell(""))
    assert [(s.verb, s.objects, s.where) for s in plan.steps] == [
        ("start", ("guest",), "vm"),
        ("stamp", ("usr",), "guest"),
        ("corrupt", ("disk",), "vm"),
        ("restart", ("guest",), "vm"),
        ("verify", ("usr",), "guest"),
        ("corrupt", ("disk",), "vm"),
        ("verify", ("disk",), "vm"),
    ]
    assert (plan.steps[1].size, plan.steps[2].damage, plan.steps[6].direct) == (64 << 20, "none", True)
    assert plan.guest is not None
    assert [(layer.kind, layer.type, layer.of) for layer in plan.guest.storage] == [("fs", "ext4", ("vda",))]
    damages = [[step.damage for step in plan_for(DUPLICATE, one).steps if step.damage] for one in controls(DUPLICATE)]
    assert damages == [["duplicate", "none"], ["duplicate", "restored"]]


def test_blocks_come_into_the_guest_over_virtio_whatever_its_drives_are(tmp_path: Path) -> None:
    text = DUPLICATE.file.read_text().replace("virtio-blk", "nvme")
    assert "virtio_blk" in modules_for(loads(text, tmp_path / "stamped.yaml"), [Cell("")])


@pytest.mark.parametrize(
    ("inside", "outside", "signal", "condition"),
    [
        (("clean",), ("clean",), Signal.CLEAN, "same"),
        (("duplicate",), ("clean",), Signal.REPRODUCED, "read-side"),
        (("duplicate",), ("duplicate",), Signal.REPRODUCED, "media"),
        (("clean",), ("duplicate", "torn"), Signal.REPRODUCED, "media"),
        (("clean",), (), Signal.OTHER_FAILURE, ""),  # nothing judged is not clean
        (("zeroed",), ("zeroed",), Signal.OTHER_FAILURE, ""),  # another failure than the recipe's
    ],
)
def test_host_and_guest_tell_the_read_side_from_the_medium(
    inside: tuple[str, ...], outside: tuple[str, ...], signal: Signal, condition: str
) -> None:
    reading = read(seen(("inside", "", inside), ("outside", "", outside)), question_for(DUPLICATE))
    assert (reading.signal, reading.condition) == (signal, condition)


def test_every_disk_and_answer_of_the_full_file_system_is_a_cell() -> None:
    every = cells(ENOSPC)
    assert len(every) == 12 and not any(cell.not_applicable for cell in every)
    drives = set()
    for cell in every:
        plan = plan_for(ENOSPC, cell)
        assert plan.guest is not None
        (drive,) = plan.guest.drives
        drives.add((drive.device, drive.werror, plan.steps[1].direct))
    assert len(drives) == 12
    assert ENOSPC.target.qemu is not None and ENOSPC.target.qemu.build == ("qemu-system-x86_64",)
    (silent,) = controls(ENOSPC)
    plan = plan_for(ENOSPC, silent)
    assert silent.expect == "bad" and plan.guest is not None and plan.guest.drives[0].werror == "ignore"


@pytest.mark.parametrize(
    ("fill", "blocks", "stop", "go", "signal", "condition"),
    [
        ("", ("clean",), True, 0, Signal.CLEAN, "paused"),
        ("EIO", ("clean",), False, 0, Signal.CLEAN, "reported"),
        ("ENOSPC", ("clean",), False, 0, Signal.CLEAN, "reported"),
        ("", ("zeroed",), False, 0, Signal.REPRODUCED, "lost"),
        ("EIO", ("torn",), False, 0, Signal.REPRODUCED, "lost"),  # reported, and something that was flushed is gone
        ("", ("zeroed",), True, 0, Signal.REPRODUCED, "lost"),
        ("", ("clean",), False, 0, Signal.OTHER_FAILURE, ""),  # it never became full: nothing was tried
        ("", ("clean",), True, 1, Signal.OTHER_FAILURE, ""),
        ("EIO", (), False, 0, Signal.OTHER_FAILURE, ""),
    ],
)
def test_a_pause_or_an_error_is_good_unless_something_flushed_is_lost(
    fill: str, blocks: tuple[str, ...], stop: bool, go: int, signal: Signal, condition: str
) -> None:
    reading = read(seen(("fill", fill, ()), ("verify", "", blocks), stop=stop, go=go), question_for(ENOSPC))
    assert (reading.signal, reading.condition) == (signal, condition)


def test_a_foreign_guest_is_planned_with_its_image_and_its_marker(tmp_path: Path) -> None:
    (tmp_path / "bsd.img").write_bytes(b"x")
    text = """
recipe: foreign
target: {kernel: {config: [base]}}
guest: {os: image, image: bsd.img, ready: 'login:'}
steps: [{boot: {start: guest}}]
bad_when: {crash: {console: {guest: '^panic'}}}
good_when: {up: {exit: {boot: 0}}}
"""
    plan = plan_for(loads(text, tmp_path / "foreign.yaml"), Cell(""))
    assert plan.guest is not None
    assert (plan.guest.os, plan.guest.image, plan.guest.ready) == ("image", "bsd.img", "login:")
    assert [file.name for file in plan.files] == ["bsd.img"]
