# SPDX-License-Identifier: GPL-2.0-only
"""What the agent runs to build volumes, targets and arrays, in order. No VM: the tools are noted, not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bisector.agent import disks
from bisector.agent.plan import Layer
from bisector.agent.storage import Storage
from bisector.layers import dm, lvm, mapper, md

MIB = 1 << 20
LEGS = tuple(Layer(name, "disk", "nvme", size=64 * MIB) for name in "abcd")


class Noting(Storage):
    """Notes the commands instead of running them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), 5.0)
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.ran.append(" ".join(argv).replace(self.folder, "FOLDER"))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noting:
    def found(names: Sequence[str], seconds: float = 0.0) -> dict[str, str]:
        return {name: name for name in names}

    monkeypatch.setattr(disks, "find_disks", found)
    monkeypatch.setattr(disks, "load_modules", lambda *names: None)
    monkeypatch.setattr(dm, "device", lambda node: "dm-7")
    monkeypatch.setattr(dm, "status", lambda volume: "0 8 linear")
    monkeypatch.setattr(lvm, "raid_health", lambda status: "healthy")
    monkeypatch.setattr(md, "_hurry_resync", lambda: None)
    monkeypatch.setattr(md, "health", lambda *values: "degraded")
    monkeypatch.setattr(mapper, "size", lambda node: 64 * MIB)
    return Noting(tmp_path)


def test_a_snapshot_is_made_of_its_volume_and_in_its_group(storage: Noting) -> None:
    volume = Layer("vol", "lvm", "linear", ("a",), 32 * MIB)
    storage.build((*LEGS, Layer("snap", "lvm", "snapshot", ("vol",), 8 * MIB), volume), vm=True)
    assert storage.ran[0] == "lvm vgcreate -q -y bisector0 /dev/a"
    assert storage.ran[-1] == "lvm lvcreate -q -y -s -L 8388608b -n snap bisector0/vol"
    assert storage.nodes(["snap"]) == ["/dev/mapper/bisector0-snap"]


def test_a_thin_volume_has_a_pool_of_its_own(storage: Noting) -> None:
    thin = Layer("t", "lvm", "thin", ("a",), 1 << 30, (("pool", str(32 * MIB)),))
    storage.build((*LEGS, thin), vm=True)
    assert storage.ran[1:] == [
        "lvm lvcreate -q -y --type thin-pool -L 33554432b -n t_pool bisector0 /dev/a",
        "lvm lvcreate -q -y --type thin -V 1073741824b -n t --thinpool t_pool bisector0",
    ]


def test_a_cache_is_in_the_group_of_what_it_speeds_up_and_of_nothing_else(storage: Noting) -> None:
    cache = Layer("x", "lvm", "cache", ("a",), 32 * MIB, (("fast", "b"), ("mode", "writeback")))
    storage.build((*LEGS, cache, Layer("other", "lvm", "linear", ("c",), 8 * MIB)), vm=True)
    assert storage.ran[:4] == [
        "lvm vgcreate -q -y bisector0 /dev/a /dev/b",
        "lvm lvcreate -q -y --type linear -L 33554432b -Wn -Zn -n x bisector0 /dev/a",
        "lvm lvcreate -q -y --type linear -l 100%PVS -Wn -Zn -n x_fast bisector0 /dev/b",
        "lvm lvconvert -q -y --type cache --cachevol x_fast --cachemode writeback bisector0/x",
    ]
    assert storage.ran[4] == "lvm vgcreate -q -y bisector1 /dev/c"


def test_a_writecache_is_inactive_when_it_is_attached(storage: Noting) -> None:
    storage.build((*LEGS, Layer("x", "lvm", "writecache", ("a",), 32 * MIB, (("fast", "b"),))), vm=True)
    assert storage.ran[2] == "lvm lvcreate -q -y --type linear -l 100%PVS -Wn -Zn -an -n x_fast bisector0 /dev/b"


def test_a_target_is_made_from_a_file_and_gets_its_messages(storage: Noting) -> None:
    dust = Layer("x", "dm", "dust", ("a",), options=(("bad", "7\n9"), ("block_size", "4096")))
    storage.build((*LEGS, dust), vm=True)
    assert storage.ran == [
        "dmsetup create x FOLDER/x.table",
        *("dmsetup message x 0 addbadblock 7", "dmsetup message x 0 addbadblock 9", "dmsetup message x 0 enable"),
    ]
    assert Path(storage.folder, "x.table").read_text() == "0 131072 dust /dev/a 0 4096\n"


def test_an_array_that_lacks_a_member_by_wish_is_used_as_it_is(storage: Noting) -> None:
    storage.build((*LEGS, Layer("x", "md", "raid1", ("a",), options=(("missing", "1"),))), vm=True)
    assert storage.ran[0].endswith("--raid-devices 2 --metadata 1.2 --bitmap none /dev/a missing")
    assert [facts.health for facts in storage.facts() if facts.name == "x"] == ["degraded"]


def test_a_spare_is_added_behind_the_array_so_that_it_is_not_write_mostly(storage: Noting) -> None:
    words = (("missing", "1"), ("spare", "c"), ("write_mostly", "b"))
    storage.build((*LEGS, Layer("x", "md", "raid1", ("a", "b"), options=words)), vm=True)
    assert storage.ran[0].endswith("/dev/a --write-mostly /dev/b missing")
    assert storage.ran[1] == "mdadm /dev/md0 --add /dev/c"


def test_members_that_words_name_are_there_before_the_array(storage: Noting) -> None:
    array = Layer("x", "md", "raid5", ("a", "b", "c"), options=(("journal", "d"), ("missing", "1")))
    storage.build((array, *LEGS), vm=True)
    assert "--write-journal /dev/d" in storage.ran[0]


def test_a_file_is_the_packed_one_only_on_a_squashfs(storage: Noting) -> None:
    Path(storage.folder, "packed").mkdir()  # where a file system of that name is mounted
    storage.build((Layer("image", "file", "raw", size=MIB),), vm=True)
    assert storage.node("image") == f"{storage.folder}/image.raw"
