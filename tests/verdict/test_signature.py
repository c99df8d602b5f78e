# SPDX-License-Identifier: GPL-2.0-only
"""Observation → signal: the order of DESIGN.md, as a table and as properties."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisector.agent.plan import LEFT_OUT, LEFT_OUT_EVENTS, AgentEvent, Fault, LayerFacts, Result, StepFacts
from bisector.model import (
    Condition,
    ConsoleEvent,
    Ending,
    EventKind,
    Fact,
    FactKind,
    Observation,
    Question,
    Signal,
)
from bisector.recipe.facts.table import ROWS
from bisector.verdict.signature import read

LEG_FAILED = Condition("leg-failed", (Fact(FactKind.HEALTH, "boot", ("degraded",)),))
ZERO_LENGTH = Condition("zero-length", (Fact(FactKind.CONSOLE, "vm", (r"LBA \d+, 0 blocks",)),))
HEALTHY = Condition("healthy", (Fact(FactKind.HEALTH, "boot", ("healthy",)), Fact(FactKind.EXIT, "probe", ("0",))))
QUESTION = Question(bad=(LEG_FAILED, ZERO_LENGTH), good=(HEALTHY,))


def result(health: str = "healthy", exit_code: int | None = 0, **changes: object) -> Result:
    made = Result(
        complete=True,
        layers=(LayerFacts("boot", "/dev/mapper/vg0-boot", health=health),),
        steps=(StepFacts("probe", 1.0, 2.0, done=True, exit=exit_code),),
    )
    return replace(made, **changes)


def seen(made: Result | None = None, *console: ConsoleEvent, ending: Ending = Ending.FINISHED) -> Observation:
    return Observation(ending, made, console)


def watch(at: float, name: str = "zero-length/0") -> ConsoleEvent:
    return ConsoleEvent(at, "vm", EventKind.WATCH, name, "nvme1n1: I/O Cmd(0x2) @ LBA 2055, 0 blocks")


def crash(at: float, where: str = "vm") -> ConsoleEvent:
    return ConsoleEvent(at, where, EventKind.CRASH, "oops", "BUG: kernel NULL pointer dereference, address: 0")


@pytest.mark.parametrize(
    ("observation", "signal", "condition"),
    [
        (seen(result()), Signal.CLEAN, "healthy"),
        (seen(result("degraded")), Signal.REPRODUCED, "leg-failed"),
        (seen(result("degraded"), ending=Ending.DEADLINE), Signal.REPRODUCED, "leg-failed"),
        (seen(result(), watch(3.0)), Signal.REPRODUCED, "zero-length"),
        (seen(result(complete=False), watch(3.0), ending=Ending.DECISIVE), Signal.REPRODUCED, "zero-length"),
        (seen(result(), watch(3.0), crash(4.0), ending=Ending.CRASH), Signal.REPRODUCED, "zero-length"),
        (seen(result(), crash(3.0), watch(4.0), ending=Ending.CRASH), Signal.OTHER_FAILURE, ""),
        (seen(result("degraded"), crash(3.0), ending=Ending.CRASH), Signal.OTHER_FAILURE, ""),
        (seen(result(), crash(3.0, "guest")), Signal.OTHER_FAILURE, ""),
        (seen(result("degraded"), crash(3.0, "guest")), Signal.REPRODUCED, "leg-failed"),
        (seen(result(), ending=Ending.DEADLINE), Signal.OTHER_FAILURE, ""),
        (seen(result(exit_code=1)), Signal.OTHER_FAILURE, ""),
        (seen(result("syncing")), Signal.OTHER_FAILURE, ""),
        (seen(result(steps=())), Signal.OTHER_FAILURE, ""),
        (seen(None, ending=Ending.NO_AGENT), Signal.OTHER_FAILURE, ""),
        (seen(result("degraded"), ending=Ending.HARNESS), Signal.INFRA, ""),
        (seen(result("degraded", fault=Fault("tools", "lvm: not found"))), Signal.INFRA, ""),
        (seen(result(fault=Fault("storage", "lvcreate: exit 5"))), Signal.OTHER_FAILURE, ""),
    ],
)
def test_signal_table(observation: Observation, signal: Signal, condition: str) -> None:
    reading = read(observation, QUESTION)
    assert (reading.signal, reading.condition) == (signal, condition)


def one(fact: Fact, good: bool = False) -> Question:
    wanted = (Condition("wanted", (fact,)),)
    return Question(bad=() if good else wanted, good=wanted if good else (HEALTHY,))


@pytest.mark.parametrize(
    ("errno", "fact", "signal"),
    [
        ("EIO", Fact(FactKind.ERRNO, "probe", ("EIO",)), Signal.REPRODUCED),
        ("EIO", Fact(FactKind.ERRNO, "probe", ("EINVAL",), negate=True), Signal.REPRODUCED),
        ("EINVAL", Fact(FactKind.ERRNO, "probe", ("EINVAL",), negate=True), Signal.CLEAN),
        ("", Fact(FactKind.ERRNO, "probe", ("none",)), Signal.REPRODUCED),
        ("EIO", Fact(FactKind.ERRNO, "absent", ("EIO",), negate=True), Signal.CLEAN),
    ],
)
def test_errno_facts(errno: str, fact: Fact, signal: Signal) -> None:
    made = result(steps=(StepFacts("probe", 1.0, 2.0, done=True, exit=0, errno=errno),))
    assert read(seen(made), one(fact)).signal is signal


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (StepFacts("probe", 1.0, 2.0, done=True, exit=0), True),
        (StepFacts("probe", 1.0, 2.0, done=True, exit=1), None),  # a short transfer, a program, QEMU's own words
        (StepFacts("probe", 1.0, 2.0, done=True, exit=None, where="guest"), None),  # a pause cut it short
        (StepFacts("probe", 1.0, 2.0, done=True, exit=1, blocks=("torn",)), True),  # each block could be read
        (StepFacts("probe", 1.0, 2.0, done=True, exit=-9, where="guest"), True),  # its kill came in time
    ],
)
def test_no_error_is_success_and_not_a_failure_without_a_name(step: StepFacts, expected: bool | None) -> None:
    none = Fact(FactKind.ERRNO, "probe", ("none",))
    assert ROWS[FactKind.ERRNO].evaluate(none, seen(result(steps=(step,)))).seen is expected
    reading = read(seen(result(steps=(step,))), one(none, good=True))
    assert reading.signal is (Signal.CLEAN if expected else Signal.OTHER_FAILURE)


@pytest.mark.parametrize(
    ("where", "code", "value", "expected"),
    [("guest", 139, "-11", True), ("guest", 139, "139", True), ("guest", 1, "-11", False), ("vm", 139, "-11", False)],
)
def test_the_guest_s_shell_tells_a_signal_in_its_own_way(where: str, code: int, value: str, expected: bool) -> None:
    ended = StepFacts("probe", 1.0, 2.0, done=True, exit=code, where=where)
    found = ROWS[FactKind.EXIT].evaluate(Fact(FactKind.EXIT, "probe", (value,)), seen(result(steps=(ended,))))
    assert found.seen is expected


def test_a_step_that_was_not_finished_answers_no_negated_fact() -> None:
    made = result(steps=(StepFacts("probe", 1.0, 2.0, done=False),))
    fact = Fact(FactKind.ERRNO, "probe", ("EINVAL",), negate=True)
    assert read(seen(made, ending=Ending.DEADLINE), one(fact)).signal is Signal.OTHER_FAILURE


def test_a_hang_that_the_recipe_names_is_bad() -> None:
    made = result(complete=False, steps=(StepFacts("probe", 1.0, 2.0, done=False),))
    fact = Fact(FactKind.HANG, "probe", ("true",))
    assert read(seen(made, ending=Ending.DEADLINE), one(fact)).signal is Signal.REPRODUCED


def test_an_oops_that_the_recipe_names_is_bad_and_another_is_not() -> None:
    wanted = one(Fact(FactKind.OOPS, "vm", ("NULL pointer",)))
    other = one(Fact(FactKind.OOPS, "vm", ("use-after-free",)))
    observation = seen(result(complete=False), crash(3.0), ending=Ending.CRASH)
    assert read(observation, wanted).signal is Signal.REPRODUCED
    assert read(observation, other).signal is Signal.OTHER_FAILURE


def test_guest_events_and_blocks() -> None:
    made = result(
        events=(AgentEvent(3.0, "qmp", "STOP"),),
        steps=(
            StepFacts("probe", 1.0, 2.0, done=True, exit=0),
            StepFacts("verify", 2.0, 3.0, done=True, blocks=("zeroed",)),
        ),
    )
    paused = Fact(FactKind.EVENT, "guest", ("STOP",))
    lost = Fact(FactKind.BLOCKS, "verify", ("zeroed", "stale"))
    assert read(seen(made), one(paused, good=True)).signal is Signal.CLEAN
    assert read(seen(made), one(lost)).signal is Signal.REPRODUCED


@pytest.mark.parametrize(
    "fact",
    [
        Fact(FactKind.OUTPUT, "probe", ("data differ",)),
        Fact(FactKind.TAP, "probe", ("not ok",), name="*"),
        Fact(FactKind.VALUE, "probe", ("> 0",), name="lost"),
    ],
)
def test_a_trial_whose_bad_line_may_not_have_been_kept_is_not_good(fact: Fact) -> None:
    made = result(steps=(StepFacts("probe", 1.0, 2.0, done=True, exit=0, detail=f"{LEFT_OUT}k 3 - a\nok 4 - b\n"),))
    reading = read(seen(made), one(fact))
    assert (reading.signal, reading.neither) == (Signal.OTHER_FAILURE, True)
    assert "gave more than is kept" in reading.reason
    whole = result(steps=(StepFacts("probe", 1.0, 2.0, done=True, exit=0, detail="ok 3 - a\nok 4 - b\n"),))
    assert read(seen(whole), one(fact)).signal is Signal.CLEAN


def test_a_bad_condition_that_another_fact_denies_asks_for_no_lost_line() -> None:
    lost = Fact(FactKind.OUTPUT, "probe", ("data differ",))
    both = Condition("wanted", (lost, Fact(FactKind.EXIT, "probe", ("1",))))
    made = result(steps=(StepFacts("probe", 1.0, 2.0, done=True, exit=0, detail=f"{LEFT_OUT}ok\n"),))
    assert read(seen(made), Question(bad=(both,), good=(HEALTHY,))).signal is Signal.CLEAN


def test_an_event_that_may_have_been_left_out_is_not_known() -> None:
    wanted = one(Fact(FactKind.EVENT, "guest", ("BLOCK_JOB_ERROR",)))
    flood = tuple(AgentEvent(3.0, "qmp", f"E{number}") for number in range(20))
    assert read(seen(result(events=flood)), wanted).signal is Signal.CLEAN
    left = (*flood, AgentEvent(4.0, "agent", LEFT_OUT_EVENTS))
    assert read(seen(result(events=left)), wanted).signal is Signal.OTHER_FAILURE


ENDINGS = st.sampled_from(list(Ending))
EVENTS = st.lists(
    st.one_of(
        st.floats(0, 9).map(watch), st.floats(0, 9).map(crash), st.floats(0, 9).map(lambda at: crash(at, "guest"))
    ),
    max_size=4,
)
RESULTS = st.one_of(
    st.none(),
    st.builds(
        result,
        st.sampled_from(["healthy", "degraded", "syncing", ""]),
        st.sampled_from([0, 1, None]),
        fault=st.sampled_from([None, Fault("tools", "x"), Fault("storage", "x")]),
        complete=st.booleans(),
    ),
)


@given(ENDINGS, EVENTS, RESULTS)
def test_laws_hold_for_every_observation(ending: Ending, events: list[ConsoleEvent], made: Result | None) -> None:
    reading = read(seen(made, *events, ending=ending), QUESTION)
    crashed = any(e.kind is EventKind.CRASH for e in events)
    if ending is Ending.HARNESS or (made and made.fault and made.fault.stage == "tools"):
        assert reading.signal is not Signal.CLEAN  # law 1
        shown = any(e.where == "vm" for e in events)
        assert (reading.signal is Signal.INFRA) is not shown  # what the console had shown by then stands
        assert reading.condition in ("", "zero-length")  # and no fact that the broken harness tells
    if reading.signal is Signal.CLEAN:  # law 2
        assert ending is Ending.FINISHED
        assert made is not None
        assert made.steps
        assert not crashed
    if reading.signal is Signal.REPRODUCED:
        assert reading.condition in ("leg-failed", "zero-length")


@pytest.mark.parametrize(
    ("value", "place", "signal"),
    [
        ("true", "RIP: 0010:raid1_", Signal.OTHER_FAILURE),  # any crash, and a line of its trace that was not there
        ("^raid1_", "BUG: ", Signal.REPRODUCED),
        ("^raid5_", "BUG: ", Signal.OTHER_FAILURE),
    ],
)
def test_a_crash_that_is_not_the_conditions_makes_no_other_condition_bad(
    value: str, place: str, signal: Signal
) -> None:
    facts = (Fact(FactKind.OOPS, "vm", (value,)), Fact(FactKind.CONSOLE, "vm", (place,)))
    named = Condition("crashes", facts)
    question = replace(QUESTION, bad=(named, *QUESTION.bad))
    event = replace(crash(3.0), fingerprint="oops: raid1_read_request < md_handle_request")
    shown = [watch(3.0, "crashes/1")] if place == "BUG: " else []
    reading = read(seen(result("degraded"), event, *shown, ending=Ending.CRASH), question)
    assert (reading.signal, reading.condition) == (signal, "crashes" if signal is Signal.REPRODUCED else "")


@pytest.mark.parametrize(
    ("kind", "ending", "signal"),
    [
        ("hung", Ending.DEADLINE, Signal.REPRODUCED),  # the kernel's word for what the condition is about
        ("lockup", Ending.DEADLINE, Signal.REPRODUCED),
        ("oops", Ending.DEADLINE, Signal.OTHER_FAILURE),
        ("hung", Ending.FINISHED, Signal.OTHER_FAILURE),  # the step ended: something else was blocked
    ],
)
def test_a_hang_that_the_kernel_speaks_of_is_the_recipes_own(kind: str, ending: Ending, signal: Signal) -> None:
    question = replace(QUESTION, bad=(Condition("hangs", (Fact(FactKind.HANG, "probe", ("true",)),)),))
    done = ending is Ending.FINISHED
    made = result(complete=done, steps=(StepFacts("probe", 1.0, 300.0, done=done, exit=0 if done else None),))
    event = replace(crash(122.0), name=kind, text="INFO: task mdadm:77 blocked for more than 120 seconds.")
    assert read(seen(made, event, ending=ending), question).signal is signal


CORRUPT = Condition(
    "corrupt",
    (Fact(FactKind.EXIT, "check", ("2",)), Fact(FactKind.OUTPUT, "check", (r"^ERROR cluster \d+ ", "leaked"))),
)
QUIET = Condition(
    "quiet", (Fact(FactKind.EXIT, "check", ("0",)), Fact(FactKind.OUTPUT, "check", ("ERROR",), negate=True))
)


@pytest.mark.parametrize(
    ("exit_code", "output", "signal", "reason"),
    [
        (2, "some words\nERROR cluster 5 refcount=0 reference=1\n", Signal.REPRODUCED, "check: ERROR cluster 5"),
        (2, "an ERROR cluster 5 that begins no line\n", Signal.OTHER_FAILURE, "neither"),
        (1, "ERROR cluster 5 refcount=0 reference=1\n", Signal.OTHER_FAILURE, "neither"),
        (0, "No errors were found\n", Signal.CLEAN, ""),
        (0, "ERROR all the same\n", Signal.OTHER_FAILURE, "neither"),
    ],
)
def test_what_a_program_printed_is_a_fact(exit_code: int, output: str, signal: Signal, reason: str) -> None:
    check = StepFacts("check", 1.0, 2.0, done=True, exit=exit_code, detail=output)
    reading = read(seen(result(steps=(check,))), Question(bad=(CORRUPT,), good=(QUIET,)))
    assert reading.signal is signal
    assert reason in reading.reason


def test_what_a_step_that_never_ended_printed_is_no_fact() -> None:
    check = StepFacts("check", 1.0, 2.0, done=False, exit=2, detail="ERROR cluster 5 refcount=0 reference=1")
    seen_so_far = seen(result(steps=(check,), complete=False), ending=Ending.DEADLINE)
    assert read(seen_so_far, Question(bad=(CORRUPT,), good=(QUIET,))).signal is Signal.OTHER_FAILURE


def test_reason_names_the_blocks_that_were_found_and_where_their_content_belongs() -> None:
    lines = [f"block {n}: duplicate, holds block 165, generation 1" for n in range(160, 165)]
    step = StepFacts(
        *("inside", 0.0, 1.0), done=True, exit=1, count=512, failed=5, blocks=("duplicate",),
        detail="\n".join(["512 blocks judged: 5 duplicate", *lines]),
    )  # fmt: skip
    seen = Observation(Ending.FINISHED, Result(token="t", steps=(step,)))
    reading = read(
        seen, Question(bad=(Condition("media", (Fact(FactKind.BLOCKS, "inside", ("duplicate",)),)),), good=())
    )
    assert reading.condition == "media"
    assert reading.reason == (
        "inside: 512 blocks judged: 5 duplicate; block 160: duplicate, holds block 165, generation 1; "
        "block 161: duplicate, holds block 165, generation 1; block 162: duplicate, holds block 165, generation 1 "
        "(and 2 more)"
    )
