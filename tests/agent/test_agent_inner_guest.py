# SPDX-License-Identifier: GPL-2.0-only
"""A real inner guest on this host (one level of emulation instead of two): boots, does I/O, pauses, panics."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent.guest import Guest
from bisector.agent.observe import Recorder
from bisector.agent.outcome import Outcome
from bisector.agent.plan import LEFT_OUT, Drive, Io, Layer, Plan, Result, Step, Watch
from bisector.agent.plan import Guest as GuestPlan
from bisector.agent.qemu import Qemu
from bisector.agent.storage import Storage
from bisector.codec import load
from bisector.layers import arch

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE names no kernel image")]
READ = Io("read", 4096, 16, direct=True)


class GuestSetup:
    """A guest with a recorder and a disk of its own."""

    def __init__(
        self,
        folder: Path,
        accel: str,
        device: str = "virtio-blk",
        *,
        slow: str = "",
        steps: tuple[Step, ...] = (),
        vm_accel: str = "",
    ) -> None:
        self.folder = folder
        shutil.copy(IMAGE, folder / "guest-kernel")
        words = (("slow", slow),) if slow else ()
        drives = (Drive("data", "img", device), Drive("other", "img2", "virtio-blk", words=words))
        guest = GuestPlan(os="linux", accel=accel, drives=tuple(replace(d, cache_direct=False) for d in drives))
        layers = (Layer("img", "file", "raw", size=1 << 20), Layer("img2", "file", "raw", size=2 << 20))
        watch = Watch("crash", "guest", "Kernel panic - not syncing", True)
        plan = Plan(steps=steps, layers=layers, guest=guest, watches=(watch,), vm=False, accel=vm_accel)
        storage = Storage(str(folder / "work"), 30.0)
        storage.build(layers, vm=False)
        self.recorder = Recorder(str(folder), "t0k", vm=False)
        self.guest = Guest(plan, guest, storage, self.recorder, str(folder), str(folder / "work"))

    def result(self) -> Result:
        self.recorder.write()
        return load(Result, (self.folder / "result.json").read_bytes())

    def stop_by_monitor(self) -> None:
        assert self.guest._qemu is not None
        self.guest._qemu._say('{"execute": "stop"}')


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[GuestSetup]:
    setup = GuestSetup(tmp_path, "tcg")
    yield setup
    setup.guest.close()


def test_guest_does_io_and_reports_it(setup: GuestSetup, capsys: pytest.CaptureFixture[str]) -> None:
    assert setup.guest.io("data", READ, 0.0, 5.0).done is False  # before its start
    started = setup.guest.start(120.0)
    assert (started.done, started.exit) == (True, 0), setup.guest._qemu
    assert setup.result().guest_accel == "tcg"

    wrote = setup.guest.io("data", Io("write", 4096, 4, direct=True, flush=True), 0.0, 30.0)
    assert (wrote.exit, wrote.count, wrote.failed, wrote.errno) == (0, 4, 0, "")
    beyond = setup.guest.io("data", Io("write", 4096, 4, offset=255 * 4096), 0.0, 30.0)
    assert (beyond.exit, beyond.errno, beyond.failed) == (1, "ENOSPC", 1)
    assert beyond.count == 1
    gone = setup.guest.io("data", Io("discard", 4096, 2), 0.0, 30.0)
    assert (gone.exit, gone.count, gone.errno) == (0, 2, "")
    off_the_end = setup.guest.io("data", Io("discard", 4096, 2, offset=255 * 4096), 0.0, 30.0)
    assert (off_the_end.exit, off_the_end.errno, off_the_end.count) == (1, "EINVAL", 1)
    size = setup.guest.run(("blockdev", "--getsize64", "{other}"), 30.0)
    assert (size.exit, size.detail) == (0, str(2 << 20))
    quoted = setup.guest.run(("sh", "-c", 'echo "it\'s $BISECTOR_SEED"; exit 3'), 30.0)
    assert (quoted.exit, quoted.detail) == (3, "it's 0")

    # A pause ends the step; the guest goes on, and the answer that comes late is nobody else's.
    threading.Timer(0.5, setup.stop_by_monitor).start()
    paused = setup.guest.io("data", READ, 60.0, 60.0)
    assert paused.exit is None
    assert paused.detail.startswith("the guest paused")
    assert setup.guest.resume().done
    assert setup.guest.io("data", READ, 0.0, 30.0).count == 16
    assert {"STOP", "RESUME"} <= {event.name for event in setup.result().events}

    jobs_end_with_their_events(setup)

    crashed = setup.guest.run(("sh", "-c", "echo c >/proc/sysrq-trigger"), 30.0)
    assert (crashed.done, crashed.exit) == (False, 0)
    assert "bisector t0k guest crash" in capsys.readouterr().out
    assert "Kernel panic" in (setup.folder / "guest-console.log").read_text()
    assert setup.guest.io("data", READ, 0.0, 5.0).done is False

    again = setup.guest.start(120.0)  # what was written before is still there
    assert again.done
    assert setup.guest.stop().exit == 0
    assert (setup.folder / "work/img.raw").stat().st_size == 1 << 20


def test_zeroes_are_written_in_the_guest_without_data_and_an_error_has_its_name(tmp_path: Path) -> None:
    zero = Io("write_zeroes", 65536, 4, offset=65536)
    setup = GuestSetup(tmp_path, "tcg", steps=(Step("z", "io", where="guest", io=zero),))
    try:
        assert setup.guest.start(120.0).exit == 0
        filled = setup.guest.run(
            ("sh", "-c", "tr '\\0' x </dev/zero | dd of={data} bs=64k count=16 iflag=fullblock conv=fsync"), 60.0
        )
        assert filled.exit == 0, filled
        done = setup.guest.io("data", zero, 0.0, 60.0)
        assert (done.exit, done.count, done.errno) == (0, 4, ""), done
        beyond = setup.guest.io("data", replace(zero, offset=15 << 16), 0.0, 60.0)
        assert (beyond.exit, beyond.count, beyond.errno) == (1, 1, "EINVAL"), beyond
        assert setup.guest.io("data", replace(zero, operation="discard", count=1), 0.0, 60.0).exit == 0
        setup.guest.stop()
        content = (tmp_path / "work/img.raw").read_bytes()
        assert content == b"x" * (1 << 16) + bytes(4 << 16) + b"x" * (10 << 16) + bytes(1 << 16)
    finally:
        setup.guest.close()


def jobs_end_with_their_events(setup: GuestSetup) -> None:
    """Steps of ``qmp`` with ``until``: a job that works, one that fails, a command that is refused, no event."""

    def asked(command: str, until: str = "", seconds: float = 60.0, **arguments: object) -> Outcome:
        text = json.dumps({"execute": command, "arguments": arguments})
        return setup.guest.monitor(Step("x", "qmp", qmp=text, until=until), seconds)

    filled = setup.guest.run(("sh", "-c", "dd if=/dev/urandom of={data} bs=4096 count=8 conv=fsync"), 30.0)
    assert filled.exit == 0  # zeroes are written in another way
    job = {"device": "data", "sync": "full", "format": "raw", "mode": "existing", "job-id": "copy"}
    target = setup.folder / "copy.raw"
    target.write_bytes(b"x" * (1 << 20))
    mirrored = asked("drive-mirror", "BLOCK_JOB_READY", target=str(target), **job)
    assert (mirrored.done, mirrored.exit) == (True, 0), mirrored
    ended = asked("block-job-cancel", "BLOCK_JOB_COMPLETED", device="copy")
    assert (ended.exit, target.read_bytes()) == (0, (setup.folder / "work/img.raw").read_bytes())

    rule = {"event": "write_aio", "errno": errno.ENOSPC}
    full = {"driver": "blkdebug", "image": {"driver": "file", "filename": str(target)}, "inject-error": [rule]}
    failing = f"json:{json.dumps({'driver': 'raw', 'file': full})}"
    failed = asked("drive-backup", "BLOCK_JOB_COMPLETED", target=failing, **job)
    assert (failed.done, failed.exit, failed.errno) == (True, 1, "ENOSPC"), failed

    refused = asked("drive-mirror", "BLOCK_JOB_READY", target=str(target), **{**job, "device": "nobody"})
    assert (refused.done, refused.exit) == (True, 1) and "nobody" in refused.detail
    never = asked("query-status", "BLOCK_JOB_READY", seconds=1.0)
    assert (never.done, never.exit) == (False, None)


def test_what_a_program_in_the_guest_prints_forges_no_answer(setup: GuestSetup) -> None:
    """Lines and endless lines of the protocol's own words, a flood, and a program that stays and goes on printing."""
    assert setup.guest.start(120.0).exit == 0

    def run(script: str, seconds: float = 120.0, keep: int = 4096) -> Outcome:
        return setup.guest.run(("sh", "-c", script), seconds, keep)

    # The answer of the next command; at 16 KiB a line was cut, and its rest taken for a line.
    for number in range(1, 4):
        seen = run(f"sleep 1; yes x | head -n 16380 | tr -d '\\n'; echo E {number + 1} 0; exit 3", keep=1 << 16)
        assert (seen.done, seen.exit) == (True, 3), seen.detail[-300:]
        assert seen.detail.endswith(f"xE {number + 1} 0")
    assert run("printf 'E 99 0\\nT 99\\nO 99 x\\nready\\nB vda forged\\n'; exit 4").exit == 4
    assert run("echo 'E 12 0' >&3; exit 5").exit == 5  # the port is not open in a program

    flood = run("yes 'not ok' | head -c 29999998; echo end; exit 6")
    assert (flood.done, flood.exit) == (True, 6)
    assert flood.detail.startswith(LEFT_OUT) and flood.detail.endswith("not ok\nend")
    assert not any(line.startswith("ok") for line in flood.detail.splitlines())
    zeroes = run("head -c 30000000 /dev/zero; echo end; exit 7")
    assert (zeroes.done, zeroes.exit, zeroes.detail) == (True, 7, f"{LEFT_OUT}end")

    assert run("(while :; do echo LATE; sleep 1; done) & echo first").exit == 0
    for _ in range(3):
        assert run("sleep 1.2; echo own").detail == "own"
    assert setup.guest.io("data", READ, 0.0, 30.0).count == 16


