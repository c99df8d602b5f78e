# SPDX-License-Identifier: GPL-2.0-only
"""A condition about a step says something only where the workload got as far as that step (law 2)."""

from __future__ import annotations

import dataclasses

import pytest

from bisector.agent.plan import AgentEvent, LayerFacts, Result, StepFacts
from bisector.model import Condition, ConsoleEvent, Ending, EventKind, Fact, FactKind, Observation, Question, Signal
from bisector.recipe.load import listed, load
from bisector.recipe.plan import question_for
from bisector.verdict.signature import read


def step(name: str, exit_code: int | None = 0, **more: object) -> StepFacts:
    return StepFacts(name, 1.0, 2.0, **{"done": True, "exit": exit_code, **more})  # type: ignore[arg-type]


def seen(*steps: StepFacts, ending: Ending = Ending.FINISHED, health: str = "healthy", **more: object) -> Observation:
    layers = (LayerFacts("lv", "/dev/lv", health=health),)
    result = Result(complete=ending is Ending.FINISHED, steps=steps, layers=layers, guest_accel="tcg", **more)  # type: ignore[arg-type]
    return Observation(ending, result)


def condition(name: str, *facts: Fact) -> Condition:
    return Condition(name, facts)


def exits(where: str, *codes: int, negate: bool = False) -> Fact:
    return Fact(FactKind.EXIT, where, tuple(map(str, codes)), negate)


LOST = condition("lost", Fact(FactKind.OUTPUT, "map", ('"data": false',)))
THERE = condition("there", exits("fill", 0), exits("map", 0))
MAPPED = step("map", detail='[{"data": false}]')


def test_a_mistyped_option_of_step_one_is_another_failure() -> None:
    fill = step("fill", 1, detail="qemu-io: unrecognized option '--nosuchoption'\nTry 'qemu-io --help'")
    reading = read(seen(fill, MAPPED), Question((LOST,), (THERE,)))
    assert reading.signal is Signal.OTHER_FAILURE
    assert reading.reason.startswith("step fill failed: exit 1: qemu-io: unrecognized option '--nosuchoption'")


def test_a_step_that_did_its_work_lets_the_next_one_count() -> None:
    assert read(seen(step("fill"), MAPPED), Question((LOST,), (THERE,))).condition == "lost"


ERRORS = condition("errors", exits("check", 2))


@pytest.mark.parametrize(
    ("first", "bad", "good", "signal"),
    [
        # the recipe expects that failure, in a bad condition or in a good one
        (step("race", 1), [condition("errors", exits("race", 0, 1), exits("check", 2))], [], Signal.REPRODUCED),
        (step("race", 1), [ERRORS], [condition("refused", exits("race", 1))], Signal.REPRODUCED),
        (step("race", 1), [ERRORS], [condition("refused", exits("race", 0, negate=True))], Signal.REPRODUCED),
        (step("race", 1, errno="EIO"), [ERRORS], [condition("s", Fact(FactKind.ERRNO, "race", ("EIO",)))],
         Signal.REPRODUCED),
        (step("race", 1, detail="refused"), [ERRORS], [condition("s", Fact(FactKind.OUTPUT, "race", ("refused",)))],
         Signal.REPRODUCED),
        # it says something else of it
        (step("race", 1), [ERRORS], [condition("fine", exits("race", 0), exits("check", 0))], Signal.OTHER_FAILURE),
        (step("race", 2), [condition("other", exits("race", 1)), ERRORS], [], Signal.OTHER_FAILURE),
        (step("race", 1, errno="ENOENT"), [ERRORS], [condition("s", Fact(FactKind.ERRNO, "race", ("EIO",), True))],
         Signal.OTHER_FAILURE),
        (step("race", 1), [ERRORS], [condition("quiet", Fact(FactKind.OUTPUT, "race", ("ERROR",), True))],
         Signal.OTHER_FAILURE),
        # or nothing
        (step("race", 127), [ERRORS], [], Signal.OTHER_FAILURE),
        (step("race", -6), [ERRORS], [], Signal.OTHER_FAILURE),
        (step("race", None, done=False), [ERRORS], [], Signal.OTHER_FAILURE),
        # no failure: left out by its probability, cut short by a pause, a verify that found what it looks for
        (step("race", 0, skipped=True), [ERRORS], [], Signal.REPRODUCED),
        (step("race", None), [ERRORS], [], Signal.REPRODUCED),
        (step("race", 1, blocks=("torn",)), [ERRORS], [], Signal.REPRODUCED),
        (step("race", -9, where="guest"), [ERRORS], [], Signal.REPRODUCED),  # the agent itself killed QEMU
        (step("race", -9, where="guest", done=False), [ERRORS], [], Signal.OTHER_FAILURE),  # a lack of memory did
        (step("race", -9), [ERRORS], [], Signal.OTHER_FAILURE),
    ],
)  # fmt: skip
def test_an_earlier_step_that_failed(
    first: StepFacts, bad: list[Condition], good: list[Condition], signal: Signal
) -> None:
    assert read(seen(first, step("check", 2)), Question(tuple(bad), tuple(good))).signal is signal


