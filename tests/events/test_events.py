# SPDX-License-Identifier: GPL-2.0-only
"""Events: whole lines of JSON, enough to draw a dashboard, and never a reason for a campaign to end."""

import json
import re
import shutil
import threading
from pathlib import Path

import pytest

from bisector.cli import main
from bisector.errors import InfraError, UsageError
from bisector.events import SCHEMA, EventLog, watched
from bisector.execute.work import Work
from bisector.exitcodes import ExitCode
from bisector.interfaces import Phase, Progress, with_context
from tests.report import case

ROOT = Path(__file__).parents[2]


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_verdicts_and_trials_carry_their_figures(tmp_path: Path) -> None:
    path = tmp_path / "events"
    log = EventLog(path, clock=lambda: 1000.5)
    log.listen(Progress(Phase.TRIAL, "detail", trial=case.PROOF_BAD.trials[0]))
    log.listen(Progress(Phase.VERDICT, "detail", judgement=case.PROOF_BAD))
    trial, verdict = read(path)
    assert (trial["schema"], trial["at"], trial["event"], trial["signal"]) == (SCHEMA, 1000.5, "trial", "reproduced")
    assert (trial["condition"], trial["seconds"], trial["revision"]) == ("leg-failed", 12.3, case.CULPRIT.oid)
    assert (verdict["verdict"], verdict["reproduced"], verdict["conclusive"]) == ("bad", 6, 6)


