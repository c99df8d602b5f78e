# SPDX-License-Identifier: GPL-2.0-only
"""Numbers, tests, exit codes by name, refused layers and a living udev in real VMs: what is there and what is not."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.interfaces import CancelToken, ignore
from bisector.model import Image, Reading, Signal
from bisector.recipe.facts import printed
from bisector.recipe.load import load
from bisector.recipe.matrix import cells, override
from bisector.recipe.plan import plan_for, question_for
from bisector.system.proc import Processes
from bisector.trial.run import VmRunner
from bisector.verdict.signature import read

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

SEEN = """\
recipe: seen
target: {kernel: {config: [base, lvm-raid]}}
needs: {udev: true}
storage: {d: {disk: nvme, size: 64M}, data: {lvm: linear, of: [d], size: 32M}}
steps:
  - wait: {run: [sleep, '2']}
  - say: {run: [./say.sh]}
  - skip: {run: [sh, -c, 'exit 4']}
  - remove: {run: [lvremove, -y, '{data}']}
bad_when:
  too-short: {seconds: {wait: '< 2'}}
  another-number: {value: {say: {lost: 8}}}
  another-test: {tap: {say: {two: ok}}}
  more-lines: {count: {vm: {'flood \\d': '= 4'}}}
  another-line: {console: {vm: flood 9}}
  another-code: {exit: {skip: KSFT_FAIL}}
  another-output: {output: {say: lost=8}}
  not-made: {made: {data: false}}
  hung: {hang: {wait: true}}
  crashed: {oops: {vm: '.+'}}
  all-of-it:
    console: {vm: flood 2}
    output: {say: lost=7}
    seconds: {wait: '>= 2', remove: '< 60'}
    value: {say: {lost: 7, read.iops: ['< 13', 99], udevd: 1}}
    tap: {say: {two: not ok, 'on*': ok}}
    count: {vm: {'flood \\d': '= 3'}}
    exit: {skip: KSFT_SKIP, remove: 0}
    made: {data: true}
good_when:
  none-of-it: {exit: {say: 1}}
"""
SAY = """\
#!/bin/sh
echo lost=7
echo '{"jobs": [{"read": {"iops": 12.5}}]}'
printf 'TAP version 13\\nok 1 one\\nnot ok 2 two\\n'
for i in 1 2 3; do echo "<4>flood $i" > /dev/kmsg; done
echo udevd=$(cat /proc/[0-9]*/comm | grep -cx -e systemd-udevd -e udevd)
"""
HUNG = """\
recipe: hung
target: {kernel: {config: [base]}}
deadline: 6s
steps: [{look: {run: ['true']}}, {wait: {run: [sleep, '600']}}]
bad_when: {first: {hang: {look: true}}, hung: {hang: {wait: true}}}
good_when: {ended: {exit: {wait: 0}}}
"""
CRASHED = """\
recipe: crashed
target: {kernel: {config: [base]}}
steps: [{crash: {run: [sh, -c, 'echo c >/proc/sysrq-trigger']}}]
bad_when: {elsewhere: {oops: {vm: raid1_read_request}}, crashed: {oops: {vm: sysrq_handle_crash}}}
good_when: {ended: {exit: {crash: 0}}}
"""
REFUSED = """\
recipe: refused
target: {kernel: {config: [base, lvm-raid]}}
storage: {d: {disk: nvme, size: 64M}, data: {lvm: linear, of: [d], size: 63M}}
steps: [{look: {run: ['true']}}]
bad_when: {made: {made: {data: true}, value: {look: {x: 1}}}}
good_when: {refused: {made: {data: false}}}
"""
FIO = """\
recipe: fio
target: {kernel: {config: [base]}}
storage:
  fast: {disk: virtio-blk, size: 32M}
  tired: {disk: virtio-blk, size: 32M, slow: 20ms}
  worn: {disk: virtio-blk, size: 32M, errors: [{write: 4096}]}
steps:
  - quick: {fio: {filename: '{fast}', rw: randwrite, bs: 4k, direct: 1}, for: 1s}
  - slow: {fio: {filename: '{tired}', rw: randwrite, bs: 4k, direct: 1}, for: 1s}
  - write: {fio: ./write.fio}
  - damage: {io: fast, write: 4k, offset: 64k}
  - look: {fio: {filename: '{fast}', rw: read, bs: 4k, size: 1M, verify: crc32c, direct: 1}}
  - refused: {fio: {filename: '{worn}', rw: write, bs: 4k, direct: 1}}
