# SPDX-License-Identifier: GPL-2.0-only
"""What the other packages get of a recipe: plan, question, config."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from bisector import codec
from bisector.agent import plan as agent
from bisector.errors import InfraError
from bisector.model import BuildConfig, Cell, Fact, FactKind
from bisector.recipe.load import load, loads
from bisector.recipe.matrix import apply, cells, controls
from bisector.recipe.model import Recipe
from bisector.recipe.plan import added_fragments, build_config, plan_for, question_for

GRAMMAR = Path(__file__).parent / "data" / "grammar"
RECIPES = [load(file) for file in sorted(GRAMMAR.glob("*.yaml"))]
ONLY = Cell("")


def grammar(name: str, *changes: tuple[str, str]) -> Recipe:
    text = (GRAMMAR / f"{name}.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return loads(text, GRAMMAR / f"{name}.yaml")


# ---- plan ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.recipe)
def test_plan_of_every_cell_crosses_the_wall_and_back(recipe: Recipe) -> None:
    for cell in (*cells(recipe), *controls(recipe)):
        plan = plan_for(recipe, cell)
        assert codec.load(agent.Plan, codec.dump(plan)) == plan


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.recipe)
def test_two_cells_never_share_an_identity(recipe: Recipe) -> None:
    identities = [plan_for(recipe, cell).identity() for cell in (*cells(recipe), *controls(recipe))]
    assert len(set(identities)) == len(identities)


def test_probe_of_the_pread_recipe_says_what_is_read_and_where_to() -> None:
    recipe = load("dio-misaligned-pread")
    (step,) = plan_for(recipe, ONLY).steps
    assert (step.verb, step.objects, step.where) == ("io", ("boot",), "vm")
    assert step.io == agent.Io("read", block=4096, count=1, direct=True, buffer_offset=1)


def test_size_of_io_is_as_many_operations_as_it_takes() -> None:
    recipe = grammar("virtio-dio-lvm-raid1", ("count: 64, direct: true", "size: 1M, offset: 4k, for: 20s"))
    step = plan_for(recipe, cells(recipe)[0]).steps[1]
    assert step.io == agent.Io("read", block=4096, count=256, offset=4096)
    assert (step.where, step.seconds, step.size) == ("guest", 20.0, 0)


def test_layers_come_after_what_they_lie_on() -> None:
    recipe = grammar(
        "virtio-dio-lvm-raid1",
        ("  leg0: {disk: nvme, size: 128M}\n", ""),
        ("size: 32M}\n", "size: 32M}\n  leg0: {disk: nvme, size: 128M}\n"),
    )
    names = [layer.name for layer in plan_for(recipe, cells(recipe)[0]).layers]
    assert names == ["leg1", "leg0", "boot"]


def test_layer_says_its_kind_and_its_options_as_words() -> None:
    layers = {layer.name: layer for layer in plan_for(grammar("qcow2-discard-race"), ONLY).layers}
    assert layers["img"] == agent.Layer(
        "img", "file", "qcow2", size=256 << 20, options=(("cluster_size", "1048576"), ("extended_l2", "on"))
    )
    mirror = load("virtio-dio-lvm-mirror")
    boot = plan_for(mirror, cells(mirror)[0]).layers[-1]
    assert (boot.kind, boot.type, boot.of, boot.size) == ("lvm", "mirror", ("leg0", "leg1"), 32 << 20)
    assert boot.options == (("log", "core"),)
    ballast = plan_for(grammar("enospc-unseen"), cells(grammar("enospc-unseen"))[0]).layers[2]
    assert (ballast.name, ballast.options) == ("ballast", (("full", "true"),))


def test_drive_says_what_qemu_gets() -> None:
    recipe = load("virtio-open-lvm-raid1")
    by_cell = {cell.name: plan_for(recipe, cell).guest for cell in (*cells(recipe), *controls(recipe))}
    drives = {name: guest.drives[0] for name, guest in by_cell.items() if guest}
    assert drives["guest.drives.vda.aio=native"] == agent.Drive("vda", "boot", "virtio-blk", "native", True)
    assert drives["guest.drives.vda.aio=threads"] == agent.Drive("vda", "boot", "virtio-blk", "threads", True)
    assert drives["page-cache"] == agent.Drive("vda", "boot", "virtio-blk", "threads", False)
    assert by_cell["page-cache"] and by_cell["page-cache"].os == "none"


def test_drive_on_a_qcow2_file_is_opened_as_qcow2() -> None:
    recipe = grammar("enospc-unseen", ("img: {file: raw", "img: {file: qcow2"))
    guest = plan_for(recipe, cells(recipe)[0]).guest
    assert guest and guest.drives[0].format == "qcow2"


def test_plan_without_vm_runs_on_the_host() -> None:
    plan = plan_for(grammar("qcow2-discard-race"), ONLY)
    assert not plan.vm
    assert plan.steps[0].argv == ("./qcow2-race.py", "--seed", "{seed}", "{img}")


def test_vm_is_as_large_as_the_recipe_says() -> None:
    recipe = grammar("ahci-passthrough-xfs", ("vm: {memory: 4G}", "vm: {memory: 4G, cpus: 3, append: [slub_debug=FZ]}"))
    plan = plan_for(recipe, ONLY)
    assert (plan.memory, plan.cpus, plan.append) == (4 << 30, 3, ("slub_debug=FZ",))


def test_deadline_grows_with_guests_and_loads_unless_the_recipe_sets_it() -> None:
    open_only, with_guest = load("virtio-open-lvm-raid1"), load("virtio-dio-lvm-raid1")
    assert plan_for(open_only, cells(open_only)[0]).deadline == 120
    assert plan_for(with_guest, cells(with_guest)[0]).deadline == 240
    loaded = grammar("virtio-dio-lvm-raid1", ("count: 64, direct: true", "for: 30s"))
    assert plan_for(loaded, cells(loaded)[0]).deadline == 270
    assert plan_for(grammar("duplicate-4k-blocks"), ONLY).deadline == 360  # started and restarted
    assert plan_for(grammar("ahci-passthrough-xfs"), ONLY).deadline == 600  # its own


def test_files_of_the_recipe_are_part_of_the_question(tmp_path: Path) -> None:
    for file in GRAMMAR.iterdir():
        shutil.copy(file, tmp_path)
    recipe = load(tmp_path / "my-reproducer.yaml")
    plan = plan_for(recipe, ONLY)
    content = (tmp_path / "repro.sh").read_bytes()
    assert plan.files == (agent.File("repro.sh", str(tmp_path / "repro.sh"), hashlib.sha256(content).hexdigest()),)
    assert plan.identity() == plan_for(grammar("my-reproducer"), ONLY).identity()
    (tmp_path / "repro.sh").write_text("#!/bin/sh\nexit 1\n")
    assert plan_for(recipe, ONLY).identity() != plan.identity()
    (tmp_path / "repro.sh").unlink()
    with pytest.raises(InfraError, match=r"repro\.sh: there is no such file"):
        plan_for(recipe, ONLY)


def test_kernel_of_the_guest_is_a_file_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "bzImage").write_bytes(b"a kernel")
    text = (GRAMMAR / "virtio-dio-lvm-raid1.yaml").read_text()
    recipe = loads(
        text.replace("os: linux ", "os: linux\n  kernel: ./inner/bzImage\n  accel: tcg "), tmp_path / "r.yaml"
    )
    plan = plan_for(recipe, cells(recipe)[0])
    assert plan.guest and (plan.guest.kernel, plan.guest.accel) == ("inner/bzImage", "tcg")
    assert [(file.name, file.path) for file in plan.files] == [("inner/bzImage", str(tmp_path / "inner" / "bzImage"))]


def test_numbers_in_a_command_are_the_words_that_were_written() -> None:
    recipe = grammar("my-reproducer", ("[./repro.sh]", "[./repro.sh, 5, 007, 1.50, 1e3]"))
    assert plan_for(recipe, ONLY).steps[0].argv == ("./repro.sh", "5", "007", "1.50", "1e3")


def test_chance_of_a_step_is_part_of_the_question() -> None:
    flaky = grammar("dio-loop-raid10-offset4", ("buffer_offset: 4", "buffer_offset: 4, probability: 0.3"))
    plain = grammar("dio-loop-raid10-offset4")
    assert plan_for(flaky, ONLY).steps[0].probability == 0.3
    assert plan_for(flaky, ONLY).identity() != plan_for(plain, ONLY).identity()


# ---- watches and question ------------------------------------------------------------------------------------------


def test_console_line_that_is_bad_alone_ends_the_trial() -> None:
    recipe = load("virtio-dio-lvm-mirror")
    (watch,) = plan_for(recipe, cells(recipe)[0]).watches
    assert (watch.name, watch.where, watch.decisive) == ("zero-length-command/0", "vm", True)


def test_pattern_of_the_mirror_recipe_takes_both_lines_that_were_measured_and_no_other() -> None:
    recipe = load("virtio-dio-lvm-mirror")
    (watch,) = plan_for(recipe, cells(recipe)[0]).watches
    measured = (
        "nvme1n1: I/O Cmd(0x2) @ LBA 2055, 0 blocks, I/O Error (sct 0x0 / sc 0x2)",
        "operation not supported error, dev nvme1n1, sector 2055 op 0x0:(READ) flags 0x0 phys_seg 0 prio class 2",
    )
    others = (
        "nvme1n1: I/O Cmd(0x2) @ LBA 2055, 8 blocks, I/O Error (sct 0x0 / sc 0x2)",
        "I/O error, dev nvme1n1, sector 2055 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
        "I/O error, dev nvme1n1, sector 2055 op 0x1:(WRITE) flags 0x0 phys_seg 10 prio class 2",
    )
    assert all(re.search(watch.pattern, line) for line in measured)
    assert not any(re.search(watch.pattern, line) for line in others)


def test_line_that_is_not_bad_alone_is_watched_and_ends_nothing() -> None:
    recipe = grammar(
        "virtio-dio-lvm-raid1",
        (
            "{console: {vm: 'LBA \\d+, 0 blocks'}}",
            "{console: {vm: one, guest: [two, three]}, health: {boot: degraded}}",
        ),
        ("{health: {boot: healthy}, exit: {load: 0}}", "{console: {vm: {not: four}}, exit: {load: 0}}"),
    )
    watches = plan_for(recipe, cells(recipe)[0]).watches
    assert [(watch.name, watch.where, watch.pattern, watch.decisive) for watch in watches] == [
        ("zero-length-command/0", "vm", "one", False),
        ("zero-length-command/1", "guest", "(?:two)|(?:three)", False),
        ("healthy/0", "vm", "four", False),
    ]


def test_line_whose_absence_is_bad_ends_nothing() -> None:
    recipe = grammar("virtio-dio-lvm-raid1", ("{vm: 'LBA \\d+, 0 blocks'}", "{vm: {not: 'ready'}}"))
    (watch,) = plan_for(recipe, cells(recipe)[0]).watches
    assert not watch.decisive


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.recipe)
def test_every_console_fact_finds_its_watch_by_name(recipe: Recipe) -> None:
    question = question_for(recipe)
    wanted = {
        (condition.watch_name(index), fact.where)
        for condition in (*question.bad, *question.good)
        for index, fact in enumerate(condition.facts)
        if fact.kind is FactKind.CONSOLE
    }
    for cell in cells(recipe):
        assert {(watch.name, watch.where) for watch in plan_for(recipe, cell).watches} == wanted


def test_values_of_facts_are_words() -> None:
    facts = "{hang: {load: false}, oops: {vm: true}, exit: {load: {not: [0, -9]}}}"
    recipe = grammar("virtio-dio-lvm-raid1", ("leg-failed: {health: {boot: degraded}}", f"leg-failed: {facts}"))
    bad = question_for(recipe).bad[0]
    assert set(bad.facts) == {
        Fact(FactKind.HANG, "load", ("false",)),
        Fact(FactKind.OOPS, "vm", ("true",)),
        Fact(FactKind.EXIT, "load", ("0", "-9"), negate=True),
    }


def test_conditions_keep_the_order_of_the_file() -> None:
    question = question_for(load("dio-misaligned-pread"))
    assert [condition.name for condition in question.bad] == ["leg-failed", "escaped"]
    assert [condition.name for condition in question.good] == ["rejected", "served"]


# ---- config --------------------------------------------------------------------------------------------------------


def test_config_of_the_shipped_recipes_is_base_and_lvm_raid_for_all_cells() -> None:
    for name in ("virtio-dio-lvm-raid1", "virtio-open-lvm-raid1", "virtio-dio-lvm-mirror", "dio-misaligned-pread"):
        recipe = load(name)
        assert build_config(recipe, (*cells(recipe), *controls(recipe))) == BuildConfig(("base", "lvm-raid"))


def test_config_is_the_union_over_the_cells() -> None:
    recipe = grammar(
        "dio-loop-raid10-offset4",
        ("[base, lvm-raid, loop]", "[base]"),
        ("good_when:", "matrix: {storage.a.disk: [nvme, scsi], storage.b.disk: [loop, ahci]}\ngood_when:"),
    )
    every = cells(recipe)
    assert added_fragments(recipe, every) == ("ahci", "loop", "lvm-raid", "scsi")
    assert build_config(recipe, every).fragments == ("base", "ahci", "loop", "lvm-raid", "scsi")
    for cell in every:
        assert set(added_fragments(recipe, [cell])) <= set(added_fragments(recipe, every))
        assert apply(recipe, cell).target == recipe.target


def test_inner_guest_on_the_kernel_under_test_needs_its_devices_in_it(tmp_path: Path) -> None:
    text = (GRAMMAR / "duplicate-4k-blocks.yaml").read_text().replace("[base, ext4]", "[base]")
    recipe = loads(text.replace("device: virtio-blk", "device: ahci"), tmp_path / "r.yaml")
    assert added_fragments(recipe, [ONLY]) == ("ahci", "ext4")
    (tmp_path / "bzImage").write_bytes(b"")
    other = text.replace("device: virtio-blk", "device: ahci").replace("os: linux", "os: linux\n  kernel: ./bzImage")
    assert added_fragments(loads(other, tmp_path / "r.yaml"), [ONLY]) == ()


def test_passthrough_and_nested_kvm_bring_their_fragments() -> None:
    recipe = grammar(
        "ahci-passthrough-xfs", ("[base, lvm-raid, xfs, vfio]", "[base]"), ("os: linux", "os: linux\n  accel: kvm")
    )
    assert added_fragments(recipe, [ONLY]) == ("ahci", "kvm", "lvm-raid", "vfio", "xfs")


def test_own_fragments_and_base_are_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "my.config").touch()
    (tmp_path / "distro.config").touch()
    text = (GRAMMAR / "dio-loop-raid10-offset4.yaml").read_text()
    kernel = "config: [base, ./my.config], base_config: distro.config, make: {LLVM: 1, CC: clang-19}"
    recipe = loads(text.replace("config: [base, lvm-raid, loop]", kernel), tmp_path / "r.yaml")
    config = build_config(recipe, cells(recipe))
    assert config.fragments == ("base", str(tmp_path / "my.config"), "loop", "lvm-raid")
    assert config.base_config == str(tmp_path / "distro.config")
    assert config.make == (("LLVM", "1"), ("CC", "clang-19"))


def test_target_that_is_no_kernel_has_no_config() -> None:
    recipe = grammar("qcow2-discard-race")
    assert build_config(recipe, cells(recipe)) == BuildConfig()
