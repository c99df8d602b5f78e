# SPDX-License-Identifier: GPL-2.0-only
"""Words of layers and drives: what each may be, and what QEMU, device-mapper and mdadm are given for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bisector.agent.machine import device_options, drive_option
from bisector.agent.plan import Drive, Layer, Plan
from bisector.agent.storage import Storage
from bisector.codec import dump
from bisector.errors import RecipeError
from bisector.layers import drive, fs, lvm, mapper, md, option, partition, table
from bisector.layers.device import DEVICES
from bisector.layers.machine import StorageError
from bisector.recipe import matrix, plan
from bisector.recipe.load import loads
from bisector.recipe.model import Recipe
from bisector.trial import vng

MIB = 1 << 20
STORAGE: dict[str, Any] = {
    "a": {"disk": "virtio-blk", "size": "64M"},
    "b": {"disk": "nvme", "size": "64M"},
    "c": {"disk": "scsi", "size": "64M"},
    "d": {"disk": "ahci", "size": "64M"},
    "m": {"disk": "null_blk", "size": "64M"},
    "s": {"disk": "scsi_debug", "size": "64M"},
    "l": {"disk": "loop", "size": "64M"},
}


def recipe(storage: dict[str, Any], drives: dict[str, Any] | None = None) -> Recipe:
    """A recipe with these layers over, or in place of, those of STORAGE. Raises RecipeError."""
    data = {
        "recipe": "words",
        "target": {"kernel": {"config": ["base"]}},
        "storage": {**STORAGE, **storage},
        **({"guest": {"os": "none", "drives": drives}} if drives else {}),
        "steps": [{"probe": {"io": "l", "read": "4k"}}],
        "bad_when": {"bad": {"exit": {"probe": 1}}},
        "good_when": {"good": {"exit": {"probe": 0}}},
    }
    return loads(json.dumps(data), Path("words.yaml"))


def faults(storage: dict[str, Any], drives: dict[str, Any] | None = None) -> str:
    try:
        recipe(storage, drives)
    except RecipeError as error:
        return "\n".join(str(diagnostic) for diagnostic in error.diagnostics)
    return ""


def disk(name: str, **words: object) -> dict[str, Any]:
    return {name: {**STORAGE[name], **words}}


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (disk("a", logical_block=777), "the number 777 is no value of logical_block (allowed: a power of two from 512"),
        (disk("a", logical_block=4096, physical_block=512), "a physical block is no smaller than a logical one"),
        (disk("b", protection=1, metadata=4), "8 bytes of each block: write metadata: 8, or more"),
        (disk("b", protection=1, metadata=8), ""),
        (disk("m", conventional=2), "a disk has such zones beside others: 'zoned' says how large each is"),
        (disk("m", zoned="3M"), "(allowed: a power of two from 1M to 1G)"),
        (disk("a", zoned="4M"), "a disk virtio-blk has no 'zoned'"),
        (disk("m", zoned="4M", conventional=2), ""),
        (disk("a", queues=0), "(allowed: a whole number from 1 to 64)"),
        (disk("a", slow="300ms"), "a time from 1ms to 1000ms that divides a second"),
        (disk("a", slow=50), "the number 50 is no value of slow"),
        (disk("a", discard="maybe"), "(allowed: true, false, unmap, ignore)"),
        (disk("a", read_only=True), "a disk virtio-blk has no 'read_only'; it may have detect_zeroes, discard, errors"),
        (disk("d", logical_block=4096), "a disk ahci has no 'logical_block'"),
        (disk("b", queue_size=128), "a disk nvme has no 'queue_size'"),
        (disk("b", physical_block=4096), "a disk nvme has no 'physical_block'"),
        (disk("s", slow="1s"), "'1s' is no value of slow (allowed: a time from 1ms to 999ms)"),
        (disk("a", errors=[{"raed": 1}]), "a list of {read or write or discard or write_zeroes or flush: SECTOR"),
        (disk("a", errors=[{"read": 1, "write": 2}]), "is no value of errors"),
        (disk("a", errors=[{"read": 1, "errno": "EOOPS"}]), "is no value of errors"),
        (disk("a", errors=[{"read": 1, "count": 0}]), "is no value of errors"),
        (disk("a", errors=[{"read": 1, "count": 65}]), "count: 1 to 64"),
        (disk("m", errors=[{"read": 1, "errno": "ENOSPC"}]), "errno EIO}"),
        (disk("s", errors=[{"read": 1}, {"read": 9}]), "{read: SECTOR, errno ENODATA}"),
        ({**disk("s"), "t": {"disk": "scsi_debug", "size": "32M"}}, "all disks of scsi_debug have one size"),
        ({"x": {"dm": "crypt", "of": "a", "sector_size": 8192}}, "(allowed: a power of two from 512 to 4k)"),
        ({"x": {"dm": "crypt", "of": "a", "cipher": "rot13"}}, "(allowed: aes-xts-plain64, aes-cbc-plain64"),
        ({"x": {"dm": "unstriped", "of": "a"}}, "a dm unstriped needs 'members'"),
        ({"x": {"dm": "striped", "of": "a"}}, "dm striped needs 2 legs or more, found 1"),
        ({"x": {"dm": "table", "of": "a", "table": "linear"}}, "lines of a table, as in '0 {sectors} linear {leg} 0'"),
        ({"x": {"dm": "dust", "of": "a", "bad": ["one"]}}, "a block, or a list of them"),
        ({"x": {"dm": "crypt", "of": "a"}, "y": {"dm": "dust", "of": "a"}}, "a is used by x already"),
        ({"control": {"dm": "crypt", "of": "a"}}, "/dev/mapper/control is there already"),
        ({"x": {"md": "raid5", "of": ["a", "b", "c"], "journal": "nowhere"}}, "no layer 'nowhere'"),
        ({"x": {"md": "raid5", "of": ["a", "b", "c"], "journal": "a"}}, "x.journal: a is named twice"),
        ({"x": {"md": "raid1", "of": ["a", "b"], "write_mostly": "c"}}, "c is none of its members"),
        ({"x": {"md": "raid1", "of": ["a", "b"], "journal": "c"}}, "a md raid1 has no 'journal'"),
        ({"x": {"md": "raid0", "of": ["a", "b"], "missing": 1}}, "a md raid0 has no 'missing'"),
        ({"x": {"md": "raid1", "of": ["a", "b"], "spare": ["c"]}, "y": {"fs": "ext4", "of": "c"}}, "used by x already"),
        ({"x": {"md": "raid1", "of": ["a", "b"], "spare": ["x"]}}, "a cycle: x → x"),
        ({"x": {"fs": "ext4", "of": "a", "mkfs": "-O $(reboot)"}}, "words of its mkfs, as in [-O, ^resize_inode]"),
        ({"x": {"fs": "ext4", "of": "a", "packs": "1M"}}, "a fs ext4 has no 'packs'; it may have mkfs, mount"),
        ({"x": {"fs": "btrfs", "of": "a"}}, "btrfs needs 128M or more"),
        ({"x": {"lvm": "raid6", "of": ["a", "b", "c"], "size": "8M"}}, "lvm raid6 needs 5 legs or more, found 3"),
        ({"x": {"lvm": "cache", "of": "a", "size": "8M"}}, "a lvm cache needs 'fast'"),
        (
            {"x": {"lvm": "mirror", "of": ["a", "b"], "size": "8M", "integrity": True}},
            "a lvm mirror has no 'integrity'",
        ),
        ({"x": {"lvm": "snapshot", "of": "a", "size": "8M"}}, "a lvm snapshot lies on an lvm, and a is of kind disk"),
        ({"x": {"lvm": "raid0", "of": ["a", "b"], "size": "129M"}}, "129M does not fit: the legs have space for 128M"),
        ({"x": {"file": "vhdx", "of": "a", "size": "8M"}}, "a file vhdx lies on an fs, and a is of kind disk"),
        ({"x": {"file": "qcow2", "of": "a"}}, "x: needs 'size' or 'backing'"),
        (
            {"x": {"file": "raw", "size": "8M"}, "y": {"md": "raid1", "of": ["x", "a"]}},
            "a disk of loop makes one of it",
        ),
        ({"x": {"file": "raw", "size": "8M"}, "y": {"disk": "nvme", "of": "x", "size": "8M"}}, "has no 'of'"),
        ({"x": {"partition": "gpt", "of": "a", "size": "63M"}}, "63M does not fit: the legs have space for 62M"),
        ({"x": {"partition": "dos", "of": "a", "size": "8M", "start": 1}}, "a whole number from 34 to"),
        ({"x": {"partition": "dos", "of": "a", "size": "8M"}, "y": {"fs": "ext4", "of": "a"}}, "a is used by"),
        ({"x": {"disk": "loop"}}, "x: needs 'size' or 'of'"),
        ({"x": {"disk": "loop", "of": "a"}}, "a disk loop lies on a file, and a is of kind disk"),
        ({"x": {"file": "qcow2", "of": "a", "size": "8M"}, "y": {"fs": "ext4", "of": "a"}}, "a is used by"),
    ],
)
def test_a_word_that_cannot_be_is_refused_with_what_is_allowed(storage: dict[str, Any], expected: str) -> None:
    assert expected in faults(storage)


@pytest.mark.parametrize(
    ("storage", "carried"),
    [
        (disk("a", logical_block="4k"), {"logical_block": "4096"}),
        (disk("a", discard="unmap", write_cache=False), {"discard": "on", "write_cache": "off"}),
        (disk("a", slow="1s"), {"slow": "1000"}),
        (disk("a", errors={"read": 8}), {"errors": "read 8 EIO 0"}),
        (
            disk("a", errors=[{"write": "any", "errno": "ENOSPC", "count": 2}, {"flush": "any"}]),
            {"errors": "write -1 ENOSPC 2\nflush -1 EIO 0"},
        ),
        (disk("l", logical_block=4096), {"logical_block": "4096"}),
    ],
)
def test_a_plan_carries_a_word_as_text(storage: dict[str, Any], carried: dict[str, str]) -> None:
    (name,) = storage
    made = recipe(storage)
    layers = plan.plan_for(made, matrix.cells(made)[0]).layers
    assert dict(next(layer.options for layer in layers if layer.name == name)) == carried


@pytest.mark.parametrize(
    "storage",
    [
        {"v": {"lvm": "linear", "of": "a", "size": "32M"}, "x": {"file": "qcow2", "of": "v", "size": "16M"}},
        {
            "x": {"fs": "ext4", "of": "a"}, "y": {"file": "raw", "of": "x", "size": "8M"},
            "z": {"disk": "loop", "of": "y"},
        },
        {"x": {"file": "raw", "size": "8M"}, **{n: {"file": "qcow2", "backing": "x"} for n in ("y", "z")}},
        {"v": {"lvm": "linear", "of": "a", "size": "32M"}, "x": {"lvm": "snapshot", "of": "v", "size": "8M"},
         "y": {"fs": "ext4", "of": "v"}},
        {**{name: {"partition": "gpt", "of": "a", "size": "8M"} for name in "xy"}, "z": {"fs": "ext4", "of": "x"}},
        {"x": {"lvm": "thin", "of": "a", "size": "1G", "pool": "32M"}},
        {"x": {"lvm": "cache", "of": "a", "fast": "b", "size": "32M", "mode": "writeback"}},
    ],
)  # fmt: skip
def test_files_and_volumes_lie_where_they_can(storage: dict[str, Any]) -> None:
    assert faults(storage) == ""


def test_an_array_can_be_made_with_members_that_are_not_there() -> None:
    assert "needs 2 legs" in faults({"x": {"md": "raid1", "of": ["a"]}})
    assert faults({"x": {"md": "raid1", "of": ["a"], "missing": 1}}) == ""


def test_a_recipe_without_words_has_the_plan_that_it_had() -> None:
    """Trials in stores are keyed by it."""
    made = recipe({}, {"vda": {"of": "a"}})
    assert '"words"' not in dump(plan.plan_for(made, matrix.cells(made)[0]))


# ---- QEMU ----------------------------------------------------------------------------------------------------------


def qemu(name: str, type_: str, **words: str) -> str:
    layer = Layer(name, "disk", type_, size=MIB, options=tuple(sorted(words.items())))
    return " ".join(vng.devices(Plan(steps=(), layers=(layer,)), vng.Places(Path("/w"))))


def test_errors_of_a_disk_are_blkdebugs_rules_and_reach_the_kernel() -> None:
    said = qemu("x", "nvme", errors="read 8 EIO 0\nwrite -1 ENOSPC 2")
    assert "file.driver=blkdebug,file.image.driver=file,file.image.filename=/w/disks/x" in said
    first = "file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.errno=5"
    assert f"{first},file.inject-error.0.sector=8,file.inject-error.0.once=off" in said
    assert said.count("errno=28") == 2 and said.count("once=on") == 2
    assert said.count(".sector=") == 1  # "any" names none
    assert "rerror=report,werror=report" in said


def test_words_are_properties_of_the_device_or_of_what_is_below_it() -> None:
    said = qemu("x", "virtio-blk", logical_block="4096", queues="2", discard="on", slow="50", write_zeroes="off")
    assert ",discard=unmap,throttling.iops-total=20 -device" in said
    # QEMU refuses a logical block that is larger than the physical one, whose default is 512
    assert (
        "virtio-blk-pci,logical_block_size=4096,physical_block_size=4096,num-queues=2,discard=on,write-zeroes=off,drive=disk-x"
        in said
    )
    assert "virtio-scsi-pci,id=scsi,num_queues=3 " in qemu("x", "scsi", queues="3")
    assert "max_ioqpairs=3" in qemu("x", "nvme", queues="3")


def test_a_drive_of_the_guest_takes_the_same_words_and_a_thread_of_its_own() -> None:
    words = (("detect_zeroes", "unmap"), ("discard", "on"), ("iothread", "on"), ("read_only", "on"))
    own = Drive("vda", "img", werror="stop", words=(*words, ("errors", "read 8 EIO 1")))
    said = drive_option(own, "/a,b.img")
    assert "file.image.filename=/a,,b.img" in said
    assert said.endswith("rerror=report,discard=unmap,detect-zeroes=unmap,readonly=on,werror=stop")
    assert " ".join(device_options([own])) == (
        "-object iothread,id=thread-vda "
        "-device virtio-blk-pci,id=vda,drive=vda,serial=vda,discard=on,iothread=thread-vda"
    )
    scsi = Drive("sda", "img", "scsi", words=(("iothread", "on"),))
    assert device_options([scsi])[:4] == [
        *("-object", "iothread,id=thread-sda"),
        *("-device", "virtio-scsi-pci,id=scsi,iothread=thread-sda"),
    ]


@pytest.mark.parametrize(
    ("device", "word"), [("ide", "read_only"), ("ide", "logical_block"), ("nvme", "iothread"), ("ahci", "queues")]
)
def test_a_drive_has_no_word_that_its_device_lacks(device: str, word: str) -> None:
    drives = {"vda": {"of": "a", "device": device, word: True}}
    assert f"a drive on {device} has no {word!r}" in faults({}, drives)


def test_every_word_of_a_device_is_known() -> None:
    for device in DEVICES.values():
        assert {*device.properties, *device.shared} <= set(drive.WORDS)


def test_scsi_debug_is_set_on_the_kernels_command_line() -> None:
    words = (("discard", "on"), ("errors", "read 80 ENODATA 0"), ("logical_block", "4096"))
    layers = tuple(Layer(name, "disk", "scsi_debug", size=8 * MIB, options=words) for name in "st")
    said = vng.kernel_options(Plan(steps=(), layers=layers), "tcg")
    wanted = {"add_host=2", "dev_size_mb=8", "sector_size=4096", "lbpws=1", "opts=2", "medium_error_start=10"}
    assert wanted <= {word.removeprefix("scsi_debug.") for word in said}
    assert not any("scsi_debug" in word for word in vng.kernel_options(Plan(steps=()), "tcg"))


# ---- device-mapper and mdadm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "legs", "sectors", "line"),
    [
        (
            Layer("x", "dm", "striped", ("a", "b"), options=(("chunk", "65536"),)),
            2,
            256,
            "striped 2 128 /dev/0 0 /dev/1 0",
        ),
        (
            Layer("x", "dm", "unstriped", ("a",), options=(("members", "2"), ("member", "1"))),
            *(1, 128, "unstriped 2 128 1 /dev/0 0"),
        ),
        (
            Layer("x", "dm", "crypt", ("a",), options=(("cipher", "aes-cbc-plain64"), ("sector_size", "4096"))),
            *(1, 128, f"crypt aes-cbc-plain64 {bytes(range(1, 33)).hex()} 0 /dev/0 0 1 sector_size:4096"),
        ),
        (Layer("x", "dm", "delay", ("a",), options=(("read", "50"),)), 1, 128, "delay /dev/0 0 50 /dev/0 0 0"),
        (
            Layer("x", "dm", "flakey", ("a",), options=(("down", "9000"), ("flags", "drop_writes"), ("up", "1000"))),
            *(1, 128, "flakey /dev/0 0 1 9 1 drop_writes"),
        ),
    ],
)
def test_tables_name_members_and_words(layer: Layer, legs: int, sectors: int, line: str) -> None:
    nodes = [f"/dev/{number}" for number in range(legs)]
    assert mapper.table(layer, nodes, sectors) == f"0 {sectors} {line}\n"


def test_a_table_of_ones_own_names_members_by_number_or_name() -> None:
    lines = "0 {sectors} linear {b} 0\n64 8 linear {leg0} 0"
    layer = Layer("x", "dm", "table", ("a", "b"), options=(("table", lines),))
    assert mapper.table(layer, ["/dev/0", "/dev/1"], 64) == "0 64 linear /dev/1 0\n64 8 linear /dev/0 0\n"
    with pytest.raises(StorageError, match=r"nothing is called \{c\}"):
        mapper.table(Layer("x", "dm", "table", ("a",), options=(("table", "0 8 linear {c} 0"),)), ["/dev/0"], 8)


def test_every_target_has_a_row_a_page_of_modules_and_a_fragment() -> None:
    for type_ in table.types("dm"):
        row = table.ROWS["dm", type_]
        assert row.fragments and row.programs and "dm_mod" in row.modules
        for fragment in row.fragments:
            assert (Path(__file__).parents[2] / "kconfigs" / f"{fragment}.config").is_file(), fragment


def test_members_of_a_linear_array_follow_each_other() -> None:
    assert table.ROWS["md", "linear"].capacity([8 * MIB, 4 * MIB]) == 12 * MIB
    argv = md.create("/dev/md0", "linear", ["/dev/a", "/dev/b"])
    assert argv[argv.index("--level") + 1] == "linear"


def test_words_of_an_array_become_options_of_mdadm() -> None:
    given = {"bitmap": "internal", "missing": "1", "write_mostly": "b", "spare": "s"}
    named = {"write_mostly": ["/dev/b"], "spare": ["/dev/s"]}
    argv = md.create("/dev/md0", "raid1", ["/dev/a", "/dev/b"], given=given, named=named)
    assert argv[argv.index("--raid-devices") + 1] == "3"
    assert argv[argv.index("--bitmap") + 1] == "internal"
    tail = ["/dev/a", "--write-mostly", "/dev/b", "missing"]
    assert argv[-len(tail) :] == tail
    journalled = md.create("/dev/md0", "raid5", ["/dev/a", "/dev/b", "/dev/c"], named={"journal": ["/dev/j"]})
    assert "--bitmap" not in journalled and journalled[journalled.index("--write-journal") + 1] == "/dev/j"


@pytest.mark.parametrize("value", [None, True, 1.5, {}, [], "", "x" * 400])
def test_no_option_takes_what_it_cannot_read(value: object) -> None:
    for known in (option.Power(1, 8), option.Number(1, 8), option.Time(1, 9), option.Errors(), option.Layers()):
        assert known.word(value) is None or value == "x" * 400


# ---- LVM, file systems, files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "members", "given", "words"),
    [
        ("striped", 3, {"chunk": "65536"}, "--type striped -L 1048576b -Wn -Zn -i 3 -I 65536b"),
        ("raid0", 2, {}, "--type raid0 -L 1048576b -Wn -Zn -i 2"),
        ("raid5", 3, {"integrity": "on"}, "--type raid5 -L 1048576b -Wn -Zn -i 2 --raidintegrity y"),
        ("raid6", 5, {}, "--type raid6 -L 1048576b -Wn -Zn -i 3"),
    ],
)
def test_stripes_are_the_members_without_parity(type_: str, members: int, given: dict[str, str], words: str) -> None:
    assert " ".join(lvm.create_options(type_, MIB, members, given)) == words


def test_integrity_brings_its_module_and_its_fragment() -> None:
    row = table.ROWS["lvm", "raid1"]
    assert "dm-integrity" in row.fragments_for(["integrity"]) and "dm-integrity" not in row.fragments_for([])
    assert "dm_integrity" in row.modules_for(["integrity"]) and "dm_integrity" not in row.modules_for([])


@pytest.mark.parametrize(
    ("line", "health"),
    [("0 8 snapshot 16/32 8", "none"), ("0 8 snapshot Invalid", "degraded"), ("0 8 thin 0 -", "none"), ("", "")],
)
def test_a_snapshot_that_overflowed_is_seen(line: str, health: str) -> None:
    assert lvm.plain_health(line) == health


def test_mkfs_and_mount_have_options_of_their_own() -> None:
    given = (("mkfs", "-O ^resize_inode\n-b\n4096"), ("mount", "ro\nnoatime"))
    layer = Layer("x", "fs", "ext4", ("a",), options=given)
    assert fs.make(layer, "/dev/a") == ["mkfs.ext4", "-q", "-F", "-O", "^resize_inode", "-b", "4096", "/dev/a"]
    assert fs.mount(layer, "/dev/a", "/m") == ["mount", "-t", "ext4", "-o", "ro,noatime", "/dev/a", "/m"]
    assert fs.mount(Layer("x", "fs", "xfs", ("a",)), "/dev/a", "/m") == ["mount", "-t", "xfs", "/dev/a", "/m"]


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_a_file_over_another_is_as_large_as_that_and_reads_it(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), 30.0)
    over = Layer("over", "file", "qcow2", options=(("backing", "below"),))
    form = Layer("form", "file", "vhdx", size=16 * MIB)
    storage.build((over, Layer("below", "file", "raw", size=8 * MIB), form), vm=False)
    said = subprocess.run(["qemu-img", "info", "--output=json", storage.node("over")], capture_output=True, check=True)
    info = json.loads(said.stdout)
    assert (info["virtual-size"], info["backing-filename"]) == (8 * MIB, storage.node("below"))
    assert (info["format"], info["backing-filename-format"]) == ("qcow2", "raw")


@pytest.mark.parametrize(("type_", "kind"), [("dos", "0x83"), ("gpt", str(partition.LINUX_DATA))])
@pytest.mark.skipif(not shutil.which("partx"), reason="partx is not installed")
def test_other_programs_read_the_table_of_partitions(tmp_path: Path, type_: str, kind: str) -> None:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
        for at, data in partition.table(type_, [(2048, 16384), (18432, 32768)], 64 * MIB):
            file.seek(at)
            file.write(data)
    argv = ["partx", "--raw", "--noheadings", "-o", "NR,START,SECTORS,TYPE,SCHEME", str(image)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [f"1 2048 16384 {kind} {type_}", f"2 18432 32768 {kind} {type_}"]


def test_a_table_counts_in_the_disks_own_blocks() -> None:
    ((_, record),) = partition.table("dos", [(2048, 16384)], 64 * MIB, 4096)
    assert int.from_bytes(record[454:458], "little") == 2048 // 8
    places = [at for at, _ in partition.table("gpt", [(2048, 16384)], 64 * MIB, 4096)]
    assert places == [0, 4096, 8192, 64 * MIB - 5 * 4096, 64 * MIB - 4096]