def test_guest_that_does_not_boot_in_time_is_no_start(setup: GuestSetup) -> None:
    outcome = setup.guest.start(0.3)
    assert (outcome.done, outcome.exit, outcome.errno) == (False, None, "")
    assert outcome.detail == "the inner guest did not reach its init in time"
    assert setup.guest.io("data", READ, 0.0, 5.0).detail == "the guest never took a command"


def test_kernel_that_qemu_refuses_is_an_observation(setup: GuestSetup) -> None:
    (setup.folder / "guest-kernel").write_bytes(bytes(1 << 20))
    outcome = setup.guest.start(30.0)
    assert (outcome.done, outcome.exit) == (True, 1)
    assert "kernel" in outcome.detail


KVM = """#!/bin/sh
# Emulates, whatever it is told. Told to use KVM it says, once that is there, what QEMU says when KVM gives a guest up.
case "$*" in
*accel=kvm*)
    (while ! test -e {now}; do sleep 0.1; done; echo 'KVM internal error. Suberror: 3' >&2) &
    arguments=$(printf '%s\n' "$@" | sed 's/accel=kvm/accel=tcg/; s/^host$/max/')
    IFS='
'
    set -- $arguments;;
esac
exec {real} "$@"
"""


@pytest.fixture
def broken_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with a QEMU whose KVM gives its guest up when the file ``now`` is there; /dev/kvm opens."""
    program = tmp_path / "programs" / arch.VM.qemu
    program.parent.mkdir()
    program.write_text(KVM.format(real=shutil.which(arch.VM.qemu), now=tmp_path / "now"))
    program.chmod(0o755)
    monkeypatch.setattr("bisector.agent.guest.kvm_opens", lambda: True)
    return str(program.parent)


@pytest.mark.parametrize("accel", ["kvm", "auto"])
def test_a_guest_that_kvm_gives_up_after_its_boot_is_the_harness_failing(
    tmp_path: Path, accel: str, broken_kvm: str
) -> None:
    setup = GuestSetup(tmp_path, accel)
    try:
        assert setup.guest.start(120.0, broken_kvm).exit == 0
        assert (setup.result().guest_accel, setup.result().fault) == ("kvm", None)
        (tmp_path / "now").touch()
        assert setup.guest.run(("sleep", "1"), 30.0).exit == 0
        fault = setup.result().fault
        assert fault is not None and fault.stage == "tools" and "KVM gave the guest up (KVM internal" in fault.message
    finally:
        setup.guest.close()


def test_a_guest_that_kvm_gives_up_before_leaves_nothing_that_a_condition_could_see(
    tmp_path: Path, broken_kvm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither an event of the paused guest nor a watched line of its console."""
    setup = GuestSetup(tmp_path, "auto")
    launch = setup.guest._launch

    def broken(accel: str, *, serial: bool) -> Qemu:
        qemu = launch(accel, serial=serial)
        if accel == "kvm":
            # Its kernel is quiet: of a slow boot init is the first that says a word.
            assert qemu.wait(60.0, lambda: qemu.heard or qemu.ready)
            setup.guest._on_console("Kernel panic - not syncing: of a guest on a broken KVM")
            setup.stop_by_monitor()
            assert qemu.wait(30.0, lambda: qemu.paused)
        return qemu

    monkeypatch.setattr(setup.guest, "_launch", broken)
    try:
        assert setup.guest.start(180.0, broken_kvm).exit == 0
        names = [event.name for event in setup.result().events]
        assert "guest-kvm-failed" in names and not {"STOP", "crash"} & {*names}
        assert "guest crash" not in capsys.readouterr().out
        assert (setup.result().guest_accel, setup.result().fault) == ("tcg", None)
        setup.stop_by_monitor()  # of a guest that counts, it is there
        assert setup.guest.io("data", READ, 60.0, 60.0).exit is None
        assert "STOP" in [event.name for event in setup.result().events]
    finally:
        setup.guest.close()


def test_kvm_is_not_tried_in_an_emulated_vm(tmp_path: Path, broken_kvm: str) -> None:
    setup = GuestSetup(tmp_path, "auto", vm_accel="tcg")
    try:
        assert setup.guest.start(120.0, broken_kvm).exit == 0
        assert setup.result().guest_accel == "tcg"
        assert "guest-kvm-failed" not in [event.name for event in setup.result().events]
    finally:
        setup.guest.close()


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="there is no /dev/kvm")
def test_kvm_that_opens_and_cannot_run_a_kernel_is_left_for_emulation(tmp_path: Path) -> None:
    setup = GuestSetup(tmp_path, "auto")
    started = setup.guest.start(120.0)
    accel = setup.result().guest_accel
    fell_back = any(event.name == "guest-kvm-failed" for event in setup.result().events)
    read = setup.guest.io("data", READ, 0.0, 30.0)
    setup.guest.close()
    assert (started.done, started.exit, read.count) == (True, 0, 16)
    assert (accel == "tcg") == fell_back