bad_when:
  all-of-it:
    exit: {quick: 0, slow: 0, write: 0, look: 1, refused: 1}
    value: {quick: {write.iops: '> 200'}, slow: {write.iops: ['< 60']}}
    errno: {quick: none, look: EILSEQ, refused: EIO}
good_when:
  none-of-it: {exit: {quick: 1}}
"""
JOB = "[one]\nfilename={fast}\nrw=write\nbs=4k\nsize=1M\nverify=crc32c\ndo_verify=0\ndirect=1\n"


def reading(folder: Path, text: str) -> Reading:
    """What one trial of a recipe says."""
    (folder / "say.sh").write_text(SAY)
    (folder / "say.sh").chmod(0o755)
    (folder / "write.fio").write_text(JOB)
    (folder / "recipe.yaml").write_text(text)
    recipe = load(folder / "recipe.yaml")
    runner = VmRunner(Processes(folder / "records"), folder / "state", os.environ, accel="tcg")
    plan = replace(plan_for(recipe, cells(recipe)[0]), cpus=1)
    cancel = CancelToken(str(folder / "cancel"))
    observation = runner.run(Image("identity", IMAGE), plan, folder / "stored", listener=ignore, cancel=cancel)
    return read(observation, question_for(recipe))


def test_each_fact_is_seen_where_it_is(tmp_path: Path) -> None:
    found = reading(tmp_path, SEEN)
    assert (found.signal, found.condition) == (Signal.REPRODUCED, "all-of-it"), found


@pytest.mark.parametrize(("text", "condition"), [(HUNG, "hung"), (CRASHED, "crashed")])
def test_a_hang_and_a_crash_are_seen_where_they_are(tmp_path: Path, text: str, condition: str) -> None:
    found = reading(tmp_path, text)
    assert (found.signal, found.condition) == (Signal.REPRODUCED, condition), found


@pytest.mark.skipif(not shutil.which("fio"), reason="fio is not installed")
def test_fio_sees_a_slow_disk_a_damaged_block_and_an_error_and_none_where_there_is_none(tmp_path: Path) -> None:
    found = reading(tmp_path, FIO)
    assert (found.signal, found.condition) == (Signal.REPRODUCED, "all-of-it"), found


def test_a_volume_that_lvcreate_refuses_is_an_answer_only_where_it_is_looked_for(tmp_path: Path) -> None:
    found = reading(tmp_path, REFUSED)
    assert (found.signal, found.condition) == (Signal.CLEAN, "refused"), found
    assert "data was not made: lvm lvcreate" in found.reason


@pytest.mark.parametrize(
    ("name", "smaller", "condition"),
    [
        ("field/loop-write-zeroes-log", "storage.disk.size=64M", "quiet"),
        ("field/lvconvert-hang", "storage.vol.size=32M", "converted"),
    ],
)
def test_a_healthy_kernel_is_good_by_name(tmp_path: Path, name: str, smaller: str, condition: str) -> None:
    """One line of a loop device over tmpfs is no flood, and lvconvert ends where no udev lives."""
    recipe = override(override(load(name), smaller), "vm.cpus=1")
    runner = VmRunner(Processes(tmp_path / "records"), tmp_path / "state", os.environ, accel="tcg")
    cancel = CancelToken(str(tmp_path / "cancel"))
    plan = plan_for(recipe, cells(recipe)[0])
    seen = runner.run(Image("identity", IMAGE), plan, tmp_path / "stored", listener=ignore, cancel=cancel)
    found = read(seen, question_for(recipe))
    assert (found.signal, found.condition) == (Signal.CLEAN, condition), found
    lines = [event for event in seen.console if event.name.startswith("flood/")]
    assert len(lines) == (1 if condition == "quiet" else 0), lines  # it was refused, once


def test_a_vm_that_counts_instructions_takes_the_same_time_for_the_same_work(tmp_path: Path) -> None:
    """Without ``icount`` one and the same write took from 15.6 to 90.6 microseconds on a host with other work."""
    recipe = load("raid1-writes-slower")
    plan = plan_for(recipe, cells(recipe)[0])
    plan = replace(plan, steps=tuple(replace(plan.steps[0], name=name) for name in ("first", "second", "third")))
    runner = VmRunner(Processes(tmp_path / "records"), tmp_path / "state", os.environ)
    cancel = CancelToken(str(tmp_path / "cancel"))
    seen = runner.run(Image("identity", IMAGE), plan, tmp_path / "stored", listener=ignore, cancel=cancel)
    assert seen.result and seen.result.complete, seen
    took = [printed.number(step.detail, "us") or 0.0 for step in seen.result.steps]
    assert min(took) > 0.0 and max(took) < 1.02 * min(took), took
