# SPDX-License-Identifier: GPL-2.0-only
"""What the console had shown stands, however the trial broke afterwards; beside a quiet console it is the harness's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from trialing import TrialSetup

from bisector.agent.plan import Plan, Step, Watch
from bisector.interfaces import CancelToken
from bisector.model import Condition, ConsoleEvent, Ending, EventKind, Fact, FactKind, Observation, Question, Signal
from bisector.system.starving import waited
from bisector.trial.follow import End, Watcher
from bisector.trial.workspace import ResultBroken
from bisector.verdict.signature import reached_agent, read

Play = Callable[..., Observation]
PLAN = Plan(
    steps=(Step("probe", "run", argv=("true",)),),
    watches=(
        Watch("failed/0", "vm", "Disk failure on dm-1", True),
        Watch("both/0", "vm", "rescheduling sector", False),
        Watch("both/1", "vm", "redirecting sector", False),
    ),
)
QUESTION = Question(
    bad=(
        Condition("failed", (Fact(FactKind.CONSOLE, "vm", ("Disk failure on dm-1",)),)),
        Condition(
            "both",
            (
                Fact(FactKind.CONSOLE, "vm", ("rescheduling sector",)),
                Fact(FactKind.CONSOLE, "vm", ("redirecting sector",)),
            ),
        ),
    ),
    good=(Condition("fine", (Fact(FactKind.EXIT, "probe", ("0",)),)),),
)
LINE = "say('[    8.0] md/raid1:mdX: Disk failure on dm-1, disabling device')"
BOTH = "say('[  8.0] md/raid1:mdX: rescheduling sector 0'); say('[  8.1] md/raid1:mdX: redirecting sector 0')"
CRASH = "say('[    8.0] BUG: kernel NULL pointer dereference, address: 0000000000000008')"
GARBLED = "open(shared + '/result.json', 'w').write('garbled'); mark('end')"
TRAP = "open(shared + '/result.json', 'w').write('[' * 3000)"
OTHER = "result(token='0' * 12, complete=True); mark('end')"
FINE = "steps=(StepFacts('probe', 0.0, 1.0, done=True, exit=0),)"
BREAKS = {
    "a garbled result": GARBLED,
    "a result that ends the parser": TRAP,
    "a result of another trial": OTHER,
    "a pipe in place of the result": "os.unlink(shared + '/result.json'); os.mkfifo(shared + '/result.json')",
    "no result": "os.unlink(shared + '/result.json'); mark('end')",
    "an agent that says nothing": "mark('end')",
    "QEMU aborted": "qemu_ended(134)",
    "QEMU killed": "qemu_ended(137)",
    "QEMU ended with an error": "qemu_ended(1)",
    "QEMU complains": "say('KVM internal error. Suberror: 1'); time.sleep(600)",
    "QEMU ended by a signal": "say('qemu-system-x86_64: terminating on signal 15 from pid 7'); time.sleep(600)",
    "a tool that is missing": "result(fault=Fault('tools', 'lvm is not installed')); mark('end'); time.sleep(600)",
}


@pytest.mark.parametrize("broke", BREAKS)
@pytest.mark.parametrize(
    ("shown", "signal", "condition"),
    [
        (LINE, Signal.REPRODUCED, "failed"),
        (BOTH, Signal.REPRODUCED, "both"),
        (CRASH, Signal.OTHER_FAILURE, ""),
        ("pass", Signal.INFRA, ""),
    ],
)
def test_what_the_console_had_shown_stands(
    setup, play: Play, shown: str, signal: Signal, condition: str, broke: str
) -> None:
    observation = play(f"begin(); {shown}; {BREAKS[broke]}; time.sleep(3)", PLAN)
    reading = read(observation, QUESTION)
    assert (reading.signal, reading.condition) == (signal, condition)
    assert reached_agent(observation) or signal is Signal.INFRA  # no control boot beside it
    assert setup.clean()


def test_a_crash_before_the_agent_is_still_held_against_a_boot_that_works(play: Play) -> None:
    observation = play(f"{CRASH}; say('KVM internal error. Suberror: 1'); time.sleep(600)", PLAN)
    assert (observation.ending, reached_agent(observation)) == (Ending.NO_AGENT, False)


def test_what_another_kernel_showed_is_no_evidence(play: Play) -> None:
    other = f"kernel=KernelFacts(build_id='0badc0de'), {FINE}"
    for shown in (BOTH, CRASH):
        observation = play(f"begin(); {shown}; finish({other}); time.sleep(600)", PLAN)
        assert read(observation, QUESTION).signal is Signal.INFRA


def test_what_the_console_showed_last_is_read_too(
    setup: TrialSetup, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result lies in the share before the console's buffers have been read."""
    shared: list[Path] = []

    def ending(pid: int) -> float:
        """The trial is taken for finished, and its tree lives: the console shows more now, and nobody reads it."""
        (place,) = setup.work.glob("**/result.json")
        shared.append(place.parent)
        (place.parent / "now").touch()
        end = time.monotonic() + 30
        while not (place.parent / "shown").exists():
            assert time.monotonic() < end, "the player did not show its line"
            time.sleep(0.01)
        return waited(pid)

    monkeypatch.setattr("bisector.trial.follow.waited", ending)
    late = f"""
    begin(); finish({FINE})
    while not os.path.exists(shared + '/now'):
        time.sleep(0.01)
    [say('x' * 1000) for _ in range(2)]; {LINE}
    open(shared + '/shown', 'w'); time.sleep(600)
    """
    observation = play(late, PLAN)
    assert shared and observation.ending is Ending.DECISIVE
    assert read(observation, QUESTION).condition == "failed"