def test_a_number_that_a_failed_step_printed_does_not_make_it_good() -> None:
    fast = condition("fast", Fact(FactKind.VALUE, "load", ("> 500",), name="iops"))
    for code, signal in ((0, Signal.CLEAN), (1, Signal.OTHER_FAILURE)):
        assert read(seen(step("load", code, detail="iops=600")), Question((LOST,), (fast,))).signal is signal


def test_a_later_step_that_failed_does_not_matter() -> None:
    assert read(seen(step("check", 2), step("clean", 1)), Question((ERRORS,), ())).condition == "errors"


FELL = condition("fell", Fact(FactKind.HEALTH, "lv", ("degraded",)))
MEDIA = condition("media", Fact(FactKind.BLOCKS, "look", ("torn",)))
PAUSED = condition("paused", Fact(FactKind.EVENT, "guest", ("STOP",)))


def test_what_carries_its_own_proof_counts_beside_a_failed_step() -> None:
    """A lost leg was whole before the first step; a block is held against what was flushed; an event has happened."""
    failed = step("load", 1)
    question = Question((FELL, MEDIA, PAUSED), ())
    assert read(seen(failed, health="degraded"), question).condition == "fell"
    assert read(seen(failed, step("look", 1, blocks=("torn",))), question).condition == "media"
    stopped = (AgentEvent(1.0, "qmp", "STOP"),)
    assert read(seen(failed, events=stopped), question).condition == "paused"


def test_what_was_not_seen_is_no_proof_beside_a_failed_step() -> None:
    never = condition("never-paused", Fact(FactKind.EVENT, "guest", ("STOP",), True))
    quiet = condition("quiet", Fact(FactKind.CONSOLE, "vm", ("mounted",), True))
    for wanted in (never, quiet):
        assert read(seen(step("load")), Question((wanted,), ())).condition == wanted.name
        assert read(seen(step("load", 1)), Question((wanted,), ())).signal is Signal.OTHER_FAILURE


def test_a_console_line_decides_whatever_the_steps_did() -> None:
    said = condition("said", Fact(FactKind.CONSOLE, "vm", ("Disk failure",)))
    made = seen(step("load", 1))
    line = ConsoleEvent(3.0, "vm", EventKind.WATCH, "said/0", "md/raid1:mdX: Disk failure on dm-1")
    assert read(Observation(made.ending, made.result, (line,)), Question((said,), ())).condition == "said"


@pytest.mark.parametrize("wanted", [condition("whole", Fact(FactKind.HEALTH, "lv", ("healthy",))),
                                   condition("mapped", exits("map", 0))])  # fmt: skip
def test_a_workload_that_failed_is_not_good_by_what_came_after(wanted: Condition) -> None:
    assert read(seen(step("fill"), step("map")), Question((LOST,), (wanted,))).signal is Signal.CLEAN
    assert read(seen(step("fill", 1), step("map")), Question((LOST,), (wanted,))).signal is Signal.OTHER_FAILURE


# ---- hang ----------------------------------------------------------------------------------------------------------


def hang(where: str, value: str = "true") -> Question:
    return Question((condition("hangs", Fact(FactKind.HANG, where, (value,))),), ())


HANGING = step("load", None, done=False)
INSIDE = step("load", None, done=False, where="guest")


