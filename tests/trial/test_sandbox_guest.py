# SPDX-License-Identifier: GPL-2.0-only
"""QEMU under test on this host: a real guest in the sandbox, with no VM around it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bisector.agent.plan import Drive, Guest, Io, Layer, Plan, Step, StepFacts, Watch
from bisector.interfaces import CancelToken, Progress
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.trial.sandbox import SandboxRunner
from tests.stopping import as_from_a_terminal

KERNEL = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not KERNEL, reason="BISECTOR_TEST_IMAGE names no kernel image")]
Drives = tuple[Drive, ...]
DRIVE = Drive("vda", "img", "virtio-blk", cache_direct=False)
START, STOP = Step("boot", "start"), Step("stop", "stop")
PRESS = Step("press", "reset", ("guest",))
WRITES = Io("write", 64 << 10, 64, True, offset=8 << 20)
LAYERS = (Layer("img", "file", "raw", size=16 << 20), Layer("copy", "file", "qcow2", size=16 << 20))
ERRORS = (("errors", "read 8192 EIO 0"),)


EMULATOR = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */qemu-system-*) pid=${p#/proc/};; esac; done; "
RESIDENT = EMULATOR + "awk '/^VmRSS/ {print int($2 / 1024)}' /proc/$pid/status"
RECIPE = """
recipe: r
target: {qemu: {build: [qemu-system-x86_64]}}
vm: none
storage: {img: {file: raw, size: 16M}}
guest: {os: linux, accel: tcg, drives: {vda: {of: img}}}
steps:
  - boot: {start: guest}
  - rest: {run: [sleep, '60'], in: guest}
bad_when: {b: {exit: {rest: 1}}}
good_when: {g: {exit: {rest: 0}}}
"""


@dataclass
class Host:
    """Runs trials without a VM, and knows what they leave."""

    folder: Path
    cancel: CancelToken = field(init=False)
    seen: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cancel = CancelToken(str(self.folder / "cancel"))
        (self.folder / "work").mkdir()

    def run(
        self,
        *steps: Step,
        programs: str = "",
        deadline: float = 60.0,
        drives: Drives = (DRIVE,),
        other: str = "",
    ) -> Observation:
        """Run one trial of these steps; each drive lies on a file of ``LAYERS``, or on one of its own.

        ``other``: the programs of the good end.
        """
        environ = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "work")}
        processes = Processes(self.folder / "records")
        runner = SandboxRunner(processes, environ, kernels=lambda identity: Image(identity, KERNEL, programs=other))
        guest = Guest("linux", drives=drives, accel="tcg")
        own = {drive.of for drive in drives} - {layer.name for layer in LAYERS}
        layers = (*LAYERS, *(Layer(name, "file", "raw", size=16 << 20) for name in sorted(own)))
        watches = (Watch("error", "guest", "I/O error, dev vda", decisive=False),)
        plan = Plan(steps, layers, guest, watches, vm=False, kernel="guest's", deadline=deadline)
        plan = replace(plan, kernels=(("good-end", "other"),) if other else ())
        image = Image("i", "", programs=programs)
        observation = runner.run(image, plan, self.folder / "stored", listener=self.seen.append, cancel=self.cancel)
        assert not any((self.folder / "work").iterdir()) and not any(processes.records.iterdir())
        assert not emulators(self.folder)
        return observation

    def console(self) -> list[str]:
        """Lines of the guest's console that were watched for."""
        text = (self.folder / "stored/console.log").read_text(errors="replace")
        return [line for line in text.splitlines() if " guest error " in line]


def under_test(folder: Path, script: str, name: str = "programs") -> str:
    """A folder with a QEMU of ours, that says so and goes on with ``script``."""
    programs = folder / name
    programs.mkdir()
    real = shutil.which("qemu-system-x86_64")
    (programs / "qemu-system-x86_64").write_text(f"#!/bin/sh\necho the one under test >&2\nreal={real}\n{script}\n")
    (programs / "qemu-system-x86_64").chmod(0o755)
    return str(programs)


