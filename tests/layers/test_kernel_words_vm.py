# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe asks of the kernel itself, in a real VM: control groups, a suspend as far as the tasks, leaks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_words_vm import errors, observed, tried

from bisector.agent.plan import LEAK, LEAKS_SOUGHT, Result

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

DISK = "a: {disk: virtio-blk, size: 16M}"
LIMIT = """\
#!/bin/sh
# limit.sh DISK GROUP FILE LIMIT COMMAND...: run COMMAND in a group of its own; DEV in LIMIT is the disk's number
set -eu
group=/sys/fs/cgroup/$2
mkdir "$group"
echo "$4" | sed "s/DEV/$(cat /sys/block/${1#/dev/}/dev)/" >"$group/$3"
echo $$ >"$group/cgroup.procs"
shift 4
exec "$@"
"""


def seconds(result: Result, name: str) -> float:
    step = result.step(name)
    assert step is not None and step.exit == 0, step
    return step.ended - step.started


def test_a_script_limits_io_and_memory_in_groups_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "limit.sh").write_text(LIMIT)
    (tmp_path / "limit.sh").chmod(0o755)
    read = "dd, 'if={a}', of=/dev/null, bs=64k, count=48, iflag=direct"
    eat = "python3, -c, 'len(bytearray(96 << 20))'"
    steps = f"""
    - free: {{run: [./limit.sh, '{{a}}', free, io.max, 'DEV rbps=max', {read}]}}
    - slow: {{run: [./limit.sh, '{{a}}', slow, io.max, 'DEV rbps=524288', {read}]}}
    - large: {{run: [./limit.sh, '{{a}}', large, memory.max, 512M, {eat}]}}
    - small: {{run: [./limit.sh, '{{a}}', small, memory.max, 24M, {eat}]}}
    """
    result = tried(tmp_path, DISK, steps, "needs: {cgroups: [io, memory]}")
    assert seconds(result, "slow") > max(4.0, seconds(result, "free"))  # 3 MiB at half a MiB a second
    assert seconds(result, "large") > 0.0
    small = result.step("small")
    assert small is not None and small.exit == -9, small


def test_a_kernel_without_a_controller_says_nothing_of_what_is_tried(tmp_path: Path) -> None:
    more = "needs: {cgroups: [memory]}\nvm: {append: [cgroup_disable=memory]}"
    result = observed(tmp_path, DISK, "- x: {run: ['true']}", more).result
    assert result is not None and result.fault is not None and not result.steps
    assert result.fault.stage == "tools"
    assert "offers no controller memory to cgroup2 (CONFIG_MEMCG" in result.fault.message


def test_the_vm_is_suspended_as_far_as_its_tasks_unless_one_does_not_freeze(tmp_path: Path) -> None:
    """A read below a suspended device waits without an end, and its task cannot freeze."""
    stop = "dmsetup suspend {m} && (dd if={m} of=/dev/null bs=4k count=1 iflag=direct >/dev/null 2>&1 &) && sleep 2"
    steps = f"""
    - asleep: {{suspend: vm, level: freezer}}
    - fast: {{run: [sh, -c, 'echo 2000 >/sys/power/pm_freeze_timeout']}}
    - block: {{run: [sh, -c, '{stop}']}}
    - stuck: {{suspend: vm, level: freezer}}
    - free: {{run: [dmsetup, resume, '{{m}}']}}
    - again: {{suspend: vm, level: freezer}}
    """
    result = tried(tmp_path, f"{DISK}\nm: {{dm: linear, of: a}}", steps)
    assert {name: error for name, error in errors(result).items() if error} == {"stuck": "EBUSY"}


def leaks(result: Result) -> list[str]:
    assert any(event.name == LEAKS_SOUGHT for event in result.events)
    return [event.detail for event in result.events if event.name == LEAK]


POLL = """\
import os, select, time
told, tell = os.pipe()
if os.fork():  # the step ends a second after the call has begun
    os.read(told, 1)
    time.sleep(1)
    os._exit(0)
os.setsid()
poll = select.poll()
for _ in range(200):
    poll.register(os.pipe()[0])
os.write(tell, b".")
poll.poll()
"""


def test_what_nothing_refers_to_is_a_leak_by_the_function_that_allocated_it(tmp_path: Path) -> None:
    """What a call of poll(2) allocates is referred to by the stack of its task alone, and stacks are left out here."""
    (tmp_path / "poll.py").write_text(POLL)
    steps = """
    - blind: {run: [sh, -c, 'echo stack=off >/sys/kernel/debug/kmemleak']}
    - wait: {run: [sh, -c, 'python3 $0 >/dev/null 2>&1', ./poll.py]}
    - last: {run: ['true']}
    """
    found = leaks(tried(tmp_path, DISK, steps, leaking="{vm: do_sys_poll}"))
    assert any(line.startswith("do_sys_poll < ") for line in found), found


def test_a_workload_that_keeps_what_it_has_leaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "poll.py").write_text(POLL)
    steps = """
    - write: {stamp: a, size: 1M}
    - wait: {run: [sh, -c, 'python3 $0 >/dev/null 2>&1', ./poll.py]}
    - last: {run: ['true']}
    """
    assert leaks(tried(tmp_path, DISK, steps, leaking="{vm: true}")) == []
