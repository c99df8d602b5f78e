# SPDX-License-Identifier: GPL-2.0-only
"""What a listing of block devices says of the storage: its layers, how many disks, of which type."""

import time
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.recipe.load import load
from bisector.recipe.report_lsblk import Stack, stack_in
from bisector.recipe.report_reader import findings

CRYPT_ON_ARRAY = """\
NAME                MAJ:MIN RM   SIZE RO TYPE  MOUNTPOINTS
sda                   8:0    0   3.6T  0 disk
├─sda1                8:1    0   1G    0 part  /boot
└─sda2                8:2    0   3.6T  0 part
  └─md0               9:0    0  10.9T  0 raid5
    └─vg0-data        253:0    0  10.9T  0 lvm
      └─data_crypt    253:1    0  10.9T  0 crypt /srv
sdb                   8:16   0   3.6T  0 disk
└─md0                 9:0    0  10.9T  0 raid5
    ...
sdc                   8:32   0   3.6T  0 disk
└─md0                 9:0    0  10.9T  0 raid5
sr0                  11:0    1  1024M  0 rom
"""
VOLUME_ON_CRYPT = """\
> nvme0n1               259:0    0 931,5G  0 disk
> |-nvme0n1p1           259:1    0   512M  0 part  /boot/efi
> `-nvme0n1p2           259:2    0   931G  0 part
>   `-luks              254:0    0   931G  0 crypt
>     |-vg-r_rmeta_0    254:1    0     4M  0 lvm
>     | `-vg-r          254:5    0   100G  0 lvm   /home
>     `-vg-r_rimage_0   254:2    0   100G  0 lvm
>       `-vg-r          254:5    0   100G  0 lvm   /home
> nvme1n1               259:3    0 931,5G  0 disk
> `-luks2               254:6    0   931G  0 crypt
>   |-vg-r_rmeta_1      254:3    0     4M  0 lvm
>   | `-vg-r            254:5    0   100G  0 lvm   /home
>   `-vg-r_rimage_1     254:4    0   100G  0 lvm
>     `-vg-r            254:5    0   100G  0 lvm   /home
"""
THIN = """\
NAME                   MAJ:MIN RM  SIZE RO TYPE MOUNTPOINT
vda                    252:0    0   20G  0 disk
└─vda1                 252:1    0   20G  0 part /
vdb                    252:16   0   10G  0 disk
├─vg-pool_tmeta        253:0    0   12M  0 lvm
│ └─vg-pool-tpool      253:2    0    8G  0 lvm
│   ├─vg-pool          253:3    0    8G  1 lvm
│   └─vg-thin1         253:4    0    4G  0 lvm  /mnt
└─vg-pool_tdata        253:1    0    8G  0 lvm
  └─vg-pool-tpool      253:2    0    8G  0 lvm
    └─vg-thin1         253:4    0    4G  0 lvm  /mnt
"""
TWO = """\
sda       8:0    0  100G  0 disk
└─luks  253:0    0  100G  0 crypt
  └─vg-root 253:1 0 100G  0 lvm   /
sdb       8:16   0    1T  0 disk
└─md1     9:1    0    1T  0 raid10
sdc       8:32   0    1T  0 disk
└─md1     9:1    0    1T  0 raid10
sdd       8:48   0    1T  0 disk
└─md1     9:1    0    1T  0 raid10
sde       8:64   0    1T  0 disk
└─md1     9:1    0    1T  0 raid10
"""


def seen(text: str, named: str = "") -> tuple[object, ...]:
    stack = stack_in(text.splitlines(), named)
    assert isinstance(stack, Stack)
    return stack.layers, stack.mounted, stack.disks, stack.disk


@pytest.mark.parametrize(
    ("text", "stack"),
    [
        (CRYPT_ON_ARRAY, (("dm-crypt", "lvm-linear", "md-raid5"), True, 3, "scsi")),
        (VOLUME_ON_CRYPT, (("lvm-raid1", "dm-crypt"), True, 2, "nvme")),
        (THIN, (("lvm-thin",), True, 1, "virtio-blk")),
        (TWO, (("lvm-linear", "dm-crypt"), True, 1, "scsi")),
    ],
)
def test_layers_disks_and_their_type(text: str, stack: tuple[object, ...]) -> None:
    assert seen(text) == stack


def test_of_two_stacks_the_one_with_what_the_report_names() -> None:
    assert seen(TWO, "md-raid10") == (("md-raid10",), False, 4, "scsi")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sda 8:0 0 10G 0 disk /mnt",
        "loop0 7:0 0 10G 0 loop\n└─x 253:0 0 1G 0 crypt",
        "├─ ├─ ├─",
        "sda 8:0 0 10G 0 disk\n└─md0 9:0 0 1G 0 raid99",
        "sda 8:0 0 10G 0 disk\n\n└─md0 9:0 0 1G 0 raid1",
    ],
)
def test_what_shows_no_stack_is_none(text: str) -> None:
    assert stack_in(text.splitlines()) is None


def test_long_and_deep_listings_take_little_time() -> None:
    deep = "".join(f"{' ' * depth}└─a{depth} 8:{depth} 0 1G 0 disk\n" for depth in range(20_000))
    for text in (deep, "└─" * 100_000, f"sda{' ' * 100_000}8:0", (TWO * 3_000)):
        began = time.process_time()
        stack_in(text.splitlines())
        assert time.process_time() - began < 5


REPORT = f"""\
Subject: [REGRESSION] 6.12.8 -> 6.13.1: I/O errors on LUKS over md raid5 after fstrim

The ext4 file system is on LUKS2, that on a volume, that on an array.

{CRYPT_ON_ARRAY}
md0 : active raid5 sdc[2] sdb[1] sda2[0]
      11720659968 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/3] [UUU]

# fstrim -v /srv
fstrim: /srv: FITRIM ioctl failed: Input/output error

I/O error, dev sda, sector 2048 op 0x3:(DISCARD) flags 0x4000 phys_seg 1 prio class 2
"""


def test_a_draft_has_all_layers_of_the_listing(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text(REPORT)
    assert main(["new", "luks", "--from", str(report), "--folder", str(tmp_path)]) == 0
    recipe = load(str(tmp_path / "luks.yaml"))
    made = {name: (layer.kind, layer.type, tuple(layer.of or ())) for name, layer in recipe.storage.items()}
    assert made == {
        **{f"leg{number}": ("disk", "scsi", ()) for number in range(3)},
        "md-raid5": ("md", "raid5", ("leg0", "leg1", "leg2")),
        "lvm-linear": ("lvm", "linear", ("md-raid5",)),
        "dm-crypt": ("dm", "crypt", ("lvm-linear",)),
        "data": ("fs", "ext4", ("dm-crypt",)),
    }


def test_a_listing_of_another_stack_than_the_one_that_fails_is_left_out() -> None:
    text = "sda 8:0 0 10G 0 disk\n└─luks 253:0 0 10G 0 crypt /\n\nlvcreate --type raid1 -m 1 -L 8G -n disk vg\n"
    values = {found.field: found.value for found in findings(text)}
    assert values["storage"] == "lvm-raid1" and "below" not in values


def test_an_image_stays_an_image() -> None:
    values = {found.field: found.value for found in findings(f"{TWO}\nqemu-img create -f qcow2 a.img 1G\n")}
    assert values["storage"] == "qcow2" and "below" not in values