def test_a_phase_that_goes_on_is_reported_once_a_second(tmp_path: Path) -> None:
    path = tmp_path / "events"
    now = [0.0]
    log = EventLog(path, clock=lambda: now[0])
    for step in range(50):
        now[0] = step / 10
        log.listen(Progress(Phase.BUILD, "drivers/md", step / 50))
    assert [event["at"] for event in read(path)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    log.listen(Progress(Phase.STAGE, "one"))
    log.listen(Progress(Phase.STAGE, "two"))
    assert [event["detail"] for event in read(path)][-2:] == ["one", "two"]


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events"
    log = EventLog(path)
    threads = [
        threading.Thread(target=lambda: [log.write("x", text="é" * 500) for _ in range(50)]) for _ in range(8)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(path)) == 400


def test_both_listeners_hear_it(tmp_path: Path) -> None:
    heard: list[Progress] = []
    path = tmp_path / "events"
    EventLog(path).beside(heard.append)(Progress(Phase.STAGE, "x"))
    assert len(heard) == len(read(path)) == 1


def test_a_command_is_framed_by_begin_and_end(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with watched(path, "run", recipe="r") as log:
        log.write("outcome", kind="culprit")
    with pytest.raises(InfraError), watched(path, "run"):
        raise InfraError("QEMU was killed", hint="see the log")
    with pytest.raises(KeyboardInterrupt), watched(path, "run"):
        raise KeyboardInterrupt
    records = read(path)
    assert [event["event"] for event in records] == ["begin", "outcome", "end", "begin", "end", "begin", "end"]
    assert records[0]["recipe"] == "r"
    assert (records[4]["error"], records[4]["exit_code"]) == ("QEMU was killed", 3)
    assert records[6]["exit_code"] == 130


def test_a_file_that_cannot_be_opened_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--events"), watched(tmp_path / "none" / "events", "run"):
        pass


def test_a_full_disk_ends_the_events_and_not_the_campaign() -> None:
    log = EventLog(Path("/dev/full"))
    for _ in range(3):
        log.listen(Progress(Phase.STAGE, "x"))
    log.close()


def test_nobody_watching_costs_nothing_and_leaves_nothing() -> None:
    with watched(None, "run") as log:
        log.listen(Progress(Phase.STAGE, "x"))


def test_end_always_tells_the_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with watched(path, "run"):
        pass
    with watched(path, "test") as log:
        log.exit_code = ExitCode.BAD
    with pytest.raises(ZeroDivisionError), watched(path, "run"):
        raise ZeroDivisionError
    assert [event["exit_code"] for event in read(path) if event["event"] == "end"] == [0, 1, 3]


def test_an_event_says_where_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "events"
    heard = with_context(EventLog(path).listen, campaign="c-1", recipe="legs", stage="ends")
    heard(Progress(Phase.VERDICT, "detail", judgement=case.PROOF_BAD, stage="proof"))
    heard(Progress(Phase.STAGE, "detail"))
    EventLog(path).listen(Progress(Phase.STAGE, "nowhere"))
    records = [[event.get(name) for name in ("campaign", "recipe", "stage")] for event in read(path)]
    assert records == [["c-1", "legs", "proof"], ["c-1", "legs", "ends"], [None, None, None]]


def test_an_event_says_which_slot_and_machine_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "events"
    log = EventLog(path, clock=lambda: 1.0)
    for work in (Work("trial 1"), Work("trial 2"), Work("trial 1", "rack3")):
        heard = with_context(log.listen, candidate="v6.18", work=work)
        for phase in (Phase.BOOT, Phase.BOOT, Phase.FREE):
            heard(Progress(phase))
    events = [[event[name] for name in ("event", "candidate", "slot", "worker")] for event in read(path)]
    assert events == [
        [event, "v6.18", slot, worker]
        for slot, worker in (("trial 1", ""), ("trial 2", ""), ("trial 1", "rack3"))
        for event in ("boot", "free")
    ]


def test_each_time_that_a_slot_is_taken_is_an_event_however_short_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events"
    log = EventLog(path, clock=lambda: 1.0)
    heard = with_context(log.listen, work=Work("trial 1"))
    for phase in (Phase.TAKEN, Phase.BOOT, Phase.FREE) * 3:
        heard(Progress(phase))
    assert [event["event"] for event in read(path) if event["event"] != "boot"] == ["taken", "free"] * 3


def test_an_outcome_carries_its_culprit(tmp_path: Path) -> None:
    path = tmp_path / "events"
    EventLog(path).listen(Progress(Phase.OUTCOME, "detail", outcome=case.OUTCOMES["culprit"]))
    (records,) = read(path)
    assert (records["kind"], records["culprit"]) == ("culprit", case.CULPRIT.oid)


@pytest.mark.parametrize("command", [["test", "nosuch"], ["replay", "nosuch", "1"]])
def test_what_runs_trials_takes_events(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--events", "events.jsonl"]) != 0
    assert "No such option" not in capsys.readouterr().err


SHELL = """\
recipe: shell
target: {qemu: {build: [qemu-img]}}
vm: none
steps:
  - say: {run: ['true']}
bad_when: {failed: {exit: {say: 3}}}
good_when: {passed: {exit: {say: 0}}}
"""


def test_a_test_and_its_replay_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On real programs in a real sandbox: no VM is needed to see what is written."""
    if not shutil.which("qemu-img"):
        pytest.skip("no qemu-img here")
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    recipe, path = tmp_path / "shell.yaml", tmp_path / "events"
    recipe.write_text(SHELL)
    assert main(["test", str(recipe), "--trials", "1", "--events", str(path)]) == 0
    records = read(path)
    assert (records[0]["event"], records[0]["command"], records[0]["recipe"]) == ("begin", "test", "shell")
    assert (records[-1]["event"], records[-1]["exit_code"]) == ("end", 0)
    (trial,) = [event for event in records if event["event"] == "trial"]
    assert (trial["signal"], trial["stage"], trial["recipe"]) == ("clean", "test", "shell")
    path.unlink()
    assert main(["replay", str(trial["campaign"]), str(trial["number"]), "--events", str(path)]) == 0
    records = read(path)
    assert (records[0]["command"], records[0]["step"], records[-1]["exit_code"]) == ("replay", trial["number"], 0)
    assert [event["signal"] for event in records if event["event"] == "trial"] == ["clean"]


NEITHER = """\
recipe: neither
target: {qemu: {build: [qemu-img]}}
vm: none
trials: 5
steps:
  - say: {run: [sh, -c, 'exit 5']}
bad_when: {failed: {exit: {say: 3}}}
good_when: {passed: {exit: {say: 0}}}
matrix:
  steps.say.run: [[sh, -c, 'exit 5'], [sh, -c, 'exit 6'], [sh, -c, 'exit 7']]
"""


@pytest.mark.parametrize(("bound", "each"), [("1", 1), ("2", 2), ("0", 3)])
def test_no_more_trials_run_than_a_test_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bound: str, each: int
) -> None:
    """Of each cell, also where none of them is bad or good; the recipe's own number is one of clean trials."""
    if not shutil.which("qemu-img"):
        pytest.skip("no qemu-img here")
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    recipe, path = tmp_path / "neither.yaml", tmp_path / "events"
    recipe.write_text(NEITHER)
    assert main(["test", str(recipe), "--trials", bound, "--trials-at-once", "2", "--events", str(path)]) != 0
    trials = [event for event in read(path) if event["event"] in ("trial", "workload", "taken")]
    begun = [event for event in trials if event["event"] == "taken" and event["slot"].startswith("trial")]
    assert len([event for event in trials if event["event"] == "trial"]) == 3 * each
    if bound != "0":
        assert len(begun) == 3 * each, "none ran ahead beyond it"
    if bound == "1":
        verdicts = [event["reason"] for event in read(path) if event["event"] == "verdict"]
        said = "1 trial ended in another failure, and no more than 1 is run"
        assert len(verdicts) == 3 and all(reason.startswith(said) for reason in verdicts)


def test_every_phase_is_documented_as_an_event() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reports.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in Phase if name not in rows] == []