def emulators(folder: Path) -> list[str]:
    """Processes of a trial in ``folder`` that still run."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_bytes().decode(errors="replace"))
    return [line for line in lines if "qemu-system" in line and str(folder) in line]


def of(observation: Observation, step: str) -> StepFacts:
    assert observation.result is not None and observation.result.fault is None, observation
    facts = observation.result.step(step)
    assert facts is not None
    return facts


def qmp(name: str, command: str, until: str = "", **arguments: object) -> Step:
    return Step(name, "qmp", qmp=json.dumps({"execute": command, "arguments": arguments}), until=until)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_guest_works_on_the_host_as_in_a_vm(host: Host, tmp_path: Path) -> None:
    """Nothing is wrong: blocks are clean inside and outside, a job ends, and what QEMU refuses is an error."""
    backup = {"device": "vda", "target": "{copy}", "sync": "full", "format": "qcow2", "mode": "existing"}
    seen = host.run(
        START,
        Step("stamp", "stamp", ("vda",), "guest", size=1 << 20),
        qmp("backup", "drive-backup", "BLOCK_JOB_COMPLETED", **backup, **{"job-id": "b"}),
        qmp("refused", "drive-backup", **{**backup, "device": "nobody"}),
        qmp("monitor", "human-monitor-command", **{"command-line": "info block"}),
        Step("inside", "verify", ("vda",), "guest"),
        Step("outside", "verify", ("img",)),
        Step("same", "run", argv=("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "-U", "{img}", "{copy}")),
        Step("resident", "run", argv=("sh", "-c", RESIDENT)),
        STOP,
        programs=under_test(tmp_path, 'exec "$real" "$@"'),
    )
    assert (seen.ending, seen.accel, host.console()) == (Ending.FINISHED, "none", [])
    assert seen.result is not None and seen.result.guest_accel == "tcg"
    assert {
        name: of(seen, name).exit for name in ("boot", "stamp", "backup", "monitor", "same", "stop")
    } == dict.fromkeys(("boot", "stamp", "backup", "monitor", "same", "stop"), 0)
    assert of(seen, "refused").exit == 1 and "nobody" in of(seen, "refused").detail
    assert of(seen, "inside").blocks == of(seen, "outside").blocks == ("clean",)
    assert 20 < int(of(seen, "resident").detail) < 1000  # of this trial's QEMU, the only one that is seen
    assert "the one under test" in (host.folder / "stored/guest/qemu.log").read_text()


def test_a_guest_that_one_qemu_has_written_is_read_by_another(host: Host, tmp_path: Path) -> None:
    """The emulator of an end of the search, then the one under test, on the same image."""
    other = under_test(tmp_path, 'echo "and not under test" >&2; exec "$real" "$@"', "other")
    seen = host.run(
        replace(START, by="good-end"),
        Step("stamp", "stamp", ("vda",), "guest", size=1 << 20),
        Step("again", "restart"),
        Step("inside", "verify", ("vda",), "guest"),
        STOP,
        programs=under_test(tmp_path, 'exec "$real" "$@"'),
        other=other,
    )
    assert of(seen, "inside").blocks == ("clean",)
    said = (host.folder / "stored/guest/qemu.log").read_text()
    assert said.count("the one under test") == 2 and said.count("and not under test") == 1


def test_a_reset_cuts_off_what_the_guest_does_and_boots_it_again(host: Host) -> None:
    """Twice, beside a program and beside writes; what was flushed before is there, and a panic still ends QEMU."""
    seen = host.run(
        START,
        Step("stamp", "stamp", ("vda",), "guest", size=1 << 20),
        sh("mark", "touch /tmp/mark"),
        replace(sh("rest", "printf half-a-line >/dev/ttyS1; sleep 600"), group="g"),
        replace(PRESS, group="g"),
        sh("marked", "test -e /tmp/mark"),
        Step("inside", "verify", ("vda",), "guest"),
        Step("load", "io", ("vda",), "guest", io=WRITES, seconds=600, group="h"),
        Step("again", "reset", ("guest",), group="h"),
        Step("read", "io", ("vda",), "guest", io=Io("read", 4096, 4, True)),
        sh("panic", "echo c >/proc/sysrq-trigger; sleep 60"),
        deadline=90.0,
    )
    for cut in ("rest", "load"):
        assert (of(seen, cut).done, of(seen, cut).exit, of(seen, cut).detail) == (True, None, "the guest was reset")
    assert [of(seen, name).exit for name in ("press", "again", "marked", "read")] == [0, 0, 1, 0]
    assert of(seen, "inside").blocks == ("clean",)
    assert not of(seen, "panic").done and "QEMU has ended" in of(seen, "panic").detail
    assert seen.ending is Ending.FINISHED


def test_a_reset_starts_a_guest_that_is_paused(host: Host) -> None:
    """By a command, and by an error of its drive, of which the step before the reset has no end."""
    seen = host.run(
        START,
        qmp("halt", "stop"),
        PRESS,
        Step("read", "io", ("vda",), "guest", io=Io("read", 4096, 4, True, offset=4 << 20)),
        replace(PRESS, name="again"),
        Step("beside", "io", ("vda",), "guest", io=Io("read", 4096, 4, True)),
        drives=(replace(DRIVE, words=ERRORS, rerror="stop"),),
        deadline=60.0,
    )
    assert seen.ending is Ending.FINISHED
    assert [of(seen, name).exit for name in ("halt", "press", "again", "beside")] == [0, 0, 0, 0]
    assert seen.result is not None and [event.name for event in seen.result.events].count("STOP") == 2


def test_a_qemu_that_does_not_answer_a_reset_hangs_in_it(host: Host) -> None:
    stopped = Step("stall", "run", argv=("sh", "-c", EMULATOR + "kill -STOP $pid"))
    seen = host.run(START, stopped, PRESS, deadline=10.0)
    assert (seen.ending, of(seen, "press").done, of(seen, "press").exit) == (Ending.DEADLINE, False, None)


def test_what_goes_wrong_in_it_is_seen(host: Host) -> None:
    """A sector that cannot be read, and a QEMU that crashes: the guest's error, its console, the signal."""
    seen = host.run(
        START,
        Step("read", "io", ("vda",), "guest", io=Io("read", 4096, 4, True, offset=4 << 20)),
        Step("crash", "run", argv=("sh", "-c", EMULATOR + "kill -ABRT $pid; sleep 1")),
        qmp("after", "query-status"),
        drives=(replace(DRIVE, words=ERRORS),),
    )
    assert of(seen, "read").errno == "EIO" and of(seen, "read").exit == 1
    assert host.console() and "I/O error, dev vda" in host.console()[0]
    assert (of(seen, "after").done, of(seen, "after").exit) == (False, -6)


