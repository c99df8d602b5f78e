# SPDX-License-Identifier: GPL-2.0-only
"""Steps that run beside each other, in the agent as it is started: who waits, who hangs, what is written."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from test_agent_session import SANDBOX, run

from bisector.agent.beside import groups, perform_beside
from bisector.agent.command import Halt
from bisector.agent.machine import Ports
from bisector.agent.monitor import command
from bisector.agent.observe import Recorder
from bisector.agent.outcome import Outcome
from bisector.agent.plan import LEFT_OUT, Io, Layer, Plan, Step
from bisector.agent.qemu import Listeners, Qemu
from bisector.agent.stamps import Stamps
from bisector.agent.steps import GuestControl, Workload, perform
from bisector.agent.storage import Storage
from bisector.layers import arch

FILE = (Layer("img", "file", "raw", size=65536),)
READ = Io("read", 4096, 4)


def shell(name: str, text: str, **more: object) -> Step:
    return Step(name, "run", argv=("sh", "-c", text), group="busy", **more)  # type: ignore[arg-type]


def test_steps_in_a_row_of_one_group_begin_together() -> None:
    steps = [Step(name, "run", group=group) for name, group in zip("abcdef", ["", "x", "x", "y", "y", ""], strict=True)]
    assert [[step.name for step in several] for several in groups(steps)] == [["a"], ["b", "c"], ["d", "e"], ["f"]]


def test_each_needs_the_other_and_both_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    plan = replace(
        SANDBOX,
        steps=(
            Step("make", "run", argv=("mkfifo", str(fifo))),
            shell("reader", f"cat {fifo}"),  # opens when the other one opens
            shell("writer", f"echo hello >{fifo}"),
            Step("after", "run", argv=("true",)),
        ),
    )
    result, console = run(plan, tmp_path)
    assert [(step.name, step.exit, step.group) for step in result.steps] == [
        ("make", 0, ""),
        ("reader", 0, "busy"),
        ("writer", 0, "busy"),
        ("after", 0, ""),
    ]
    assert result.complete and result.steps[1].detail == "hello\n"
    words = [line.split(" ", 2)[2] for line in console]
    assert words.index("step after begin") > max(words.index(f"step {name} end") for name in ("reader", "writer"))


def test_facts_stand_in_the_plans_order_whichever_ends_first(tmp_path: Path) -> None:
    done = tmp_path / "done"
    waits = shell("waits", f"while ! [ -e {done} ]; do sleep 0.05; done")
    plan = replace(SANDBOX, steps=(waits, shell("first", f"touch {done}")))
    result, _ = run(plan, tmp_path)
    assert [step.name for step in result.steps] == ["waits", "first"]
    assert result.steps[1].ended <= result.steps[0].ended


def test_a_step_repeats_while_the_other_one_goes_on(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    ends = shell("ends", f"while [ $(wc -l <{seen}) -lt 5 ]; do sleep 0.02; done")
    plan = replace(
        SANDBOX,
        layers=FILE,
        steps=(
            Step("begin", "run", argv=("touch", str(seen))),
            ends,
            shell("again", f"echo x >>{seen}", during="ends"),
            Step("read", "io", ("img",), io=READ, group="busy", during="ends"),
        ),
    )
    result, _ = run(plan, tmp_path)
    again, read = result.step("again"), result.step("read")
    assert again is not None and again.exit == 0 and again.count == len(seen.read_text().splitlines()) >= 5
    assert read is not None and read.exit == 0 and read.count >= 8
    assert result.complete


def test_a_step_begins_later_than_the_others_of_its_group(tmp_path: Path) -> None:
    steps = (shell("load", "sleep 0.9"), shell("late", "true", after=0.6), Step("next", "run", argv=("true",)))
    result, _ = run(replace(SANDBOX, steps=steps), tmp_path)
    load, late, following = result.steps
    assert 0.5 < late.started - load.started < load.ended - load.started
    assert following.started >= load.ended and result.complete


def test_a_step_whose_time_comes_behind_the_deadline_never_began(tmp_path: Path) -> None:
    steps = (shell("load", "sleep 9"), shell("late", "true", after=60.0))
    result, _ = run(replace(SANDBOX, steps=steps, deadline=1.0), tmp_path)
    assert [(step.name, step.done) for step in result.steps] == [("load", False)]


def test_a_step_that_fails_ends_its_repetition(tmp_path: Path) -> None:
    steps = (shell("ends", "sleep 1"), shell("again", "exit 3", during="ends"))
    result, _ = run(replace(SANDBOX, steps=steps), tmp_path)
    again = result.step("again")
    assert again is not None and (again.done, again.exit, again.count) == (True, 3, 0)
    assert again.ended - again.started < 0.9


def test_one_that_hangs_hides_nothing_and_alone_did_not_end(tmp_path: Path) -> None:
    steps = (
        shell("hangs", "sleep 600"),
        shell("finds", "echo found; exit 4"),
        Step("asks", "io", ("img",), io=READ, group="busy", during="hangs"),
        Step("after", "run", argv=("true",)),
    )
    result, _ = run(replace(SANDBOX, layers=FILE, steps=steps, deadline=2.0), tmp_path)
    assert [(step.name, step.done, step.exit) for step in result.steps] == [
        ("hangs", False, None),
        ("finds", True, 4),
        ("asks", True, 0),  # it waited for the one that hangs, and does not hang itself
    ]
    assert result.steps[1].detail == "found\n"
    assert [event.name for event in result.events] == ["deadline"] and not result.complete


def test_one_that_the_kernel_holds_is_named_by_the_watchdog(tmp_path: Path) -> None:
    """As ``io`` on storage that does not answer: nothing ends it, and the plan's thread waits for it."""
    fifo = tmp_path / "fifo"
    steps = (
        Step("make", "run", argv=("mkfifo", str(fifo))),
        Step("swap", "run", argv=("mv", str(fifo), "{img}")),
        Step("held", "io", ("img",), io=READ, group="busy"),
        shell("finds", "exit 4"),
        shell("waits", "sleep 0.1", during="held"),
    )
    result, _ = run(replace(SANDBOX, layers=FILE, steps=steps, deadline=2.0), tmp_path)
    assert [(step.name, step.done) for step in result.steps][2:] == [
        ("held", False),
        ("finds", True),
        ("waits", True),  # it only waited for the one that hangs
    ]
    assert result.step("held").detail == "did not end in time"  # type: ignore[union-attr]


