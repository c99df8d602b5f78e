# SPDX-License-Identifier: GPL-2.0-only
"""Storage that needs no VM: order of layers, options of the tools, files."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bisector.agent import disks
from bisector.agent.command import CommandResult, Halt
from bisector.agent.plan import Layer
from bisector.agent.storage import Storage, in_order
from bisector.layers import lvm, md, table

MIB = 1 << 20


def test_layers_are_built_from_below() -> None:
    layers = (Layer("img", "file", "raw", ("fs",)), Layer("fs", "fs", "ext4", ("leg",)), Layer("leg", "disk", "loop"))
    assert [layer.name for layer in in_order(layers)] == ["leg", "fs", "img"]


@pytest.mark.parametrize(
    "layers",
    [
        (Layer("a", "lvm", "linear", ("b",)), Layer("b", "lvm", "linear", ("a",))),
        (Layer("a", "lvm", "linear", ("a",)),),
        (Layer("a", "lvm", "linear", ("nowhere",)),),
    ],
)
def test_circles_and_missing_legs_are_faults_of_the_plan(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(Halt) as caught:
        in_order(layers)
    assert caught.value.fault.stage == "plan"


@pytest.mark.parametrize(
    ("layer", "legs", "words"),
    [
        (Layer("l", "lvm", "raid1", size=32 * MIB), 2, "--type raid1 -L 33554432b -Wn -Zn -m 1"),
        (Layer("l", "lvm", "raid10"), 4, "--type raid10 -l 100%FREE -Wn -Zn -m 1 -i 2"),
        (Layer("l", "lvm", "mirror", size=MIB), 3, "--type mirror -L 1048576b -Wn -Zn -m 2 --mirrorlog core"),
        (
            Layer("l", "lvm", "mirror", size=MIB, options=(("log", "disk"),)),
            2,
            "--type mirror -L 1048576b -Wn -Zn -m 1 --mirrorlog disk --alloc anywhere",
        ),
        (Layer("l", "lvm", "linear", size=MIB), 1, "--type linear -L 1048576b -Wn -Zn"),
    ],
)
def test_lvcreate_gets_type_and_size(layer: Layer, legs: int, words: str) -> None:
    assert " ".join(lvm.create_options(layer.type, layer.size, legs, dict(layer.options))) == words


@pytest.mark.parametrize(
    ("type_", "members", "kib"),
    [("raid1", 2, 32768), ("raid10", 4, 16384), ("raid5", 3, 16384), ("raid5", 5, 8192), ("raid6", 4, 16384)],
)
def test_each_member_of_an_array_has_its_share_of_the_size(type_: str, members: int, kib: int) -> None:
    share = table.ROWS["md", type_].share(32 * MIB, members)
    argv = md.create("/dev/md0", type_, ["/dev/a"] * members, share=share)
    assert argv[argv.index("--size") + 1] == str(kib)
    assert argv[argv.index("--level") + 1] == type_.removeprefix("raid")


def test_an_array_of_all_there_is_names_no_size() -> None:
    assert "--size" not in md.create("/dev/md0", "raid5", ["/dev/a", "/dev/b", "/dev/c"])


def test_raw_files_are_sparse_or_full(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "work"), 30.0)
    full = Layer("full", "file", "raw", size=MIB + 100, options=(("full", "true"),))
    storage.build((Layer("thin", "file", "raw", size=64 * MIB), full), vm=False)
    thin_file, full_file = Path(storage.node("thin")).stat(), Path(storage.node("full")).stat()
    assert (thin_file.st_size, thin_file.st_blocks) == (64 * MIB, 0)
    assert full_file.st_size == MIB + 100
    assert full_file.st_blocks * 512 >= MIB
    assert [facts.health for facts in storage.facts()] == ["", ""]


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_qcow2_is_made_with_the_recipes_options(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), 30.0)
    options = (("cluster_size", "1048576"), ("extended_l2", "true"))
    storage.build((Layer("img", "file", "qcow2", size=256 * MIB, options=options),), vm=False)
    said = subprocess.run(["qemu-img", "info", "--output=json", storage.node("img")], capture_output=True, check=True)
    info = json.loads(said.stdout)
    assert (info["virtual-size"], info["cluster-size"]) == (256 * MIB, MIB)
    assert info["format-specific"]["data"]["extended-l2"] is True


@pytest.mark.parametrize("kind", ["disk", "lvm", "md", "fs"])
def test_without_a_vm_no_block_device_is_made(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Halt) as caught:
        Storage(str(tmp_path), 30.0).build((Layer("x", kind, "loop"),), vm=False)
    assert caught.value.fault.stage == "plan"


@pytest.mark.parametrize("ended", [0, 1, None])
def test_modules_that_are_not_loaded_in_time_are_the_harness_s_failure(
    monkeypatch: pytest.MonkeyPatch, ended: int | None
) -> None:
    """A file system whose module a busy host did not load is none that the kernel refuses to mount."""
    monkeypatch.setattr(disks.os.path, "exists", lambda path: True)
    monkeypatch.setattr(disks, "find_tool", lambda name: name)
    monkeypatch.setattr(disks, "run", lambda argv, timeout: CommandResult(ended, ""))
    if ended is not None:
        return disks.load_modules("xfs")
    with pytest.raises(Halt) as caught:
        disks.load_modules("xfs")
    assert caught.value.fault.stage == "tools" and not caught.value.refused
    return None
