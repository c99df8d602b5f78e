# SPDX-License-Identifier: GPL-2.0-only
"""Numbers, tests and refused layers as facts: what a recipe may write, and what a trial shows of them."""

from __future__ import annotations

import json
import time

import pytest

from bisector.agent.plan import LEFT_OUT, Fault, LayerFacts, Result, StepFacts
from bisector.codec import dump
from bisector.model import (
    Cell,
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
from bisector.recipe.facts import printed, tap
from bisector.recipe.facts.table import ROWS
from bisector.recipe.parse import parse
from bisector.recipe.plan import plan_for, question_for
from bisector.verdict.signature import read
from tests.work import usual

BASE = {
    "recipe": "numbers",
    "target": {"kernel": {"config": ["base"]}},
    "storage": {"d": {"disk": "nvme", "size": "64M"}},
    "steps": [{"load": {"run": ["true"]}}, {"probe": {"io": "d", "read": "4k"}}],
    "good_when": {"fine": {"exit": {"load": 0}}},
}


def faults(**bad: object) -> list[str]:
    return [
        f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in parse({**BASE, "bad_when": {"b": bad}})[1]
    ]


def seen(fact: Fact, observation: Observation) -> bool | None:
    return ROWS[fact.kind].evaluate(fact, observation).seen


def ended(step: StepFacts, ending: Ending = Ending.FINISHED) -> Observation:
    return Observation(ending, Result(steps=(step,), complete=True))


def lines(count: int, ending: Ending) -> Observation:
    events = tuple(ConsoleEvent(float(at), "vm", EventKind.WATCH, "b/0", f"line {at}") for at in range(count))
    return Observation(ending, Result(complete=ending is Ending.FINISHED), events)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"seconds": {"load": "fast"}}, "'fast' is no comparison; write it as '< 10s', '>= 2m'"),
        ({"seconds": {"load": True}}, "expected a comparison"),
        ({"value": {"load": {"iops": "< 10s"}}}, "is no comparison"),
        ({"value": {"load": "< 10"}}, "mapping"),
        ({"value": {"load": {"a b": "< 10"}}}, "a number is named as"),
        ({"value": {"probe": {"iops": "< 10"}}}, "only a program prints"),
        ({"tap": {"probe": {"x": "ok"}}}, "only a program prints"),
        ({"tap": {"load": {"x": "bad"}}}, "not ok"),
        ({"count": {"vm": {"a*": "> 1"}}}, "matches an empty line"),
        ({"count": {"vm": {"(a+)+": "> 1"}}}, "exponential"),
        ({"count": {"vm": {"a": "> 2000"}}}, "lines are counted from 0 to 1000"),
        ({"count": {"guest": {"a": "> 1"}}}, "there is no 'guest:'"),
        ({"made": {"e": False}}, "no layer 'e'"),
        ({"exit": {"load": "KSFT_SKIPPED"}}, "is no exit code; write a number, {not: 0}"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(bad: dict[str, object], said: str) -> None:
    found = faults(**bad)
    assert len(found) == 1, found
    assert said in found[0]
    assert found[0].startswith(f"bad_when.b.{next(iter(bad))}.")


def test_a_value_in_the_grammar_is_a_fact_of_its_own() -> None:
    bad = {"value": {"load": {"read.bw": "< 1e3", "write.bw": ["< 10", 12]}}, "exit": {"load": "KSFT_SKIP"}}
    recipe, found = parse({**BASE, "bad_when": {"b": bad}})
    assert recipe is not None and not found
    assert question_for(recipe).bad[0].facts == (
        Fact(FactKind.EXIT, "load", ("4",)),
        Fact(FactKind.VALUE, "load", ("< 1000",), False, "read.bw"),
        Fact(FactKind.VALUE, "load", ("< 10", "= 12"), False, "write.bw"),
    )
    again, _ = parse(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again is not None and question_for(again) == question_for(recipe)


def test_a_program_keeps_more_of_its_output_where_numbers_are_looked_for_in_it() -> None:
    recipe, _ = parse({**BASE, "bad_when": {"b": {"value": {"load": {"x": 1}}}}})
    plain, _ = parse({**BASE, "bad_when": {"b": {"exit": {"load": 1}}}})
    assert recipe is not None and plain is not None
    assert [step.keep for step in plan_for(recipe, Cell("plain")).steps] == [printed.KEPT, 0]
    assert "keep" not in dump(plan_for(plain, Cell("plain")))  # stored trials of plans without it are found again


def test_a_count_has_a_watch_that_reports_as_many_lines_as_decide_it() -> None:
    counts = {"line .": ["> 30", "= 2"], "other": "< 1"}
    recipe, found = parse({**BASE, "bad_when": {"b": {"count": {"vm": counts}}}})
    assert recipe is not None and not found
    assert [(watch.pattern, watch.most, watch.decisive) for watch in plan_for(recipe, Cell("plain")).watches] == [
        ("line .", 31, False),
        ("other", 1, False),
    ]


@pytest.mark.parametrize(
    ("value", "count", "ending", "expected"),
    [
        ("> 3", 4, Ending.DEADLINE, True),
        ("> 3", 3, Ending.DEADLINE, None),
        ("> 3", 3, Ending.FINISHED, False),
        (">= 3", 3, Ending.CRASH, True),
        ("< 3", 2, Ending.FINISHED, True),
        ("< 3", 2, Ending.DEADLINE, None),
        ("< 3", 4, Ending.DEADLINE, False),
        ("= 0", 0, Ending.FINISHED, True),
        ("= 1", 2, Ending.CRASH, False),
    ],
)
def test_lines_are_counted_as_far_as_the_trial_went(
    value: str, count: int, ending: Ending, expected: bool | None
) -> None:
    assert seen(Fact(FactKind.COUNT, "vm", (value,), name="line"), lines(count, ending)) is expected


@pytest.mark.parametrize(
    ("step", "ending", "value", "expected"),
    [
        (StepFacts("s", 1.0, 5.0, done=True, exit=0), Ending.FINISHED, "< 10", True),
        (StepFacts("s", 1.0, 15.0, done=True, exit=0), Ending.FINISHED, "< 10", False),
        (StepFacts("s", 1.0, 1.1, done=True, exit=127), Ending.FINISHED, "< 10", None),  # it did not do its work
        (StepFacts("s", 1.0, 90.0), Ending.DEADLINE, "> 60", True),
        (StepFacts("s", 1.0, 90.0), Ending.DEADLINE, "> 100", None),
        (StepFacts("s", 1.0, 90.0), Ending.CRASH, "> 60", None),
        (StepFacts("s", 1.0, 1.0, done=True, skipped=True, exit=0), Ending.FINISHED, "< 10", None),
    ],
)
def test_a_time_is_that_of_a_step_that_did_its_work(
    step: StepFacts, ending: Ending, value: str, expected: bool | None
) -> None:
    assert seen(Fact(FactKind.SECONDS, "s", (value,)), ended(step, ending)) is expected


FIO = json.dumps(
    {"fio version": "fio-3.36", "jobs": [{"write": {"iops": 812.5, "clat_ns": {"percentile": {"99.0": 4}}}}]}, indent=1
)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a=1\nlost_blocks = 12\nlost_blocks=13\n", "lost_blocks", 13.0),
        ("rate=1e3\n", "rate", 1000.0),
        ("rate=fast\n", "rate", None),
        ("rate=1e999\n", "rate", None),
        ("generate=4\n", "rate", None),
        (f"note: noise\n{FIO}\n", "write.iops", 812.5),
        (FIO, "jobs.0.write.iops", 812.5),
        (FIO, "write.clat_ns.percentile.99.0", 4.0),
        (FIO, "jobs.1.write.iops", None),
        (FIO, "write", None),
        (FIO[40:], "write.iops", None),
        ('{"a": true, "b": "3", "c": 1e999}', "a", None),
        ('{"a": true, "b": "3", "c": 1e999}', "b", None),
        ('{"a": true, "b": "3", "c": 1e999}', "c", None),
        ("[" * 50_000, "a", None),
    ],
)
def test_a_number_is_read_from_what_was_printed(text: str, name: str, expected: float | None) -> None:
    assert printed.number(text, name) == expected