def test_a_fault_of_one_is_told_with_what_the_other_found(tmp_path: Path) -> None:
    steps = (shell("lasts", "sleep 0.5; exit 4"), Step("broken", "run", argv=("./nothing",), group="busy"))
    result, _ = run(replace(SANDBOX, steps=steps), tmp_path)
    assert result.fault is not None and (result.fault.stage, "broken: ./nothing" in result.fault.message) == (
        "tools",
        True,
    )
    assert [(step.name, step.exit) for step in result.steps] == [("lasts", 4)]


def test_a_fault_beside_a_hang_is_told_too(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    steps = (
        Step("make", "run", argv=("mkfifo", str(fifo))),
        Step("swap", "run", argv=("mv", str(fifo), "{img}")),
        Step("held", "io", ("img",), io=READ, group="busy"),
        Step("broken", "run", argv=("./nothing",), group="busy"),
    )
    result, _ = run(replace(SANDBOX, layers=FILE, steps=steps, deadline=2.0), tmp_path)
    assert result.fault is not None and result.fault.stage == "tools"
    assert [(step.name, step.done) for step in result.steps][2:] == [("held", False)]


def test_the_first_fault_in_the_plans_order_is_the_one_that_is_told() -> None:
    later = threading.Event()

    def do(step: Step, ended: object) -> None:
        if step.name == "a":
            later.wait(10.0)
        else:
            later.set()
        raise Halt("step", step.name)

    with pytest.raises(Halt) as caught:
        perform_beside([Step("a", "run"), Step("b", "run")], do)
    assert caught.value.fault.message == "a"


@pytest.mark.skipif(not shutil.which(arch.VM.qemu), reason=f"{arch.VM.qemu} is not installed")
def test_commands_of_several_threads_get_each_its_own_answer() -> None:
    def argv(ports: Ports) -> list[str]:
        words = [arch.VM.qemu, "-machine", "none", "-nodefaults", "-display", "none", "-accel", "tcg"]
        return [*words, "-chardev", f"socket,id=qmp,fd={ports.qmp}", "-mon", "chardev=qmp,mode=control"]

    qemu = Qemu(argv, Listeners(lambda line: None, lambda line: None, lambda name, data: None), serial=False)
    wrong: list[str] = []

    def ask(name: str, key: str) -> None:
        for _ in range(200):
            seen = command(qemu, json.dumps({"execute": name}), "", 60.0)
            if seen.exit != 0 or key not in json.loads(seen.detail):
                wrong.append(f"{name}: {seen}")

    threads = [
        threading.Thread(target=ask, args=pair)
        for pair in (("query-status", "running"), ("query-version", "qemu"), ("query-kvm", "present"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    qemu.quit()
    assert not wrong
    assert not qemu.replies  # none is kept


def test_a_plan_of_before_has_the_identity_that_it_had() -> None:
    plan = Plan(steps=(Step("a", "run", argv=("true",)),))
    assert '"group"' not in json.dumps(plan.identity()) and replace(plan, steps=(shell("a", "true"),)) != plan


class ScriptedGuest(GuestControl):
    """Answers each ``io`` with the next outcome; QEMU, its guest and their time are the test's own."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)

    def io(self, drive: str, io: Io, repeat: float, seconds: float) -> Outcome:
        """The next one."""
        return self.outcomes.pop(0)

    start = reset = stop = resume = stamp = verify = below = None  # type: ignore[assignment]
    is_mounted = run = monitor = plug = suspend = close = None  # type: ignore[assignment]


WELL, FAILED = Outcome(exit=0, count=4, detail="fine"), Outcome(exit=1, count=1, failed=1, errno="EIO", detail="no")
CUT = Outcome(done=False, exit=None, detail="no answer from the guest")


@pytest.mark.parametrize(
    ("outcomes", "rounds", "seen"),
    [
        ([WELL, WELL], 2, Outcome(exit=0, count=8, detail="fine")),
        ([WELL, FAILED, WELL], 3, Outcome(exit=1, count=9, failed=1, errno="EIO", detail="no")),
        ([WELL, CUT], 9, WELL),  # the deadline came while it waited for the other one
        ([CUT], 9, CUT),  # this one hangs itself
        ([WELL, Outcome(done=False, exit=-6)], 9, Outcome(done=False, exit=-6, count=4)),
    ],
)
def test_repetitions_in_the_guest_are_one_outcome(
    tmp_path: Path, outcomes: list[Outcome], rounds: int, seen: Outcome
) -> None:
    left = iter(range(rounds))
    step = Step("load", "io", ("vda",), where="guest", io=READ, group="busy", during="other")
    work = replace(workload(tmp_path, ScriptedGuest(*outcomes)), ended=lambda name: next(left) >= rounds - 1)
    facts = perform(work, step)
    assert (facts.done, facts.exit, facts.count, facts.failed, facts.errno, facts.detail) == (
        *(seen.done, seen.exit, seen.count, seen.failed, seen.errno, seen.detail),
    )


def workload(folder: Path, guest: GuestControl) -> Workload:
    plan = Plan(steps=(), vm=False)
    recorder = Recorder(str(folder), "t0k", vm=False)
    return Workload(plan, Storage(str(folder), 9.0), recorder, "", guest, Stamps(plan, str(folder)))


def test_a_program_in_the_guest_repeats_for_its_time(tmp_path: Path) -> None:
    guest = ScriptedGuest()
    guest.run = lambda argv, seconds, keep: Outcome(exit=0, detail="said")  # type: ignore[method-assign]
    step = Step("again", "run", where="guest", argv=("true",), seconds=0.2)
    facts = perform(workload(tmp_path, guest), step)
    assert facts.exit == 0 and facts.count > 1 and facts.ended - facts.started >= 0.19


def test_what_each_repetition_printed_is_kept_where_a_condition_looks_into_it(tmp_path: Path) -> None:
    """A mismatch that the third of a hundred runs printed is a mismatch of the step."""
    guest, words = ScriptedGuest(), iter(["fine\n", "not ok 1 - data", "fine\n"])
    guest.run = lambda argv, seconds, keep: Outcome(exit=0, detail=next(words, "fine\n"))  # type: ignore[method-assign]
    step = Step("again", "run", where="guest", argv=("true",), seconds=0.2)
    assert perform(workload(tmp_path, guest), step).detail == "fine\n"  # for people the last one is enough
    words = iter(["fine\n", "not ok 1 - data", "fine\n"])
    left = iter([True, True, False])
    work = replace(workload(tmp_path, guest), ended=lambda name: not next(left))
    looked_into = replace(step, keep=4096, seconds=0.0, group="busy", during="other")
    assert perform(work, looked_into).detail == "fine\nnot ok 1 - data\nfine\n"


def test_of_many_repetitions_the_end_is_kept_and_said_to_be_it(tmp_path: Path) -> None:
    guest, numbers = ScriptedGuest(), itertools.count()
    guest.run = lambda argv, seconds, keep: Outcome(exit=0, detail=f"n={next(numbers)}\n")  # type: ignore[method-assign]
    left = iter([True] * 99 + [False])
    work = replace(workload(tmp_path, guest), ended=lambda name: not next(left))
    step = Step("again", "run", where="guest", argv=("true",), group="busy", during="other", keep=64)
    detail = perform(work, step).detail
    assert detail.startswith(LEFT_OUT) and detail.endswith("\nn=98\nn=99\n") and len(detail) == len(LEFT_OUT) + 64