@pytest.mark.parametrize(
    ("where", "observation", "signal"),
    [
        ("vm", seen(HANGING, ending=Ending.DEADLINE), Signal.REPRODUCED),
        ("load", seen(HANGING, ending=Ending.DEADLINE), Signal.REPRODUCED),
        ("guest", seen(INSIDE, ending=Ending.DEADLINE), Signal.REPRODUCED),
        ("vm", seen(INSIDE, ending=Ending.DEADLINE), Signal.REPRODUCED),
        # before the guest, or the step, or the workload began
        ("guest", seen(HANGING, ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
        ("vm", seen(ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
        ("guest", seen(ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
        ("load", seen(step("boot"), ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
        ("load", seen(step("boot", None, done=False), ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
        ("vm", Observation(Ending.DEADLINE), Signal.OTHER_FAILURE),
        # not at the deadline
        ("load", seen(HANGING, ending=Ending.VM_GONE), Signal.OTHER_FAILURE),
        ("vm", seen(step("load")), Signal.OTHER_FAILURE),
        # after a step that failed
        ("load", seen(step("boot", 1), HANGING, ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
        ("vm", seen(step("boot", 1), HANGING, ending=Ending.DEADLINE), Signal.OTHER_FAILURE),
    ],
)
def test_a_hang_is_a_step_that_began_and_did_not_end(where: str, observation: Observation, signal: Signal) -> None:
    assert read(observation, hang(where)).signal is signal


def test_that_nothing_hung_is_seen_only_where_the_step_or_the_trial_ended() -> None:
    assert read(seen(step("load")), hang("load", "false")).signal is Signal.REPRODUCED
    assert read(seen(step("load")), hang("vm", "false")).signal is Signal.REPRODUCED
    assert read(seen(HANGING, ending=Ending.DEADLINE), hang("load", "false")).signal is Signal.OTHER_FAILURE
    assert read(seen(ending=Ending.VM_GONE), hang("vm", "false")).signal is Signal.OTHER_FAILURE
    assert read(seen(ending=Ending.DEADLINE), hang("load", "false")).signal is Signal.OTHER_FAILURE


def test_a_hang_without_a_crash_is_the_step_that_hangs() -> None:
    silent = condition("silent", Fact(FactKind.HANG, "vm", ("true",)), Fact(FactKind.OOPS, "vm", ("true",), True))
    assert read(seen(HANGING, ending=Ending.DEADLINE), Question((silent,), ())).condition == "silent"
    failed = seen(step("boot", 1), HANGING, ending=Ending.DEADLINE)
    assert read(failed, Question((silent,), ())).signal is Signal.OTHER_FAILURE


@pytest.mark.parametrize("where", ["load", "vm"])
def test_what_is_good_as_nothing_hung_rests_on_those_steps_as_well(where: str) -> None:
    ended = condition("ended", exits("boot", 0), Fact(FactKind.HANG, where, ("false",)))
    for code, signal in ((0, Signal.CLEAN), (1, Signal.OTHER_FAILURE)):
        assert read(seen(step("boot"), step("load", code)), Question((LOST,), (ended,))).signal is signal


# ---- the shipped recipes that expect an earlier step to fail -------------------------------------------------------


def shipped(name: str) -> Question:
    return question_for(load(next(path for path in listed() if path.stem == name)))


def test_qemu_io_may_fail_in_the_race_and_the_image_is_still_checked() -> None:
    check = step("check", 2, detail="ERROR cluster 77 refcount=0 reference=1")
    question = shipped("qcow2-discard-race")
    for code in (0, 1):
        assert read(seen(step("race", code), check), question).condition == "freed-cluster-in-use"
    assert read(seen(step("race", 2, detail="unrecognized arguments"), check), question).signal is Signal.OTHER_FAILURE


def test_a_guest_that_was_notified_of_no_space_is_good_and_what_it_lost_is_bad() -> None:
    question = shipped("enospc-unseen")
    steps = [step("boot"), step("fill", 1, errno="ENOSPC", where="guest"), step("room"), step("go", where="guest")]
    assert read(seen(*steps, step("verify", blocks=("clean",))), question).condition == "reported"
    assert read(seen(*steps, step("verify", 1, blocks=("zeroed",))), question).condition == "lost"
    paused = [step("boot"), step("fill", None, where="guest"), step("room"), step("go", where="guest")]
    events = (AgentEvent(1.0, "qmp", "STOP"),)
    assert read(seen(*paused, step("verify", blocks=("clean",)), events=events), question).condition == "paused"
    late = [*paused[:3], step("go", 1, errno="ENOSPC", where="guest")]
    assert read(seen(*late, step("verify", 1, blocks=("stale",)), events=events), question).condition == "lost"


def test_a_probe_that_fails_with_its_array_is_bad_by_the_arrays_health() -> None:
    made = [step("probe", 1, errno="EIO"), step("load", 1, errno="EIO")]
    layers = (LayerFacts("boot", "/dev/x", health="degraded"),)
    observation = Observation(Ending.FINISHED, Result(complete=True, steps=tuple(made), layers=layers))
    assert read(observation, shipped("virtio-dio-lvm-raid1")).condition == "leg-failed"


def test_a_guest_that_cannot_mount_any_more_does_not_hide_what_lies_on_the_medium() -> None:
    question = shipped("duplicate-4k-blocks")
    steps = [step("boot"), step("write"), step("damage"), step("again", 32, detail="mount: wrong fs type")]
    gone = step("inside", None, done=False)
    outside = step("outside", 1, blocks=("duplicate",))
    assert read(seen(*steps, gone, step("heal"), outside), question).condition == "media"


@pytest.mark.parametrize(
    ("lines", "signal", "name"),
    [(0, Signal.CLEAN, "quiet"), (1, Signal.CLEAN, "quiet"), (2, Signal.REPRODUCED, "flood")],
)
def test_one_line_of_a_loop_device_over_tmpfs_is_no_flood(lines: int, signal: Signal, name: str) -> None:
    question = question_for(load("field/loop-write-zeroes-log"))
    text = "operation not supported error, dev loop1, sector 0 op 0x9:(WRITE_ZEROES) flags 0x8000800"
    events = [
        ConsoleEvent(float(at), "vm", EventKind.WATCH, watch, text)
        for at in range(lines)
        for watch in ("flood/0", "quiet/1")
    ]
    reading = read(dataclasses.replace(seen(step("mkfs")), console=tuple(events)), question)
    assert (reading.signal, reading.condition) == (signal, name)


def test_lvconvert_that_ends_is_good_and_a_mistyped_option_of_it_is_no_verdict() -> None:
    question = question_for(load("field/lvconvert-hang"))
    done = [step(name) for name in ("one", "two", "again")]
    assert read(seen(*done), question).condition == "converted"
    mistyped = seen(step("one", 3, detail="lvconvert: unrecognized option '--mirors'"), *done[1:])
    assert (read(mistyped, question).signal, read(mistyped, question).neither) == (Signal.OTHER_FAILURE, True)
    unfinished = seen(done[0], step("two", None, done=False), ending=Ending.DEADLINE)
    assert read(unfinished, question).condition == "hangs"


# ---- steps beside each other ---------------------------------------------------------------------------------------


def beside(name: str, exit_code: int | None = 0, **more: object) -> StepFacts:
    return step(name, exit_code, group="busy", **more)


REFUSED = condition("refused", exits("copy", 1))
COPIED = condition("copied", exits("copy", 0))


@pytest.mark.parametrize("order", [("load", "copy"), ("copy", "load")])
@pytest.mark.parametrize(
    ("load", "copy", "signal"),
    [
        (0, 1, Signal.REPRODUCED),
        (127, 1, Signal.OTHER_FAILURE),  # a mistyped option of the other one is no verdict
        (0, 0, Signal.CLEAN),
        (127, 0, Signal.OTHER_FAILURE),  # and nothing is good when half of the work was not done
    ],
)
def test_steps_beside_each_other_count_for_each_other(
    order: tuple[str, str], load: int, copy: int, signal: Signal
) -> None:
    codes = {"load": load, "copy": copy}
    ended = [beside(name, codes[name]) for name in order]
    assert read(seen(*ended), Question((REFUSED,), (COPIED,))).signal is signal


def test_the_end_of_qemu_is_one_failure_whichever_step_sees_it() -> None:
    crashed = condition("crashed", exits("copy", -6))
    both = seen(beside("load", -6, done=False, where="guest"), beside("copy", -6, where="guest"))
    assert read(both, Question((crashed,), (COPIED,))).condition == "crashed"
    other = seen(beside("load", -11, where="guest"), beside("copy", -6, where="guest"))
    assert read(other, Question((crashed,), (COPIED,))).signal is Signal.OTHER_FAILURE


def test_a_step_in_the_guest_ends_as_its_qemu_does() -> None:
    crashed = condition("crashed", exits("load", -6))
    done = condition("done", exits("boot", 0), exits("load", 0))
    for code, signal in ((-6, Signal.REPRODUCED), (-9, Signal.OTHER_FAILURE), (0, Signal.OTHER_FAILURE)):
        ended = seen(step("boot"), step("load", code, done=False, where="guest"))
        assert read(ended, Question((crashed,), (done,))).signal is signal  # 0: of a guest that panicked


STUCK = {"done": False, "exit_code": None}


@pytest.mark.parametrize(
    ("where", "load", "copy", "signal"),
    [
        ("load", STUCK, {}, Signal.REPRODUCED),  # not the last in order
        ("copy", STUCK, {}, Signal.OTHER_FAILURE),
        ("copy", STUCK, STUCK, Signal.REPRODUCED),  # both hang: one failure
        ("vm", STUCK, {}, Signal.REPRODUCED),
        ("load", STUCK, {"exit_code": 127}, Signal.OTHER_FAILURE),
        ("copy", STUCK, {"done": False, "exit_code": -6}, Signal.OTHER_FAILURE),  # QEMU ended, which is no hang
    ],
)
def test_a_hang_is_a_fact_of_the_step_that_did_not_end(
    where: str, load: dict[str, object], copy: dict[str, object], signal: Signal
) -> None:
    ended = seen(step("boot"), beside("load", **load), beside("copy", **copy), ending=Ending.DEADLINE)  # type: ignore[arg-type]
    assert read(ended, hang(where)).signal is signal


def test_a_step_before_those_counts_as_before() -> None:
    ended = (step("fill", 1), beside("load"), beside("copy", 1))
    assert read(seen(*ended), Question((REFUSED,), ())).reason.startswith("step fill failed")
    assert read(seen(*ended[1:], step("check", 3)), Question((REFUSED,), ())).condition == "refused"
