# SPDX-License-Identifier: GPL-2.0-only
"""Trials in real VMs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bisector.agent.plan import Io, Layer, Plan, Step, Watch
from bisector.interfaces import CancelToken, Phase, Progress
from bisector.model import Ending, Image, Observation
from bisector.system.proc import Processes
from bisector.trial import workspace
from bisector.trial.run import VmRunner

IMAGE = os.environ.get("BISECTOR_TEST_IMAGE", "")
pytestmark = [pytest.mark.vm, pytest.mark.skipif(not IMAGE, reason="BISECTOR_TEST_IMAGE is not set")]

LEGS = tuple(Layer(name, "disk", "nvme", size=128 << 20) for name in ("leg0", "leg1"))
PROBE = Plan(
    layers=(*LEGS, Layer("boot", "lvm", "raid1", of=("leg0", "leg1"), size=32 << 20)),
    steps=(Step("probe", "io", objects=("boot",), io=Io("read", 4096, direct=True, buffer_offset=1)),),
    watches=(Watch("rescheduled/0", "vm", "rescheduling sector 0", False),),
)


def sh(name: str, script: str) -> Step:
    return Step(name, "run", argv=("sh", "-c", script))


class Vm:
    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "stored"
        self.state = tmp_path / "state"
        self.work = tmp_path / "work"
        self.work.mkdir()
        self.processes = Processes(tmp_path / "records")
        self.cancel = CancelToken(str(tmp_path / "cancel"))
        self.phases: list[Progress] = []
        self.image = Image("identity", IMAGE)

    def run(self, plan: Plan, **options: object) -> Observation:
        """A trial with one processor: emulated, a second one makes it dearer and no faster (docs/performance.md)."""
        environ, plan = {**os.environ, "TMPDIR": str(self.work)}, replace(plan, cpus=1)
        runner = VmRunner(self.processes, self.state, environ, **{"accel": "tcg", **options})  # type: ignore[arg-type]
        return runner.run(self.image, plan, self.folder, listener=self.phases.append, cancel=self.cancel)

    def clean(self) -> bool:
        return not any(self.work.iterdir()) and not any(self.processes.records.iterdir())

    def qemu(self) -> list[int]:
        """Pids of QEMU in this test's VM."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    argv = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if argv[0].endswith(b"qemu-system-x86_64") and any(str(self.work).encode() in a for a in argv):
                    found.append(int(entry.name))
        return found


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


@pytest.mark.parametrize("udev", [False, True])
def test_udev_starts_only_where_the_plan_says_so(vm: Vm, udev: bool) -> None:
    observation = vm.run(Plan(steps=(sh("look", "ls /run/udev/control"),), udev=udev))
    assert observation.ending is Ending.FINISHED, observation.detail
    facts = observation.result.step("look") if observation.result else None
    assert facts is not None
    assert (facts.exit == 0) is udev, facts.detail
    console = (vm.folder / "console.log").read_text(errors="replace")
    assert ("waiting for udev to settle" in console) is udev


def test_the_open_probe_on_a_real_raid1(vm: Vm) -> None:
    observation = vm.run(PROBE)
    assert observation.ending is Ending.FINISHED, observation.detail
    result = observation.result
    assert result is not None and result.fault is None
    assert len(result.kernel.build_id) == 40
    assert result.layer("leg0").dma_alignment == 3
    probe, health = result.step("probe"), result.layer("boot").health
    assert (probe.errno, health) in [("EIO", "degraded"), ("EINVAL", "healthy")]
    assert bool(observation.console) is (probe.errno == "EIO")
    assert [p.phase for p in vm.phases if not p.detail] == ["boot", "storage", "workload"]
    assert observation.timing.boot > 1 and observation.timing.storage > 0
    assert vm.clean()


