# SPDX-License-Identifier: GPL-2.0-only
"""Commands to QEMU's monitor, with a real QEMU that runs no guest: answers, errors, jobs and their ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from bisector.agent.machine import Ports
from bisector.agent.monitor import SHOWN, command
from bisector.agent.plan import LEFT_OUT
from bisector.agent.qemu import Listeners, Qemu
from bisector.layers import arch

pytestmark = pytest.mark.skipif(not shutil.which(arch.VM.qemu), reason=f"{arch.VM.qemu} is not installed")
LIMIT = 60.0  # seconds; it takes less than one where nobody else works
NULL = "driver=null-co,read-zeroes=off"
BROKEN = (
    "driver=blkdebug,image.driver=null-co,inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=28"
)


@pytest.fixture
def qemu() -> Iterator[Qemu]:
    def argv(ports: Ports) -> list[str]:
        words = [arch.VM.qemu, "-machine", "none", "-nodefaults", "-display", "none", "-accel", "tcg"]
        words += ["-chardev", f"socket,id=qmp,fd={ports.qmp}", "-mon", "chardev=qmp,mode=control"]
        words += [
            "-blockdev",
            f"{NULL},node-name=source,size=1048576",
            "-blockdev",
            f"{NULL},node-name=target,size=1048576",
        ]
        return [*words, "-blockdev", f"{BROKEN},node-name=full,image.size=1048576"]

    run = Qemu(argv, Listeners(lambda line: None, lambda line: None, lambda name, data: None), serial=False)
    yield run
    run.quit()


def said(name: str, **arguments: object) -> str:
    return json.dumps({"execute": name, "arguments": arguments})


def test_an_answer_is_its_json(qemu: Qemu) -> None:
    seen = command(qemu, said("query-status"), "", LIMIT)
    assert (seen.done, seen.exit) == (True, 0)
    assert json.loads(seen.detail)["running"] is True


def test_an_error_is_its_class_and_its_errno(qemu: Qemu) -> None:
    seen = command(qemu, said("no-such-command"), "", LIMIT)
    assert (seen.done, seen.exit) == (True, 1)
    assert seen.detail.startswith("CommandNotFound: ")
    gone = command(
        qemu, said("blockdev-add", driver="file", **{"node-name": "x"}, filename="/nonexistent/x"), "", LIMIT
    )
    assert (gone.exit, gone.errno) == (1, "ENOENT")


def test_a_job_is_waited_for_and_its_end_is_read(qemu: Qemu) -> None:
    backup = {"job-id": "j", "device": "source", "sync": "full"}
    good = command(qemu, said("blockdev-backup", target="target", **backup), "BLOCK_JOB_COMPLETED", LIMIT)
    assert (good.done, good.exit, good.errno) == (True, 0, "")
    assert "BLOCK_JOB_COMPLETED" in good.detail
    bad = command(qemu, said("blockdev-backup", target="full", **backup), "BLOCK_JOB_COMPLETED", LIMIT)
    assert (bad.done, bad.exit, bad.errno) == (True, 1, "ENOSPC"), bad.detail


def test_an_event_that_does_not_come_ends_with_the_time(qemu: Qemu) -> None:
    seen = command(qemu, said("query-status"), "DEVICE_DELETED", 1.0)
    assert (seen.done, seen.exit) == (False, None)
    assert "no DEVICE_DELETED" in seen.detail


def test_a_qemu_that_ends_is_not_waited_for(qemu: Qemu) -> None:
    seen = command(qemu, said("quit"), "NEVER", LIMIT)
    assert (seen.done, seen.exit) == (True, 0)


def test_an_event_is_heard_behind_a_flood_of_others(qemu: Qemu) -> None:
    """A guest may make thousands (BLOCK_IO_ERROR) while a step waits for the end of a job."""
    for _ in range(3_000):
        qemu._on_qmp('{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "BLOCK_IO_ERROR"}')
    backup = {"job-id": "j", "device": "source", "sync": "full", "target": "target"}
    seen = command(qemu, said("blockdev-backup", **backup), "BLOCK_JOB_COMPLETED", LIMIT)
    assert (seen.done, seen.exit) == (True, 0), seen.detail


def test_a_long_answer_is_said_to_be_cut(qemu: Qemu) -> None:
    seen = command(qemu, said("query-qmp-schema"), "", LIMIT)
    assert (seen.done, seen.exit) == (True, 0)
    assert seen.detail.startswith(LEFT_OUT)
    assert len(seen.detail) == len(LEFT_OUT) + SHOWN