KTAP = """TAP version 13
1..2
# selftests: block: dio
# TAP version 13
# 1..3
# ok 1 aligned
# not ok 2 misaligned # errno 5
# ok 3 zoned # SKIP no zones
not ok 1 selftests: block: dio # exit=1
    KTAP version 1
    # Subtest: bio
    ok 1 split
    not ok 2 merge # XFAIL known
ok 2 - bio
"""


@pytest.mark.parametrize(("name", "expected"), [("write.iops", None), ("error", True), ("total_err", True)])
def test_a_job_that_met_an_error_measured_nothing_but_its_errors(name: str, expected: bool | None) -> None:
    text = '{"jobs": [{"error": 5, "total_err": 1, "write": {"iops": 0.0}}]}'
    trial = ended(StepFacts("s", 0.0, 1.0, done=True, exit=1, errno="EIO", detail=text))
    assert seen(Fact(FactKind.VALUE, "s", ("< 500",), name=name), trial) is expected


def test_tests_are_read_with_those_inside_them() -> None:
    assert tap.results(KTAP) == {
        "selftests: block: dio/aligned": "ok",
        "selftests: block: dio/misaligned": "not ok",
        "selftests: block: dio/zoned": "skip",
        "selftests: block: dio": "not ok",
        "bio/split": "ok",
        "bio/merge": "todo",
        "bio": "ok",
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("*misaligned", "not ok", True),
        ("bio", "not ok", False),
        ("bio/*", "todo", True),
        ("gone", "none", True),
        ("gone", "ok", False),
        ("*", "skip", True),
    ],
)
def test_a_test_is_found_by_its_name(name: str, value: str, expected: bool) -> None:
    trial = ended(StepFacts("s", 0.0, 1.0, done=True, exit=1, detail=KTAP))
    assert seen(Fact(FactKind.TAP, "s", (value,), name=name), trial) is expected


