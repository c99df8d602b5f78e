# SPDX-License-Identifier: GPL-2.0-only
"""The agent as it is started, without a VM: a plan goes in, a result comes out."""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from drive_vm import prepare
from hypothesis import given
from hypothesis import strategies as st

from bisector.agent.command import fill
from bisector.agent.device_io import device_io, pattern
from bisector.agent.plan import LEFT_OUT, File, Guest, Io, Layer, Plan, Result, Step
from bisector.agent.steps import issued
from bisector.codec import dump, load

SANDBOX = Plan(steps=(), vm=False, token="t0k", seed=7)


def run(plan: Plan, folder: Path, environ: dict[str, str] | None = None) -> tuple[Result, list[str]]:
    shared = prepare(plan, folder)
    argv = [sys.executable, "-I", "-S", str(shared / "bisector/agent/main.py"), str(shared)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert ended.stderr == ""
    return load(Result, (shared / "result.json").read_bytes()), ended.stdout.splitlines()


def test_a_daemon_that_goes_on_printing_does_not_hold_its_step(tmp_path: Path) -> None:
    daemon = "(while :; do echo FAILED; done) & echo done; exit 3"
    steps = (Step("leaves", "run", argv=("sh", "-c", daemon)), Step("next", "run", argv=("echo", "next")))
    result, _ = run(replace(SANDBOX, deadline=30.0, steps=steps), tmp_path)
    leaves, following = result.steps
    assert (leaves.done, leaves.exit) == (True, 3)
    assert leaves.ended - leaves.started < 10
    assert (following.done, following.exit, following.detail) == (True, 0, "next\n")
    assert result.complete


@pytest.mark.parametrize(("keep", "kept"), [(0, 4096), (1 << 16, 1 << 16)])
def test_of_much_output_the_end_is_kept_and_said_to_be_the_end(tmp_path: Path, keep: int, kept: int) -> None:
    lines = "i=0; while [ $i -lt 20000 ]; do echo not ok $i; i=$((i+1)); done"
    result, _ = run(replace(SANDBOX, steps=(Step("say", "run", argv=("sh", "-c", lines), keep=keep),)), tmp_path)
    detail = result.steps[0].detail
    assert detail.startswith(LEFT_OUT) and len(detail) == len(LEFT_OUT) + kept
    assert detail.endswith("not ok 19999\n")
    assert not any(line.startswith("ok") for line in detail.splitlines())
    assert (result.steps[0].done, result.steps[0].exit) == (True, 0)


def test_output_that_is_kept_whole_is_not_said_to_be_cut(tmp_path: Path) -> None:
    whole = "i=0; while [ $i -lt 1024 ]; do printf 'abc\n'; i=$((i+1)); done"
    result, _ = run(replace(SANDBOX, steps=(Step("say", "run", argv=("sh", "-c", whole)),)), tmp_path)
    assert result.steps[0].detail == "abc\n" * 1024


def test_program_of_the_recipe_runs_with_placeholders_and_seed(tmp_path: Path) -> None:
    script = tmp_path / "say.sh"
    script.write_text('#!/bin/sh\necho "$@" $BISECTOR_SEED; test -f "$2"; echo $?; exit 3\n')
    script.chmod(0o755)
    plan = replace(
        SANDBOX,
        layers=(Layer("img", "file", "raw", size=4096),),
        files=(File("say.sh", str(script), ""),),
        steps=(Step("say", "run", argv=("./say.sh", "{seed}", "{img}", "{unknown}")),),
    )
    result, console = run(plan, tmp_path)
    step = result.step("say")
    assert step is not None
    assert (step.done, step.exit) == (True, 3)
    image = tmp_path / "shared/work/img.raw"
    assert step.detail == f"7 {image} {{unknown}} 7\n0\n"
    assert result.complete
    assert result.fault is None
    assert console == [
        "bisector t0k begin",
        "bisector t0k storage",
        "bisector t0k step say begin",
        "bisector t0k step say end",
        "bisector t0k end",
    ]


def test_direct_read_and_write_are_counted(tmp_path: Path) -> None:
    plan = replace(
        SANDBOX,
        layers=(Layer("img", "file", "raw", size=16384),),
        steps=(
            Step("write", "io", ("img",), io=Io("write", 4096, 4, flush=True)),
            Step("read", "io", ("img",), io=Io("read", 4096, 6)),
            Step("again", "io", ("img",), io=Io("read", 4096, 1), seconds=0.2),
        ),
    )
    result, _ = run(plan, tmp_path)
    write, read, again = (result.step(name) for name in ("write", "read", "again"))
    assert write is not None and (write.count, write.failed, write.errno, write.exit) == (4, 0, "", 0)
    assert read is not None and (read.count, read.failed, read.errno, read.exit) == (4, 2, "", 1)
    assert read.detail == "at 16384: 0 of 4096 bytes"
    assert again is not None and again.count > 1
    assert round(again.ended - again.started, 3) >= 0.2  # both are rounded to milliseconds
    assert any((tmp_path / "shared/work/img.raw").read_bytes())


def test_errno_of_each_failed_read_is_counted_and_the_first_named(tmp_path: Path) -> None:
    seen = device_io(str(tmp_path), Io("read", 512, 2))  # a folder opens, and no read of it succeeds
    assert (seen.errno, seen.count, seen.failed) == ("EISDIR", 0, 2)
    assert seen.detail == "at 0: Is a directory"


def test_node_that_does_not_open_is_reported_by_its_errno(tmp_path: Path) -> None:
    seen = device_io(str(tmp_path / "nothing"), Io("write", 512))
    assert (seen.errno, seen.count, seen.failed) == ("ENOENT", 0, 1)


@given(block=st.integers(1, 10000), offset=st.integers(0, 5000), count=st.integers(1, 3))
def test_buffer_anywhere_in_a_page_moves_the_same_bytes(block: int, offset: int, count: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        wrote = device_io(file.name, Io("write", block, count, buffer_offset=offset, flush=True))
        read = device_io(file.name, Io("read", block, count, buffer_offset=offset))
        assert Path(file.name).read_bytes() == pattern(block) * count
    assert (wrote.count, wrote.failed, read.count, read.failed) == (count, 0, count, 0)


def test_step_that_hangs_ends_at_the_deadline(tmp_path: Path) -> None:
    steps = (Step("sleep", "run", argv=("sleep", "600")), Step("after", "run", argv=("true",)))
    started = time.monotonic()
    result, console = run(replace(SANDBOX, steps=steps, deadline=1.0), tmp_path)
    assert time.monotonic() - started < 10
    step = result.step("sleep")
    assert step is not None
    assert (step.done, step.exit) == (False, None)
    assert result.step("after") is None
    assert not result.complete
    assert [event.name for event in result.events] == ["deadline"]
    assert console[-1] == "bisector t0k end"


def test_background_child_does_not_hold_a_step(tmp_path: Path) -> None:
    steps = (Step("daemon", "run", argv=("sh", "-c", "sleep 5 & exit 4")),)
    started = time.monotonic()
    result, _ = run(replace(SANDBOX, steps=steps), tmp_path)
    step = result.step("daemon")
    assert step is not None and step.exit == 4
    assert time.monotonic() - started < 4


def test_killed_program_shows_its_signal(tmp_path: Path) -> None:
    steps = (Step("die", "run", argv=("sh", "-c", "kill -SEGV $$")),)
    step = run(replace(SANDBOX, steps=steps), tmp_path)[0].step("die")
    assert step is not None and step.exit == -11


@pytest.mark.parametrize(
    ("changes", "stage", "words"),
    [
        ({"steps": (Step("v", "verify", ("img",)),)}, "step", "nothing that was stamped lies on img"),
        ({"steps": (Step("v", "polish", ("img",)),)}, "plan", "not supported by this version"),
        ({"steps": (Step("x", "io", ("nowhere",), io=Io("read", 512)),)}, "plan", "no layer nowhere"),
        ({"steps": (Step("x", "run", argv=("no-such-program",)),)}, "tools", "no-such-program is not installed"),
        ({"steps": (Step("x", "run", argv=("./no-such-file",)),)}, "tools", "./no-such-file cannot be run"),
        ({"steps": (Step("x", "run", argv=("/etc/passwd",)),)}, "tools", "/etc/passwd cannot be run"),
        ({"steps": (Step("x", "start"),)}, "plan", "the plan has none"),
        ({"layers": (Layer("d", "disk", "nvme"),)}, "plan", "without a VM"),
        ({"vm": True}, "plan", "this is none"),
        ({"guest": Guest(os="image")}, "plan", "the guest's image is not in the shared folder"),
    ],
)
def test_what_cannot_be_done_is_a_named_fault(
    tmp_path: Path, changes: dict[str, object], stage: str, words: str
) -> None:
    result, _ = run(replace(SANDBOX, **changes), tmp_path)  # type: ignore[arg-type]
    assert result.fault is not None
    assert result.fault.stage == stage
    assert words in result.fault.message
    assert not result.complete


def test_plan_that_is_not_one_is_a_fault(tmp_path: Path) -> None:
    shared = prepare(SANDBOX, tmp_path)
    (shared / "plan.json").write_text("{")
    argv = [sys.executable, "-I", "-S", str(shared / "bisector/agent/main.py"), str(shared)]
    subprocess.run(argv, capture_output=True, timeout=60, check=True)
    result = load(Result, (shared / "result.json").read_bytes())
    assert result.fault is not None and result.fault.stage == "plan"


def test_missing_tool_is_a_fault_of_the_tools(tmp_path: Path) -> None:
    shared = prepare(replace(SANDBOX, guest=Guest()), tmp_path)
    text = (shared / "bisector/agent/command.py").read_text()
    head = text.index("TOOL_FOLDERS = ")
    end = text.index("\n", head)
    (shared / "bisector/agent/command.py").write_text(text[:head] + "TOOL_FOLDERS = ()" + text[end:])
    argv = [sys.executable, "-I", "-S", str(shared / "bisector/agent/main.py"), str(shared)]
    subprocess.run(argv, capture_output=True, timeout=60, check=True, env={"PATH": "/nonexistent"})
    result = load(Result, (shared / "result.json").read_bytes())
    assert result.fault is not None and result.fault.stage == "tools"
    assert "qemu-system-x86_64 is not installed" in result.fault.message


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
class TestOpenOnlyGuest:
    def plan(self, **drive: object) -> Plan:
        from bisector.agent.plan import Drive

        guest = Guest(drives=(Drive("vda", "img", **drive),))  # type: ignore[arg-type]
        return replace(
            SANDBOX, layers=(Layer("img", "file", "raw", size=1 << 20),), guest=guest, steps=(Step("probe", "start"),)
        )

    def test_qemu_opens_the_drive_and_is_quit(self, tmp_path: Path) -> None:
        result, _ = run(self.plan(cache_direct=False), tmp_path)
        step = result.step("probe")
        assert step is not None
        assert (step.done, step.exit, step.count) == (True, 0, 1), step
        assert [event.name for event in result.events] == ["SHUTDOWN"]
        assert result.fault is None

    def test_refused_options_are_an_observation_and_no_fault(self, tmp_path: Path) -> None:
        result, _ = run(self.plan(aio="native", cache_direct=False), tmp_path)
        step = result.step("probe")
        assert step is not None
        assert (step.done, step.exit, step.count) == (True, 1, 0)
        assert "cache.direct=on" in step.detail
        assert "cache.direct=on" in (tmp_path / "shared/qemu.log").read_text()
        assert result.fault is None
        assert result.complete


@given(st.integers(), st.text(max_size=20))
def test_probability_is_decided_by_seed_and_step(seed: int, name: str) -> None:
    step = Step(name, "run", probability=0.5)
    assert issued(step, seed) == issued(step, seed)
    assert issued(replace(step, probability=1.0), seed)
    assert not issued(replace(step, probability=0.0), seed)


def test_half_of_the_seeds_issue_a_step_of_one_half() -> None:
    step = Step("probe", "run", probability=0.5)
    assert 400 < sum(issued(step, seed) for seed in range(1000)) < 600


def test_step_left_out_says_so(tmp_path: Path) -> None:
    steps = (Step("flaky", "run", argv=("false",), probability=0.0),)
    step = run(replace(SANDBOX, steps=steps), tmp_path)[0].step("flaky")
    assert step is not None
    assert (step.skipped, step.done, step.exit, step.errno) == (True, True, 0, "")


def test_a_program_that_is_missing_is_found_before_anything_is_made(tmp_path: Path) -> None:
    steps = (Step("first", "run", argv=("touch", "made")), Step("second", "run", argv=("no-such-program", "x")))
    layers = (Layer("img", "file", "raw", size=1 << 20),)
    result, _ = run(replace(SANDBOX, layers=layers, steps=steps), tmp_path)
    assert result.fault is not None and result.fault.stage == "tools"
    assert "step second: no-such-program is not installed" in result.fault.message
    assert (result.steps, result.layers) == ((), ())


def test_a_program_on_the_storage_under_test_that_is_gone_is_no_fault_of_the_tools(tmp_path: Path) -> None:
    layers = (Layer("img", "file", "raw", size=1 << 20),)
    result, _ = run(replace(SANDBOX, layers=layers, steps=(Step("x", "run", argv=("{img}",)),)), tmp_path)
    assert result.fault is not None and result.fault.stage == "step"


def test_braces_that_name_nothing_stay() -> None:
    assert fill(("awk", "{print $1}", "{img}"), {"img": "/x"}) == ["awk", "{print $1}", "/x"]


names = st.text("abcdefgh", min_size=1, max_size=5)
layers = st.builds(
    Layer, names, names, names, st.lists(names).map(tuple), st.integers(0, 2**62), st.just((("a", "b"),))
)
steps = st.builds(
    Step,
    names,
    names,
    seconds=st.floats(0, 86400),
    io=st.none() | st.builds(Io, names, st.integers(1, 2**62)),
    probability=st.floats(0, 1),
)
plans = st.builds(
    Plan,
    st.lists(steps).map(tuple),
    layers=st.lists(layers).map(tuple),
    guest=st.none() | st.builds(Guest, storage=st.lists(layers).map(tuple)),
    token=st.text(),
)


@given(plans)
def test_plan_survives_the_wall(plan: Plan) -> None:
    assert load(Plan, dump(plan)) == plan
    assert replace(plan, seed=5, token="other").identity() == plan.identity()