def test_a_decisive_line_is_no_good_trial_for_a_broken_result() -> None:
    """The first bad line of a Watcher that is called directly, as the proof of the defect does it."""
    watcher = Watcher(PLAN, {}, 1.0, lambda _: None, CancelToken())
    watcher._events = [ConsoleEvent(8.0, "vm", EventKind.WATCH, "failed/0", "md/raid1:mdX: Disk failure on dm-1")]

    def broken(_: str) -> None:
        raise ResultBroken("the agent's result is malformed: not JSON")

    workspace = SimpleNamespace(full=lambda: False, result=broken)
    observation = watcher._conclude(End(Ending.DECISIVE), workspace)  # type: ignore[arg-type]
    assert read(observation, QUESTION).signal is Signal.REPRODUCED
    assert "malformed" in observation.detail


SMALL_DISK = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_evidence import PLAN, QUESTION
from trialing import TrialSetup
from bisector.model import EventKind, Image
from bisector.verdict.signature import read
kernel = Path({tmp!r}, "bzImage")
kernel.write_bytes(b"")
setup = TrialSetup(Path({tmp!r}), Image("identity", str(kernel)))
setup.folder = Path({folder!r})
setup.environ["TMPDIR"] = {work!r}
setup.play({scenario!r})
seen = setup.run(PLAN)
print(seen.ending, read(seen, QUESTION).signal, seen.detail)
"""
FILL = "open(root + '/filler', 'wb').write(bytes(24 << 20))"
LOUD = "[say('x' * 1000000) for _ in range(8)]"


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk in a private mount namespace takes root")
@pytest.mark.parametrize(
    ("small", "scenario", "signal"),
    [
        # what came while there was room is not the disk's doing
        ("work", f"begin(); {CRASH}; time.sleep(0.5); {FILL}; time.sleep(600)", "other_failure"),
        ("work", f"begin(); {BOTH}; time.sleep(0.5); {FILL}; time.sleep(600)", "reproduced"),
        # what came when there was none may be
        ("work", f"begin(); {FILL}; {LINE}; time.sleep(600)", "infra"),
        ("work", f"begin(); {FILL}; {CRASH}; time.sleep(600)", "infra"),
        ("work", f"begin(); {FILL}; time.sleep(600)", "infra"),
        # the console's log has no room
        ("stored", f"begin(); {BOTH}; {LOUD}; time.sleep(600)", "reproduced"),
        ("stored", f"begin(); {CRASH}; {LOUD}; time.sleep(600)", "other_failure"),
        ("stored", f"begin(); {LOUD}; finish({FINE})", "infra"),
    ],
)
def test_a_disk_that_is_full(tmp_path: Path, small: str, scenario: str, signal: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    places = {"work": tmp_path, "stored": tmp_path, small: disk}
    script = SMALL_DISK.format(
        root=str(Path(__file__).parents[2]),
        tests=str(Path(__file__).parent),
        tmp=str(tmp_path),
        folder=str(places["stored"] / "stored"),
        work=str(places["work"]),
        scenario=scenario,
    )
    size = {"work": "48m", "stored": "1m"}[small]
    mount = f'mount -t tmpfs -o size={size} small "$1" && exec "$2" -c "$3"'
    began = time.monotonic()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(disk), sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split()[1:2] == [signal], done.stdout + done.stderr
    assert time.monotonic() - began < 20


def test_a_step_that_the_console_showed_and_no_result_tells_of_is_a_hang(play: Play) -> None:
    """A machine that froze: the agent never wrote that its step had not ended."""
    from dataclasses import replace

    frozen = replace(PLAN, deadline=1.0)
    hang = Question((Condition("hangs", (Fact(FactKind.HANG, "probe", ("true",)),)),), ())
    observation = play("begin(); mark('storage'); mark('step', 'probe', 'begin'); time.sleep(600)", frozen)
    assert observation.ending is Ending.DEADLINE
    assert read(observation, hang).signal is Signal.REPRODUCED
    observation = play("begin(); mark('storage'); time.sleep(600)", frozen)
    assert read(observation, hang).signal is Signal.OTHER_FAILURE


def test_steps_that_were_open_at_once_are_told_in_the_plans_order(play: Play) -> None:
    """A machine that froze while two steps ran beside each other, and the second had ended."""
    from dataclasses import replace

    steps = tuple(Step(name, "run", argv=("true",), group="busy") for name in ("one", "two", "three"))
    frozen = replace(PLAN, steps=steps, deadline=1.0)
    marks = "".join(f"mark('step', '{name}', 'begin'); " for name in ("three", "two", "one"))
    shown = "result(steps=(StepFacts('two', 0.0, 0.5, done=True, exit=0, group='busy'),)); mark('step', 'two', 'end'); "
    observation = play(f"begin(); mark('storage'); {marks}{shown}time.sleep(600)", frozen)
    assert observation.result is not None
    assert [(step.name, step.done) for step in observation.result.steps] == [
        ("one", False),
        ("two", True),
        ("three", False),
    ]
