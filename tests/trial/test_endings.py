# SPDX-License-Identifier: GPL-2.0-only
"""How a trial ends, played by a fake vng."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bisector.agent.plan import File, Plan, Step, Watch
from bisector.codec import load
from bisector.model import Ending, Image, Observation
from bisector.trial.workspace import PREFIX

Play = Callable[..., Observation]
STEPS = (Step("probe", "run", argv=("true",)),)


def test_a_complete_result_ends_the_trial_at_once(setup, play: Play) -> None:
    observation = play("begin(); mark('storage'); mark('step', 'probe', 'begin'); finish(); time.sleep(600)")
    assert observation.ending is Ending.FINISHED
    assert observation.result is not None and observation.result.complete
    assert observation.timing.total < 5
    assert observation.accel == "tcg"
    assert [(p.phase, p.detail) for p in setup.phases] == [
        ("boot", ""),
        ("storage", ""),
        ("workload", ""),
        ("workload", "probe"),
    ]
    assert setup.clean()


def test_plan_result_console_and_command_are_kept(setup, play: Play) -> None:
    play("begin(); open(shared + '/kernel.log', 'w').write('x' * 3000000); finish()", Plan(steps=STEPS, seed=7))
    stored = load(Plan, (setup.folder / "plan.json").read_text())
    assert (stored.steps, stored.seed, stored.accel) == (STEPS, 7, "tcg")
    assert stored.token in setup.log and "end" in setup.log
    assert "--force-9p" in (setup.folder / "command").read_text()
    assert (setup.folder / "guest/result.json").exists()
    assert (setup.folder / "guest/kernel.log").stat().st_size == 1 << 20


def test_a_result_counts_when_the_console_is_stuck(play: Play) -> None:
    observation = play("result(complete=True); time.sleep(600)")
    assert observation.ending is Ending.FINISHED
    assert observation.timing.total < 5


def test_an_agent_that_ends_by_a_fault_has_finished(play: Play) -> None:
    observation = play("begin(); result(fault=Fault('storage', 'no lvm')); mark('end'); time.sleep(600)")
    assert observation.ending is Ending.FINISHED
    assert observation.result is not None and observation.result.fault is not None


def test_the_deadline_counts_from_the_agents_begin(play: Play) -> None:
    scenario = "time.sleep(1.5); begin(); result(steps=(StepFacts('probe', 0.0, 0.0),)); time.sleep(600)"
    observation = play(scenario, Plan(steps=STEPS, deadline=1.0))
    assert observation.ending is Ending.DEADLINE
    assert 7 < observation.timing.total < 12  # 1.5 + 1 + 5 s for the agent to say so itself
    assert observation.result is not None and observation.result.steps[0].name == "probe"


def test_an_agent_that_tells_of_the_deadline_itself_needs_no_overtime(play: Play) -> None:
    rest = "result(events=(AgentEvent(1.0, 'agent', 'deadline', 'probe'),)); mark('end'); time.sleep(600)"
    observation = play(f"begin(); time.sleep(1); {rest}", Plan(steps=STEPS, deadline=1.0))
    assert observation.ending is Ending.DEADLINE
    assert observation.timing.total < 4


def test_a_step_cut_off_by_the_deadline_is_a_deadline(play: Play) -> None:
    cut = "finish(steps=(StepFacts('probe', 0.0, 1.0, done=False),), elapsed=1.02)"
    assert play(f"begin(); {cut}", Plan(steps=STEPS, deadline=1.0)).ending is Ending.DEADLINE


def test_a_vm_that_never_reaches_the_agent(play: Play) -> None:
    observation = play("say('[    0.000000] Linux version 6.18.5'); time.sleep(600)", boot_deadline=1.0)
    assert observation.ending is Ending.NO_AGENT
    assert observation.result is None
    assert "within 1 s" in observation.detail
    assert observation.timing.total < 3


def test_a_vm_that_does_not_boot_the_kernel_that_only_carries_qemu_is_the_harness_failing(play: Play) -> None:
    def kernels(identity: str) -> Image | None:
        return Image(identity, "/proc/self/exe") if identity == "vm_kernel" else None

    never = "say('[    0.000000] Linux version 6.18.5'); time.sleep(600)"
    observation = play(never, Plan(steps=(), kernel="vm_kernel"), boot_deadline=1.0, kernels=kernels)
    assert observation.ending is Ending.HARNESS
    assert "the VM did not boot" in observation.detail
    observation = play(never, Plan(steps=(), kernel="pruned"), boot_deadline=1.0, kernels=kernels)
    assert observation.ending is Ending.HARNESS
    assert "gone from the cache" in observation.detail


def test_a_panic_at_boot_never_reaches_the_agent(play: Play) -> None:
    observation = play("play('no-root-6.18.5.log'); qemu_ended(0)")
    assert observation.ending is Ending.NO_AGENT
    assert "Unable to mount root fs" in observation.detail
    assert observation.console[0].fingerprint == "panic: mount_root_generic < prepare_namespace < kernel_init"


def test_a_vm_that_goes_down_before_the_agent(play: Play) -> None:
    observation = play("say('[    6.0] reboot: Power down'); qemu_ended(0)")
    assert observation.ending is Ending.NO_AGENT
    assert "Power down" in observation.detail


def test_a_reset_in_the_workload_is_the_vms_doing(play: Play) -> None:
    observation = play("begin(); result(steps=(StepFacts('a', 0.0, 1.0, done=True),)); qemu_ended(0)")
    assert observation.ending is Ending.VM_GONE
    assert observation.result is not None and not observation.result.complete
    assert observation.result.step("a") is not None


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("begin(); qemu_ended(137)", "QEMU was killed by signal 9"),
        ("say('qemu-system-x86_64: -m 9E: invalid'); qemu_ended(1)", "exit code 1: qemu-system-x86_64: -m 9E: invalid"),
        ("begin(); say('qemu-system-x86_64: terminating on signal 15 from pid 7'); time.sleep(600)", "on signal 15"),
        ("say('KVM internal error. Suberror: 1'); time.sleep(600)", "KVM internal error. Suberror: 1"),
        (
            "play('kvm-refused-7.2.log'); qemu_ended(134)",
            "killed by signal 6: qemu-system-x86_64: error: failed to set",
        ),
        ("say('error: cannot access /x on the host'); sys.exit(1)", "without starting QEMU: error: cannot access /x"),
        (
            "begin(); open(shared + '/result.json', 'w').write('{\"steps\": 7}'); mark('end'); time.sleep(600)",
            "malformed",
        ),
        ("begin(); open(shared + '/result.json', 'w').write('{' * 5000000); mark('end')", "larger than 4 MiB"),
        ("begin(); result(token='other', complete=True); mark('end')", "of another trial"),
        ("begin(); os.unlink(shared + '/result.json'); mark('end'); time.sleep(600)", "without a result"),
        ("begin(); result(); mark('end'); time.sleep(600)", "without saying why"),
        ("os.symlink('/etc/passwd', shared + '/result.json'); mark('begin'); mark('end')", "cannot be read"),
        ("begin(); finish(kernel=KernelFacts(build_id='0badc0de'))", "build id is 0badc0de, the image's 2b6c42b4"),
    ],
)
def test_the_harness_failing_says_nothing_about_the_kernel(setup, play: Play, scenario: str, words: str) -> None:
    observation = play(scenario)
    assert observation.ending is Ending.HARNESS
    assert words in observation.detail
    assert observation.result is None
    assert observation.timing.total < 5
    assert setup.clean()


def test_the_right_build_id_is_no_fault(play: Play) -> None:
    assert play("finish(kernel=KernelFacts(build_id='2b6c42b459e1e798'))").ending is Ending.FINISHED


def test_vng_missing_is_named(setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")  # the tests' own has a vng beside it
    setup.environ["PATH"] = "/usr/bin:/bin"
    observation = setup.run()
    assert observation.ending is Ending.HARNESS
    assert "vng cannot be started" in observation.detail and "install virtme-ng" in observation.detail
    assert setup.clean()


def test_qemu_missing_is_named(setup, play: Play) -> None:
    setup.environ["PATH"] = str(setup.bin)
    observation = play("finish()")
    assert observation.ending is Ending.HARNESS
    assert "qemu-system-x86_64 was not found" in observation.detail


def test_an_image_that_is_gone_is_named(setup, play: Play) -> None:
    Path(setup.image.kernel).unlink()
    observation = play("finish()")
    assert observation.ending is Ending.HARNESS
    assert setup.image.kernel in observation.detail


def test_a_crash_gets_time_for_its_trace(play: Play) -> None:
    scenario = """
        begin()
        say('[   11.0] BUG: kernel NULL pointer dereference, address: 0000000000000008')
        time.sleep(0.5)
        say('[   11.1] RIP: 0010:raid1_read_request+0x12/0x300 [raid1]')
        say('[   11.1]  ? __die+0x1f/0x60')
        say('[   11.1]  md_handle_request+0x10/0x100')
        time.sleep(600)
    """
    observation = play(scenario)
    assert observation.ending is Ending.CRASH
    assert 2 < observation.timing.total < 5
    (event,) = observation.console
    assert (event.where, event.kind, event.name) == ("vm", "crash", "oops")
    assert event.fingerprint == "oops: raid1_read_request < md_handle_request"
    assert observation.result is not None


HUNG = """
    begin()
    result(steps=(StepFacts('probe', 0.0, 0.0),))
    say('[  122.0] INFO: task mdadm:77 blocked for more than 120 seconds.')
    say('[  122.1]  md_handle_request+0x10/0x100')