def test_of_tests_with_one_name_the_worst_counts_and_one_without_goes_by_its_number() -> None:
    assert tap.results("not ok 1 - a\nok 2 - a\n") == {"a": "not ok"}
    assert tap.results("ok 1\nnot ok 2\nok\n") == {"1": "ok", "2": "not ok"}
    assert tap.results("not ok 3 - b #\nnot ok 4 - c # !\n") == {"b": "not ok", "c": "not ok"}


def test_a_name_makes_no_line_of_its_own() -> None:
    for end in ("\x0b", "\x0c", "\x1c", "\x85", "\u2028"):
        assert tap.results(f"not ok 1 - of file x{end}ok 2 - all\n") == {f"of file x{end}ok 2 - all": "not ok"}


@pytest.mark.parametrize(
    "text", ["\n" * 250_000, " " * 250_000, "ok" + " " * 250_000 + "#", "ok 1 " + "a " * 125_000 + "#", "[\n" * 125_000]
)
def test_output_that_would_cost_its_square_is_read_at_once(text: str) -> None:
    began = time.process_time()
    assert printed.number(text, "us") is None
    tap.results(text)
    trial = ended(StepFacts("s", 0.0, 1.0, done=True, exit=0, detail=text))
    seen(Fact(FactKind.OUTPUT, "s", (r"x.*y.*z",)), trial)
    assert usual(time.process_time() - began) < 10


CUT = LEFT_OUT + "k 4 - d\nok 5 - e\nus=3\n"


@pytest.mark.parametrize(
    ("fact", "expected", "lost"),
    [
        (Fact(FactKind.TAP, "s", ("ok",), name="e"), True, False),
        (Fact(FactKind.TAP, "s", ("not ok",), name="*"), None, True),
        (Fact(FactKind.TAP, "s", ("none",), name="f"), None, True),
        (Fact(FactKind.OUTPUT, "s", ("differ",)), None, True),
        (Fact(FactKind.OUTPUT, "s", ("ok 5",)), True, False),
        (Fact(FactKind.VALUE, "s", ("< 5",), name="us"), True, False),
        (Fact(FactKind.VALUE, "s", ("< 5",), name="iops"), None, True),
    ],
)
def test_what_may_stand_in_what_was_not_kept_is_lost(fact: Fact, expected: bool | None, lost: bool) -> None:
    trial = ended(StepFacts("s", 0.0, 1.0, done=True, exit=0, detail=CUT))
    found = ROWS[fact.kind].evaluate(fact, trial)
    assert (found.seen, found.lost) == (expected, lost)


REFUSED = Observation(
    Ending.FINISHED, Result(fault=Fault("storage", "losetup: exit 1: EINVAL", "l"), layers=(LayerFacts("d", "/dev/d"),))
)


@pytest.mark.parametrize(("where", "expected"), [("l", True), ("d", False), ("above", None)])
def test_a_layer_that_was_refused_was_not_made(where: str, expected: bool | None) -> None:
    assert seen(Fact(FactKind.MADE, where, ("false",)), REFUSED) is expected


def test_a_refused_layer_is_good_or_bad_only_where_a_condition_says_so() -> None:
    refused, other = (
        Condition("r", (Fact(FactKind.MADE, "l", ("false",)),)),
        Condition("o", (Fact(FactKind.EXIT, "s", ("0",)),)),
    )
    assert read(REFUSED, Question((refused,), (other,))).signal is Signal.REPRODUCED
    assert read(REFUSED, Question((other,), (refused,))).signal is Signal.CLEAN
    assert read(REFUSED, Question((other,), (other,))).signal is Signal.OTHER_FAILURE