def test_another_kernel_than_the_image_is_the_harness_failing(vm: Vm) -> None:
    vm.image = replace(vm.image, build_id="0" * 40)
    observation = vm.run(Plan(steps=()))
    assert observation.ending is Ending.HARNESS
    assert "wrong kernel" in observation.detail


def test_qemu_killed_in_the_workload(vm: Vm) -> None:
    def kill() -> None:
        end = time.monotonic() + 120
        while not any(p.detail == "hang" for p in vm.phases) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in vm.qemu():
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    observation = vm.run(Plan(steps=(sh("hang", "sleep 600"),)))
    thread.join()
    assert observation.ending is Ending.HARNESS
    assert "QEMU was killed by signal 9" in observation.detail
    assert observation.timing.total < 120
    assert vm.clean()


def test_qemu_that_refuses_its_options(vm: Vm) -> None:
    observation = vm.run(Plan(steps=(), memory=1 << 56))
    assert observation.ending is Ending.HARNESS
    assert "QEMU ended with exit code 1" in observation.detail


def test_a_kernel_that_panics_at_boot(vm: Vm) -> None:
    observation = vm.run(Plan(steps=(), append=("rootfstype=ext4",)))
    assert observation.ending is Ending.NO_AGENT
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in observation.detail
    assert observation.console[0].fingerprint.startswith("panic: mount_root_generic")
    assert observation.result is None