"""


def test_a_task_that_the_kernel_calls_blocked_does_not_end_the_trial_before_its_deadline(play: Play) -> None:
    rest = "time.sleep(3); result(events=(AgentEvent(3.0, 'agent', 'deadline', 'probe'),)); mark('end'); time.sleep(9)"
    observation = play(HUNG + f"    {rest}\n", Plan(steps=STEPS, deadline=3.0))
    assert observation.ending is Ending.DEADLINE
    assert [(event.kind, event.name, event.fingerprint) for event in observation.console] == [
        ("crash", "hung", "hung: md_handle_request")
    ]


def test_a_crash_behind_a_blocked_task_ends_the_trial(play: Play) -> None:
    panic = "say('[  130.0] Kernel panic - not syncing: hung_task: blocked tasks'); time.sleep(600)"
    observation = play(HUNG + f"    {panic}\n", Plan(steps=STEPS, deadline=60.0))
    assert observation.ending is Ending.CRASH
    assert [event.name for event in observation.console] == ["hung", "panic"]


def test_a_crash_that_resets_the_vm_is_a_crash(play: Play) -> None:
    observation = play("play('sysrq-crash-6.18.5.log'); result(); qemu_ended(0)")
    assert observation.ending is Ending.CRASH
    assert "sysrq triggered crash" in observation.detail
    assert observation.console[0].fingerprint == "panic: sysrq_handle_crash < __handle_sysrq < write_sysrq_trigger"


def test_a_crash_outweighs_a_result_that_came_with_it(play: Play) -> None:
    observation = play("begin(); say('[  1.0] kernel BUG at mm/slub.c:1!'); finish(); time.sleep(600)")
    assert observation.ending is Ending.CRASH


WATCHES = (
    Watch("slow/0", "vm", r"rescheduling sector \d+$", False),
    Watch("failed/0", "vm", "Disk failure on dm-1", True),
    Watch("guest/0", "guest", "XFS", True),
)


def test_the_first_decisive_line_ends_the_trial(play: Play) -> None:
    observation = play("play('raid1-leg-failed-6.18.5.log'); time.sleep(600)", Plan(steps=(), watches=WATCHES))
    assert observation.ending is Ending.DECISIVE
    assert observation.timing.total < 5
    names = [event.name for event in observation.console]
    assert names.count("slow/0") == 10 and names[-1] == "failed/0"
    times = [event.at for event in observation.console]
    assert times == sorted(times) and len(set(times)) == len(times)
    assert "Disk failure on dm-1" in observation.console[-1].text


def test_a_decisive_line_of_the_inner_guest(play: Play) -> None:
    line = "mark('guest', 'guest/0', '[   9.1] XFS (vda): Corruption detected')"
    observation = play(f"begin(); {line}; time.sleep(600)", Plan(steps=(), watches=WATCHES))
    assert observation.ending is Ending.DECISIVE
    (event,) = observation.console
    assert (event.where, event.name, event.text) == ("guest", "guest/0", "[   9.1] XFS (vda): Corruption detected")


def test_a_wish_to_stop_is_heard_within_half_a_second(setup) -> None:
    setup.play("begin(); time.sleep(600)")
    timer = threading.Timer(1.0, setup.cancel.cancel)
    timer.start()
    begin = time.monotonic()
    observation = setup.run()
    assert observation.ending is Ending.CANCELLED
    assert time.monotonic() - begin < 2.5
    assert setup.clean()


def test_a_bad_watch_is_the_harness_failing(play: Play) -> None:
    assert "no regular expression" in play("finish()", Plan(steps=(), watches=(Watch("a", "vm", "(", True),))).detail


def test_the_recipes_files_come_along(setup, play: Play, tmp_path: Path) -> None:
    script = tmp_path / "repro.sh"
    script.write_text("#!/bin/sh\n")
    right = hashlib.sha256(script.read_bytes()).hexdigest()
    check = "assert os.access(shared + '/files/sub/repro.sh', os.X_OK); finish()"
    assert play(check, Plan(steps=(), files=(File("sub/repro.sh", str(script), right),))).ending is Ending.FINISHED
    changed = play(check, Plan(steps=(), files=(File("repro.sh", str(script), "0" * 64),)))
    assert changed.ending is Ending.HARNESS and "changed since" in changed.detail
    outside = play(check, Plan(steps=(), files=(File("../../repro.sh", str(script), right),)))
    assert outside.ending is Ending.HARNESS and "outside" in outside.detail


def test_the_inner_guest_gets_its_kernel(play: Play) -> None:
    from bisector.agent.plan import Guest

    check = "assert open(shared + '/guest-kernel').read() == 'not booted by anything here'; finish()"
    assert play(check, Plan(steps=(), guest=Guest(os="linux"))).ending is Ending.FINISHED


def test_vng_sees_nothing_of_the_user(play: Play) -> None:
    check = """
        heard = set(os.environ) - {'BISECTOR_PROCESS', 'LC_CTYPE', 'PWD'}
        assert heard == {'PATH', 'HOME', 'TMPDIR', 'LANG'}, os.environ
        assert os.environ['HOME'].startswith(root) and os.environ['TMPDIR'].startswith(root)
        assert sys.stdin.read() == ''
        finish()
    """
    assert play(check).ending is Ending.FINISHED


def test_work_folders_of_the_killed_are_swept(setup, play: Play) -> None:
    dead = setup.work / f"{PREFIX}{os.getuid()}-4194305-1-abcdefgh"
    foreign = setup.work / f"{PREFIX}something-else"
    living = setup.work / f"{PREFIX}{os.getuid()}-1-{_start_of_init()}-abcdefgh"
    for folder in (dead, foreign, living):
        (folder / "deep").mkdir(parents=True)
    play("finish()")
    assert not dead.exists()
    assert foreign.exists() and living.exists()


def _start_of_init() -> str:
    return Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]


FULL_DISK = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from trialing import TrialSetup
from bisector.model import Image
(Path({tmp!r}) / "bzImage").write_text("k")
setup = TrialSetup(Path({tmp!r}), Image("i", {tmp!r} + "/bzImage"))
setup.folder = Path({folder!r})
setup.environ["TMPDIR"] = {work!r}
setup.play({scenario!r})
observation = setup.run()
print(observation.ending, observation.detail)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk in a private mount namespace takes root")
@pytest.mark.parametrize(
    ("small", "scenario", "words"),
    [
        ("work", "begin(); open(root + '/filler', 'wb').write(bytes(24 << 20)); time.sleep(600)", "is full"),
        ("work", "begin(); open(root + '/filler', 'wb').write(bytes(24 << 20)); finish()", "is full"),
        ("stored", "begin(); [say('x' * 1000000) for _ in range(60)]; finish()", "No space left on device"),
    ],
)
def test_a_full_disk_is_the_harness_failing(tmp_path: Path, small: str, scenario: str, words: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    places = {"work": tmp_path, "stored": tmp_path, small: disk}
    script = FULL_DISK.format(
        root=str(Path(__file__).parents[2]),
        tests=str(Path(__file__).parent),
        tmp=str(tmp_path),
        folder=str(places["stored"] / "stored"),
        work=str(places["work"]),
        scenario=scenario,
    )
    size = {"work": "48m", "stored": "3m"}[small]
    mount = f'mount -t tmpfs -o size={size} small "$1" && exec "$2" -c "$3"'
    process = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(disk), sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stdout.startswith("harness"), process.stderr
    assert words in process.stdout


# ---- what the host gave it


def test_what_a_trial_waited_for_a_processor_stands_in_its_observation(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at while the VM still runs: of what is dead nothing is known."""
    alive: list[bool] = []

    def waited(pid: int) -> float:
        alive.append(Path(f"/proc/{pid}").exists())
        return 1.25

    monkeypatch.setattr("bisector.trial.follow.waited", waited)
    observation = play("begin(); time.sleep(600)", Plan(steps=STEPS, deadline=0.5))
    assert observation.ending is Ending.DEADLINE
    assert observation.starved == 1.25
    assert alive == [True]