def on(device: str, name: str, **words: str) -> Drive:
    """A drive of that name on a file of its own."""
    return Drive(name, f"{name}-file", device, cache_direct=False, words=tuple(sorted(words.items())))


def sh(name: str, script: str, where: str = "guest") -> Step:
    return Step(name, "run", where=where, argv=("sh", "-c", script))


def test_drives_have_their_words_and_fail_where_they_are_to(host: Host) -> None:
    """One boot for all devices of the new board, each with what its own words do and one beside it without."""
    space = "stat -c space=%b {zeroes-file}"
    seen = host.run(
        START,
        Step("write-fixed", "io", ("fixed",), "guest", io=Io("write", 4096)),
        Step("read-fixed", "io", ("fixed",), "guest", io=Io("read", 4096)),
        sh(
            "blocks",
            "blockdev --getss {four}; blockdev --getss {zeroes}; "
            "for d in {fixed} {four} {late}; do cat /sys/block/${d##*/}/queue/write_cache; done",
        ),
        Step("read-bad", "io", ("bad",), "guest", io=Io("read", 4096, 1, True, offset=4 << 20)),
        Step("read-beside", "io", ("bad",), "guest", io=Io("read", 4096, 1, True, offset=8 << 20)),
        Step("read-late", "io", ("late",), "guest", io=Io("read", 4096, 12, True)),
        Step("read-quick", "io", ("bad",), "guest", io=Io("read", 4096, 12, True)),
        sh("fill", "dd if=/dev/urandom of={zeroes} bs=65536 count=16 oflag=direct"),
        sh("filled", space, "vm"),
        sh("clear", "dd if=/dev/zero of={zeroes} bs=65536 count=16 oflag=direct"),
        sh("cleared", space, "vm"),
        sh("depth", "cat /sys/block/vd[ab]/queue/nr_requests"),
        qmp("threads", "query-iothreads"),
        STOP,
        drives=(
            on("virtio-blk", "fixed", read_only="on", queue_size="64", write_cache="off"),
            on("virtio-blk", "zeroes", iothread="on", discard="on", detect_zeroes="unmap", queue_size="128"),
            on("nvme", "four", logical_block="4096", write_cache="off"),
            on("scsi", "bad", errors="read 8192 EIO 0"),
            on("nvme", "late", slow="100"),
        ),
    )
    assert of(seen, "write-fixed").exit == 1 and of(seen, "write-fixed").errno in ("EPERM", "EROFS", "EACCES")
    assert of(seen, "read-fixed").exit == 0
    assert of(seen, "blocks").detail.split("\n") == ["4096", "512", "write through", "write through", "write back"]
    assert (of(seen, "read-bad").errno, of(seen, "read-beside").errno) == ("EIO", "")
    late, quick = (of(seen, name) for name in ("read-late", "read-quick"))
    assert (late.exit, quick.exit) == (0, 0)
    assert late.ended - late.started > 0.7  # 12 reads, 10 a second
    assert (of(seen, "filled").detail.strip(), of(seen, "cleared").detail.strip()) == (
        f"space={(1 << 20) // 512}",
        "space=0",
    )
    assert sorted(of(seen, "depth").detail.split()) == ["128", "64"]
    assert "thread-zeroes" in of(seen, "threads").detail and "thread-fixed" not in of(seen, "threads").detail