def test_an_agent_that_cannot_start(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    script = workspace.vng.start_script
    monkeypatch.setattr(workspace.vng, "start_script", lambda python, *rest: script("/nonexistent/python3", *rest))
    observation = vm.run(Plan(steps=()))
    assert observation.ending is Ending.NO_AGENT
    assert observation.result is None
    assert "not found" in (vm.folder / workspace.GUEST / "agent.log").read_text()


def test_a_silent_hang_ends_at_the_deadline_with_what_was_seen(vm: Vm) -> None:
    observation = vm.run(Plan(steps=(sh("first", "true"), sh("hang", "sleep 1000")), deadline=5.0))
    assert observation.ending is Ending.DEADLINE
    assert observation.timing.workload < 5 + 5 + 2
    assert observation.result is not None
    assert observation.result.step("first").exit == 0
    hang = observation.result.step("hang")
    assert hang is None or not hang.done


def test_a_crash_of_the_kernel_and_its_trace(vm: Vm) -> None:
    observation = vm.run(Plan(steps=(sh("first", "true"), sh("crash", "echo c >/proc/sysrq-trigger"))))
    assert observation.ending is Ending.CRASH
    assert observation.console[0].fingerprint == "panic: sysrq_handle_crash < __handle_sysrq < write_sysrq_trigger"
    assert observation.result is not None and observation.result.step("first") is not None


def test_a_reset_of_the_vm(vm: Vm) -> None:
    observation = vm.run(Plan(steps=(sh("first", "true"), sh("reset", "echo b >/proc/sysrq-trigger"))))
    assert observation.ending is Ending.VM_GONE
    assert observation.result is not None and observation.result.step("first") is not None


def test_a_decisive_line_ends_the_vm_at_once(vm: Vm) -> None:
    steps = (sh("say", "echo '<4>md: Disk failure' >/dev/kmsg; sleep 600"),)
    observation = vm.run(Plan(steps=steps, watches=(Watch("failed/0", "vm", "Disk failure$", True),)))
    assert observation.ending is Ending.DECISIVE
    assert observation.console[0].name == "failed/0"
    assert observation.timing.workload < 5


def test_a_wish_to_stop_during_boot(vm: Vm) -> None:
    def stop() -> None:
        while not vm.qemu():
            time.sleep(0.05)
        time.sleep(1)
        vm.cancel.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    observation = vm.run(Plan(steps=()))
    thread.join()
    assert observation.ending is Ending.CANCELLED
    assert vm.clean() and vm.qemu() == []


def test_auto_boots_whatever_this_host_has(vm: Vm) -> None:
    observation = vm.run(Plan(steps=()), accel="auto")
    assert observation.ending is Ending.FINISHED
    assert observation.accel in ("kvm", "tcg")
    said = [p.detail for p in vm.phases if p.phase is Phase.ACCEL]
    assert len(said) == 1 and said[0].startswith("VMs run on")


SMALL_DISK = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_vm import *
vm = Vm(Path({tmp!r}))
vm.work = Path({small!r})
fill = Plan(layers=LEGS, steps=(sh("fill", "dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=100; sleep 600"),))
observation = vm.run(fill)
print(observation.ending, observation.detail)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk in a private mount namespace takes root")
def test_a_disk_that_fills_up_under_the_vm(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    root, tests = str(Path(__file__).parents[2]), str(Path(__file__).parent)
    script = SMALL_DISK.format(root=root, tests=tests, tmp=str(tmp_path), small=str(small))
    mount = 'mount -t tmpfs -o size=80m small "$1" && exec "$2" -c "$3"'
    process = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(small), sys.executable, script],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert process.stdout.startswith("harness"), process.stdout + process.stderr
    assert "is full" in process.stdout


def test_the_vm_sees_no_home_folder_and_writes_nothing_of_the_host(vm: Vm, tmp_path: Path) -> None:
    """Its root is the host's, as its QEMU in the sandbox sees it."""
    secret = Path.home() / f".bisector-test-{os.getpid()}"
    secret.write_text("secret")
    beside = tmp_path / "beside"  # the work folder, which the VM sees
    beside.write_text("secret")
    try:
        look = sh("look", f"ls -A {Path.home()} /home; test ! -e {secret} && test ! -e {beside} && echo unseen")
        write = sh("write", "for place in / /etc /usr /var; do touch $place/bisector-test 2>&1; done; echo $?")
        observation = vm.run(Plan(steps=(look, write)))
    finally:
        secret.unlink()
    assert observation.ending is Ending.FINISHED, observation.detail
    assert observation.sandbox == "bubblewrap"
    assert observation.result is not None
    assert "unseen" in observation.result.steps[0].detail
    assert not any(Path(place, "bisector-test").exists() for place in ("/", "/etc", "/usr", "/var"))


HOSTILE = """\
cd ..
for name in console.log command plan.json observation.json; do printf 'FOR%s\\n' GED >$name; done
ln -s /etc/shadow stolen.log
mkfifo pipe.log
mknod device.log c 1 5
cp /bin/true root; chmod 6755 root
truncate -s 1T giant.log
printf x >"$(printf 'a\\033[2J\\nb.log')"
for n in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=fill$n bs=1M count=4 status=none; done
i=0
while [ $i -lt 200 ] && mkdir d && cd d; do i=$((i+1)); done
echo depth $i
"""


def test_a_hostile_guest_leaves_nothing_and_changes_no_verdict(vm: Vm) -> None:
    """What tests/trial/test_hostile_guest.py plays, done by a real VM through 9p (where 1,100 levels take minutes)."""
    observation = vm.run(Plan(steps=(sh("hostile", HOSTILE), Step("after", "run", argv=("true",))), deadline=200.0))
    assert observation.ending is Ending.FINISHED, observation.detail
    assert observation.result is not None
    assert [(step.done, step.exit) for step in observation.result.steps] == [(True, 0), (True, 0)]
    assert "depth 200" in observation.result.steps[0].detail
    assert vm.clean()
    kept = {path.relative_to(vm.folder).as_posix() for path in vm.folder.rglob("*")}
    guest = {"guest", *(f"guest/{name}" for name in workspace.LEFT)}
    assert {"console.log", "command", "plan.json", "guest/result.json"} <= kept
    assert kept <= {"console.log", "command", "plan.json", *guest}
    for name in ("console.log", "command", "plan.json"):
        assert "FORGED" not in (vm.folder / name).read_text(errors="replace")