def test_a_layer_that_was_not_refused_but_ran_out_of_time_is_no_answer() -> None:
    late = Observation(Ending.FINISHED, Result(fault=Fault("storage", "lvcreate: did not end in time")))
    refused = Condition("r", (Fact(FactKind.MADE, "l", ("false",)),))
    assert read(late, Question((), (refused,))).signal is Signal.OTHER_FAILURE


def test_few_lines_are_good_only_where_the_whole_workload_worked() -> None:
    few = Condition("few", (Fact(FactKind.COUNT, "vm", ("< 2",), name="x"), Fact(FactKind.EXIT, "a", ("0",))))
    steps = (StepFacts("a", 0.0, 1.0, done=True, exit=0), StepFacts("b", 1.0, 2.0, done=True, exit=1))
    trial = Observation(Ending.FINISHED, Result(steps=steps, complete=True))
    assert read(trial, Question((few,), ())).signal is Signal.OTHER_FAILURE
    whole = Observation(Ending.FINISHED, Result(steps=steps[:1], complete=True))
    assert read(whole, Question((few,), ())).signal is Signal.REPRODUCED


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"value": {"load": {"iops": "0.8 × good"}}}, "compared by < or >"),
        ({"value": {"load": {"iops": "< 0 × good"}}}, "compared by < or >"),
        ({"value": {"load": {"iops": "< 1.2 × good"}}}, "the good end itself would be bad"),
        ({"seconds": {"load": ["> 90", "> 0.5 * good"]}}, "the good end itself would be bad"),
        ({"seconds": {"load": "> 2s × good"}}, "has no unit"),
        ({"value": {"load": {"iops": {"not": ">= 0.8 × good"}}}}, "write the opposite comparison"),
        ({"value": {"load": {"iops": "< 0.8 of good"}}}, "or '< 0.8 × good'"),
    ],
)
def test_what_is_wrong_with_a_factor_is_said(bad: dict[str, object], said: str) -> None:
    (found,) = faults(**bad)
    assert said in found


def test_good_when_compares_with_no_end() -> None:
    good = {"fast": {"exit": {"load": 0}, "value": {"load": {"iops": ">= 0.9 × good"}}}}
    bad = {"slow": {"value": {"load": {"iops": "< 0.8 × good"}}}}
    _, found = parse({**BASE, "bad_when": bad, "good_when": good})
    assert [fault.message for fault in found] == [
        "only bad_when compares with the good end; a trial of good_when must have given that number anyway"
    ]


@pytest.mark.parametrize("times", ["×", "x", "*", " × ", " x "])
def test_a_factor_of_the_good_end_has_one_form(times: str) -> None:
    recipe, found = parse({**BASE, "bad_when": {"b": {"value": {"load": {"iops": f"<0.80{times}good"}}}}})
    assert recipe is not None and not found
    fact = Fact(FactKind.VALUE, "load", ("< 0.8 × good",), False, "iops")
    assert question_for(recipe).bad[0].facts == (fact,)
    assert question_for(recipe).required == (fact,)
    again, _ = parse(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again is not None and question_for(again) == question_for(recipe)


def test_a_count_that_is_relative_watches_all_lines() -> None:
    recipe, _ = parse({**BASE, "bad_when": {"b": {"count": {"vm": {"retry": "> 2 × good"}}}}})
    assert recipe is not None
    assert [watch.most for watch in plan_for(recipe, Cell("plain")).watches] == [1000]


def test_a_trial_that_only_a_search_could_judge_is_neither_and_says_its_number() -> None:
    fact = Fact(FactKind.VALUE, "s", ("< 0.8 × good",), name="iops")
    good = Condition("fine", (Fact(FactKind.EXIT, "s", ("0",)),))
    question = Question((Condition("slow", (fact,)),), (good,), (fact,))
    found = read(ended(StepFacts("s", 0.0, 1.0, done=True, exit=0, detail="iops=700\n")), question)
    assert (found.signal, found.neither) == (Signal.OTHER_FAILURE, True)
    assert found.reason.startswith("s: iops = 700; it is compared with the good end's")
    silent = read(ended(StepFacts("s", 0.0, 1.0, done=True, exit=0)), question)
    assert silent.reason == "s gave no number iops"


def test_only_an_emulated_vm_counts_instructions() -> None:
    bad = {"b": {"value": {"load": {"x": 1}}}}
    recipe, found = parse({**BASE, "bad_when": bad, "vm": {"icount": True}})
    assert recipe is not None and not found
    assert plan_for(recipe, Cell("plain")).icount
    _, found = parse({**BASE, "bad_when": bad, "vm": {"icount": True, "accel": "kvm"}})
    assert [".".join(map(str, fault.path)) for fault in found] == ["vm.icount"]
