# SPDX-License-Identifier: GPL-2.0-only
"""A kind of storage is a module and a line of the table: one that nothing else knows goes all the way."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = [sys.executable, Path(__file__).with_name("made_up_kind.py"), tmp_path_factory.mktemp("kind")]
    done = subprocess.run(program, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_grammar_takes_it_and_it_is_in_the_plan(found: dict[str, Any]) -> None:
    assert found["kinds"] == ["disk", "disk", "crypt", "fs"]


def test_its_type_is_one_of_its_rows(found: dict[str, Any]) -> None:
    assert "'plane' is not known; did you mean 'plain'? (allowed: plain)" in found["unknown_type"]


def test_checks_hold_what_its_row_says(found: dict[str, Any]) -> None:
    assert "a crypt lies on one layer, found 2" in found["two_members"]
    assert "a file raw lies on an fs, and secret is of kind crypt" in found["on_files"]


def test_its_modules_and_fragments_are_what_the_kernel_needs(found: dict[str, Any]) -> None:
    assert {"dm_crypt", "dm_mod", "ext4", "nvme", "virtio_scsi"} <= set(found["modules"])
    assert found["fragments"] == ["ext4", "lvm-raid", "scsi"]


def test_the_agent_builds_it_between_two_other_kinds(found: dict[str, Any]) -> None:
    assert found["ran"] == [
        "CRYPT_NO_UDEV=1 crypttool open /dev/nvme0n1 secret",
        "mkfs.ext4 -q -F /dev/mapper/secret",
        "mount -t ext4 /dev/mapper/secret FOLDER/work/fs",
    ]


def test_its_health_and_its_variables_are_in_each_trial(found: dict[str, Any]) -> None:
    assert found["health"] == {"fs-less": "", "disk": "", "secret": "none", "fs": ""}
    assert found["steps"] == "FOLDER/work"


def test_an_inner_guest_makes_it_once_and_takes_it_down(found: dict[str, Any]) -> None:
    created, assembled, leave = found["inner"]
    assert created[:3] == [
        "crypttool format /dev/sda",
        "crypttool open /dev/sda /dev/mapper/inner",
        "mkfs.ext4 -q -F /dev/mapper/inner",
    ]
    assert assembled[0] == "crypttool open /dev/sda /dev/mapper/inner"
    assert leave == "umount /mnt/data && crypttool close /dev/mapper/inner"


def test_a_first_recipe_can_stand_on_it(found: dict[str, Any]) -> None:
    assert "  data: {crypt: plain, of: [leg0]}" in found["first"]