PLUGGED = (
    on("nvme", "new", hotplug="absent"),
    on("virtio-blk", "there", hotplug="present"),
    on("scsi", "sd", hotplug="present"),
)


def plug(name: str, verb: str, *drives: str) -> Step:
    return Step(name, verb, drives, "guest")


def test_drives_come_and_go_while_the_guest_runs(host: Host) -> None:
    """What was written before a disk was pulled out is there afterwards, and nothing answers in between."""
    seen = host.run(
        START,
        Step("not-yet", "io", ("new",), "guest", io=Io("read", 4096)),
        Step("stamp", "stamp", ("there",), "guest", size=1 << 20),
        plug("in", "plug", "new"),
        Step("write", "io", ("new",), "guest", io=Io("write", 4096, 16, True, flush=True)),
        sh("before", "ls /sys/block | wc -l"),
        plug("out", "unplug", "new", "there", "sd"),
        sh("after", "ls /sys/block | wc -l"),
        Step("gone", "io", ("there",), "guest", io=Io("read", 4096)),
        plug("back", "plug", "sd", "there", "new"),
        Step("whole", "verify", ("there",), "guest"),
        Step("read", "io", ("new",), "guest", io=Io("read", 4096, 16, True)),
        Step("read-sd", "io", ("sd",), "guest", io=Io("read", 4096, 16, True)),
        plug("twice", "plug", "new"),
        drives=PLUGGED,
    )
    exits = {step.name: step.exit for step in (seen.result.steps if seen.result else ())}
    assert {name for name, code in exits.items() if code} == {"not-yet", "gone", "twice"}, seen.result
    assert of(seen, "not-yet").errno == of(seen, "gone").errno == "ENODEV"
    assert int(of(seen, "before").detail) - int(of(seen, "after").detail) == 3
    assert of(seen, "whole").blocks == ("clean",)
    assert "uplicate" in of(seen, "twice").detail


def test_a_port_that_takes_no_hot_plug_is_an_error_of_qemus(host: Host, tmp_path: Path) -> None:
    seen = host.run(
        START,
        plug("in", "plug", "new"),
        Step("write", "io", ("new",), "guest", io=Io("write", 4096)),
        programs=under_test(tmp_path, 'exec "$real" "$@" -global pcie-root-port.hotplug=off'),
        drives=PLUGGED[:1],
    )
    assert (of(seen, "in").done, of(seen, "in").exit) == (True, 1)
    assert "hotplug" in of(seen, "in").detail
    assert of(seen, "write").errno == "ENODEV"


def test_a_guest_that_floods_its_console_ends_at_the_deadline(host: Host) -> None:
    flood = Step(
        "flood", "run", where="guest", argv=("sh", "-c", "yes I/O error, dev vda, and more of it >/dev/console")
    )
    seen = host.run(START, flood, STOP, deadline=7.0)
    assert seen.ending is Ending.DEADLINE
    assert seen.timing.total < 20
    assert (of(seen, "boot").exit, of(seen, "flood").done) == (0, False)
    assert seen.result is not None and seen.result.step("stop") is None
    kept = [path for path in (host.folder / "stored").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 4 << 20


def test_a_qemu_that_hangs_and_hears_no_signal_ends_at_the_deadline(host: Host, tmp_path: Path) -> None:
    deaf = under_test(tmp_path, "trap '' TERM HUP INT; while :; do sleep 1; done")
    seen = host.run(START, programs=deaf, deadline=2.0)
    assert (seen.ending, of(seen, "boot").done) == (Ending.DEADLINE, False)
    assert seen.timing.total < 12


def test_a_wish_to_stop_ends_it(host: Host) -> None:
    threading.Timer(1.5, host.cancel.cancel).start()
    begin = time.monotonic()
    assert host.run(START, Step("rest", "run", where="guest", argv=("sleep", "60"))).ending is Ending.CANCELLED
    assert time.monotonic() - begin < 8


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_bisector_is_killed(tmp_path: Path, by: signal.Signals) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    (tmp_path / "tmp").mkdir()
    environ = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    environ |= {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("STATE", "CACHE")}
    command = [sys.executable, "-m", "bisector", "test", str(tmp_path / "r.yaml"), "--kernel", KERNEL]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environ, preexec_fn=as_from_a_terminal, **quiet) as child:
        assert within(60.0, lambda: bool(emulators(tmp_path)))
        child.send_signal(by)
        child.wait(20.0)
    assert within(5.0, lambda: not emulators(tmp_path)), emulators(tmp_path)


def within(seconds: float, reached: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not reached() and time.monotonic() < until:
        time.sleep(0.05)
    return reached()
