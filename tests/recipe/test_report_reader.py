# SPDX-License-Identifier: GPL-2.0-only
"""What a report tells of a failure: which line says it, and whether it says so or only points there."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.mail import received
from bisector.recipe.failure import FailureDescription
from bisector.recipe.load import load
from bisector.recipe.report_parsers import generalized
from bisector.recipe.report_reader import ReportedValue, findings, notes, wishes_from
from tests.work import usual

DATA = Path(__file__).parent / "data"
REPORT = """\
Hello,

with 6.18 each start of a guest fails one half of its LVM volume; 6.17 was fine.

  lvcreate --type raid1 -m 1 -L 8G -n disk vg
  virsh start one

[  101.500000] md/raid1:mdX: dm-12: rescheduling sector 8
[  101.600000] md/raid1:mdX: Disk failure on dm-12, disabling device.

git bisect start
git bisect good v6.17
git bisect bad 7d0a66e4bb9081d75c82ec4957c50034cb0ea449
0123456789abcdef0123456789abcdef01234567 is the first bad commit
"""


def values_in(text: str) -> dict[str, str]:
    return {found.field: found.value for found in findings(text)}


def by_field(text: str) -> dict[str, ReportedValue]:
    return {found.field: found for found in findings(text)}


def test_a_whole_report() -> None:
    assert values_in(REPORT) == {
        "good": "v6.17",
        "bad": "7d0a66e4bb9081d75c82ec4957c50034cb0ea449",
        "culprit": "0123456789abcdef0123456789abcdef01234567",
        "storage": "lvm-raid1",
        "workload": "guest",
        "console": r"md/raid1:\S+ Disk failure on \S+ disabling device",
    }


def test_each_value_has_its_line_and_how_sure_it_is() -> None:
    found = by_field(REPORT)
    assert (found["storage"].line, found["storage"].sure) == (5, True)
    assert (found["workload"].line, found["workload"].sure) == (6, False)
    assert found["console"].quote.startswith("md/raid1:mdX: Disk failure")


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("#regzbot introduced: v6.17..v6.18", "good", "v6.17"),
        ("#regzbot introduced: v6.17..v6.18", "bad", "v6.18"),
        ("#regzbot ^introduced: 0123456789ab", "culprit", "0123456789ab"),
        ("I bisected this to commit 0123456789abcdef", "culprit", "0123456789abcdef"),
        ('Fixes: 0123456789ab ("block: something")', "culprit", "0123456789ab"),
        ("It works fine on 6.11.4 for months", "good", "v6.11.4"),
        ("6.11.4 was fine", "good", "v6.11.4"),
        ("broken since v6.12-rc3", "bad", "v6.12-rc3"),
        ("> > git bisect bad v6.18", "bad", "v6.18"),
        ("mdadm --create /dev/md0 --level=1 --raid-devices=2 a b", "storage", "md-raid1"),
        ("mdadm -C /dev/md0 -l 10 -n 4 a b c d", "storage", "md-raid10"),
        ("md127 : active raid1 sdb1[1] sda1[0]", "storage", "md-raid1"),
        ("lvcreate --type mirror -m1", "storage", "lvm-mirror"),
        ("mdadm --create /dev/md0 --level=5 -n 3", "storage", "md-raid5"),
        ("md3 : active raid6 sdd[3] sdc[2] sdb[1] sda[0]", "storage", "md-raid6"),
        ("mdadm --create /dev/md0 --level=4 -n 3", "unknown", "md: raid4"),
        ("qemu-img create -f qcow2 a 1G", "storage", "qcow2"),
        ("mkfs.xfs /dev/md0", "storage", "xfs"),
        ("kernel BUG at drivers/md/raid5.c:7", "crash", "kernel BUG at drivers/md/raid5.c:7"),
        ("qemu-io reports it", "tested", "qemu"),
    ],
)  # fmt: skip
def test_a_line_tells(line: str, field: str, value: str) -> None:
    assert values_in(line)[field] == value


@pytest.mark.parametrize("line", ["mail me at 10.5", "IP 192.168.0.1..192.168.0.9", "commit", "see lore", "v6.18.x"])
def test_a_line_tells_nothing(line: str) -> None:
    assert not {"good", "bad", "culprit"} & set(values_in(line))


def test_a_sure_line_counts_more_than_an_earlier_guess() -> None:
    assert values_in("broken since 6.12\ngit bisect bad v6.13\n")["bad"] == "v6.13"


def test_one_revision_is_not_both_ends() -> None:
    assert values_in("6.12 was fine\nbroken since 6.12\n") == {"bad": "v6.12"}


def test_a_kernel_log_means_that_qemu_is_a_bystander() -> None:
    assert "tested" not in values_in("qemu-io hangs\nBuffer I/O error on dev dm-3, logical block 0, async page read\n")


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("md/raid1:mdX: Disk failure on dm-58, disabling", "md/raid1:md127: Disk failure on sdb1, disabling"),
        ("XFS (md0): Corruption detected. Unmount", "XFS (dm-3): Corruption detected. Unmount"),
        ("I/O error, dev nvme0n1, sector 2055 op 0x0:(READ)", "I/O error, dev sda, sector 8 op 0x0:(READ)"),
    ],
)  # fmt: skip
def test_a_console_line_is_known_again_on_other_devices(line: str, other: str) -> None:
    assert re.search(generalized(line), line)
    assert re.search(generalized(line), other)
    assert not re.search(generalized(line), "md/raid1:mdX: active with 2 out of 2 mirrors")


def test_what_a_person_says_counts_more_than_the_report() -> None:
    wishes = wishes_from(findings(REPORT), FailureDescription("mine", bad="v6.18"))
    assert (wishes.good, wishes.bad, wishes.storage) == ("v6.17", "v6.18", "lvm-raid1")


def test_the_draft_says_what_is_needed() -> None:
    lines = notes(findings("nothing of use"), "mail.txt")
    assert [line.split()[2] for line in lines if " needed " in line] == [
        "good:",
        "bad:",
        "storage:",
        "steps:",
        "bad_when:",
    ]
    assert all(len(line) <= 80 for line in notes(findings(REPORT), "report.eml"))


def test_the_draft_passes_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail = tmp_path / "report.eml"
    mail.write_text(f"From: A <a@example.org>\nSubject: [REGRESSION] Re: LVM half fails\n\n{REPORT}", encoding="utf-8")
    assert main(["new", "half", "--from", str(mail), "--folder", str(tmp_path)]) == 0
    recipe = load(tmp_path / "half.yaml")
    assert (recipe.title, recipe.search.good, recipe.search.bad) == (
        "LVM half fails", "v6.17", "7d0a66e4bb9081d75c82ec4957c50034cb0ea449",
    )  # fmt: skip
    assert "found    storage: lvm-raid1" in capsys.readouterr().err


REPORTS = {
    "raid5-iops.eml": {
        "good": "v6.12", "bad": "v6.14.2", "storage": "md-raid5", "workload": "fio", "slower": "26",
        "fio": "direct=1 rw=randwrite bs=16k iodepth=32 ioengine=libaio numjobs=2 group_reporting=1",
    },
    "power-failure-thin.txt": {
        "good": "v6.15.11", "bad": "v6.16", "storage": "lvm-thin", "workload": "power-cut",
    },
    "nvme-surprise-removal.eml": {
        "good": "v6.16", "bad": "v6.17", "storage": "md-raid1", "disks": "2", "workload": "unplug",
        "hangs": "true",
    },
    "raid5-writer-stuck.txt": {"good": "v6.9.7", "bad": "v6.10.2", "storage": "md-raid5", "hangs": "true"},
    "mirror-job-stuck.txt": {"bad": "v10.1.0", "tested": "qemu", "storage": "raw", "workload": "job"},
    "zoned-crypt.eml": {
        "good": "v6.13.8", "bad": "v6.14", "storage": "dm-crypt", "zoned": "true", "workload": "fio", "slower": "35",
        "fio": "ioengine=io_uring direct=1 iodepth=64 rw=randread bs=4k",
    },
}  # fmt: skip
"""Reports in the style of those of the lists, of kinds that the parsers were not written from."""

FACTS = {
    "raid5-iops.eml": "{value: {repro: {write.iops: '< 0.74 × good'}}}",
    "power-failure-thin.txt": "{stamp: data, size: 16M, for: 5s, kill: true}",
    "nvme-surprise-removal.eml": "{unplug: leg0}",
    "raid5-writer-stuck.txt": "hangs: {hang: {vm: true}}",
    "mirror-job-stuck.txt": "until: BLOCK_JOB_READY",
    "zoned-crypt.eml": "{disk: null_blk, size: 128M, zoned: 4M}",
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_becomes_a_draft_with_the_words_that_it_asks_for(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = DATA / "reports" / name
    assert main(["new", "drafted", "--from", str(file), "--folder", str(tmp_path)]) == 0
    mail = received.parse(file.read_bytes())
    found = findings(mail.text, mail.subject) if mail.subject else findings(file.read_text())
    assert {one.field: one.value for one in found} == REPORTS[name]
    assert FACTS[name] in (tmp_path / "drafted.yaml").read_text()
    assert load(tmp_path / "drafted.yaml").recipe == "drafted"


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("the machine lost power in the middle", "workload", "power-cut"),
        ("the array is gone after a reboot", "workload", "reboot"),
        ("echo 1 > /sys/block/sdb/device/delete", "workload", "unplug"),
        ("virsh blockcopy vm7 vda --dest /srv/x", "workload", "job"),
        ("Sequential throughput fell by half", "workload", "fio"),
        ("IOPS went from 120k to 90k IOPS", "slower", "25"),
        ("that is 12.4 % slower", "slower", "12"),
        ("it got 15 percent slower", "slower", "15"),
        ("slower for sequential writes", "workload", "fio"),
        ("# lvcreate -s -n snap -L 10G vg0/root", "storage", "lvm-snapshot"),
        ("qemu 9.2.1 is OK, 10.0.0 hangs", "bad", "v10.0"),
        ("Kernel 6.14.11; before that never", "bad", "v6.14.11"),
        ("the sequential writes of our machines got slower between\nv6.10 and v6.11 here", "good", "v6.10"),
        ("udevadm settle never comes back", "udev", "true"),
        ("mkfs.btrfs on a host-managed disk", "zoned", "true"),
        ("we run two dd in parallel", "together", "true"),
        ("Re: [REGRESSION] 6.7.1: md: a hang", "bad", "v6.7.1"),
        ("after we had upgraded these machines to the 6.7.1 kernel", "bad", "v6.7.1"),
        ("going back to 6.6.9 makes it go away", "good", "v6.6.9"),
        ("we do not see it on 6.6.9", "good", "v6.6.9"),
        ("introduced between Linux kernel 6.18 and 6.19", "good", "v6.18"),
        ("top shows md0_raid5 at 100 %", "storage", "md-raid5"),
        ("two disks as a software RAID-1", "storage", "md-raid1"),
        ("an Ext4 file system over NFS", "storage", "ext4"),
        ("watchdog: BUG: soft lockup - CPU#3 stuck for 26s!", "hangs", "true"),
        ("INFO: task dd:811 blocked for more than 122 seconds.", "hangs", "true"),
        ("after some minutes the writer is stuck", "hangs", "true"),
        ("lvconvert never returns", "hangs", "true"),
    ],
)
def test_a_line_asks_for_a_word(line: str, field: str, value: str) -> None:
    assert values_in(line)[field] == value


@pytest.mark.parametrize(
    "text",
    [
        "fio --rw=write \\\n  --bs=64k --verify=crc32c --filename=/dev/md0",
        "> fio --bs 64k --rw write --verify=crc32c --size=100G --name=x",
        "[one]\nrw=write\nbs=64k\n; a remark\nverify=crc32c\nfilename=/dev/sdb\n\n[two]\nrw=read\n",
    ],
)
def test_a_job_of_fio_is_taken_over_less_what_is_of_the_reporters_machine(text: str) -> None:
    found = dict(word.split("=") for word in values_in(text)["fio"].split())
    assert found == {"rw": "write", "bs": "64k", "verify": "crc32c"}


def test_what_a_person_says_of_the_workload_leaves_fio_out() -> None:
    wishes = wishes_from(findings("fio --rw=read --bs=4k: 30% slower"), FailureDescription("mine", workload="guest"))
    assert (wishes.workload, wishes.fio, wishes.slower) == ("guest", "", 0)


def test_what_goes_on_at_the_same_time_is_left_out_where_nothing_can() -> None:
    found = findings("fio --rw=read --bs=4k fails while two of them run in parallel")
    assert wishes_from(found, FailureDescription("mine")).together
    assert not wishes_from(found, FailureDescription("mine", storage="disk", workload="reboot")).together


@pytest.mark.parametrize(
    "line", [
        "the disk is 95% full", "100% of the guests", "fiona wrote", "no regression in 6.12", "a parallel port",
        "it works, unchanged", "a hangar", "stuckness",
    ],
)  # fmt: skip
def test_a_line_asks_for_no_word(line: str) -> None:
    assert not {"workload", "slower", "fio", "zoned", "together", "hangs"} & set(values_in(line))


def test_a_report_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "half", "--from", str(tmp_path / "no"), "--folder", str(tmp_path)]) == 2
    assert "no such file" in capsys.readouterr().err


def test_noise_makes_a_draft_that_passes_check(tmp_path: Path) -> None:
    """Lines of reports cut and put together at random: whatever is drafted, check accepts it, and quickly."""
    chance = random.Random(7)
    parts = [
        *REPORT.split(),
        "\x1b[31m",
        "\u202e",
        "--type",
        "raid5",
        "v1.2..v1.3",
        "XFS (",
        "' : {",
        "qcow2",
        "\n",
        "\n> ",
    ]
    for number in range(60):
        source = tmp_path / f"{number}.txt"
        source.write_text(" ".join(chance.choices(parts, k=chance.randrange(200))), encoding="utf-8")
        began = time.process_time()
        assert main(["new", f"r{number}", "--from", str(source), "--folder", str(tmp_path)]) == 0
        assert usual(time.process_time() - began) < 2
        assert (tmp_path / f"r{number}.yaml").read_text(encoding="utf-8").replace("\n", "").isprintable()
