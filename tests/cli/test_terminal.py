# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees: lines broken at blanks on a terminal, and as they are in a file."""

import io
import re
import threading
import time

import pytest

from bisector.errors import BisectorError
from bisector.execute.work import Work
from bisector.interfaces import Phase, Progress, with_context
from bisector.terminal import Terminal

LONG = "skip (does not boot: crash: Kernel panic - not syncing: the root device came too early, and a good one boots)"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    return {"NO_COLOR": "1", "TERM": "xterm"}


def test_a_long_line_is_broken_at_blanks_and_indented(narrow: dict[str, str]) -> None:
    screen = Screen()
    Terminal(io.StringIO(), screen, narrow).listen(Progress(Phase.VERDICT, f"e8c370797750: {LONG}"))
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()]
    assert len(lines) > 1
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("  → e8c370797750: skip")
    assert all(line.startswith("      ") for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == f"→ e8c370797750: {LONG}"


def test_in_a_file_it_stays_one_line(narrow: dict[str, str]) -> None:
    file = io.StringIO()
    Terminal(io.StringIO(), file, narrow).listen(Progress(Phase.VERDICT, LONG))
    assert file.getvalue() == f"  → {LONG}\n"


def test_what_an_error_tells_to_type_is_not_broken(narrow: dict[str, str]) -> None:
    screen = Screen()
    command = "bisector run " + "--cell guest.drives.vda.aio=native " * 5 + "--resume"
    Terminal(io.StringIO(), screen, narrow).fail(BisectorError("stopped", hint=command))
    assert command in screen.getvalue().replace("\x1b[0m", "")


def test_each_busy_slot_has_a_line_of_at_most_80_columns(narrow: dict[str, str]) -> None:
    screen = Screen()
    terminal = Terminal(io.StringIO(), screen, narrow)
    for number, worker in ((1, ""), (2, ""), (3, "builder.example.org")):
        heard = with_context(terminal.listen, candidate="v6.18", work=Work(f"trial {number}", worker))
        heard(Progress(Phase.BOOT))
        heard(Progress(Phase.WORKLOAD, f"step-{number} {LONG}"))
    until = time.monotonic() + 5
    while "builder.example.org" not in screen.getvalue() and time.monotonic() < until:
        time.sleep(0.05)
    terminal.stop()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    assert all(len(line) <= 80 for line in lines)
    drawn = [line[2:].rstrip() for line in lines if "workload" in line]
    assert any(line.startswith("v6.18: workload 0 s step-2") for line in drawn)
    assert any(line.startswith("v6.18: workload 0 s on builder.example.org step-3") for line in drawn)
    assert screen.getvalue().endswith("\x1b[2K") or "\x1b[?25h" in screen.getvalue()


def test_lines_of_several_threads_are_whole(narrow: dict[str, str]) -> None:
    file = io.StringIO()
    terminal = Terminal(io.StringIO(), file, narrow)

    def talk(number: int) -> None:
        heard = with_context(terminal.listen, candidate="v6.18", work=Work(f"trial {number}"))
        for _ in range(50):
            heard(Progress(Phase.ACCEL, "emulated"))
            heard(Progress(Phase.BOOT))
            heard(Progress(Phase.FREE))
            terminal.listen(Progress(Phase.TRIAL, f"{number} {LONG}"))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = file.getvalue().splitlines()
    assert sorted(set(lines)) == sorted(["  emulated", *(f"    {number} {LONG}" for number in range(8))])
    assert len(lines) == 401


def test_another_machine_says_what_runs_its_vms(narrow: dict[str, str]) -> None:
    file = io.StringIO()
    terminal = Terminal(io.StringIO(), file, narrow)
    for _ in range(2):
        for worker, detail in (("", "emulated"), ("rack3", "KVM")):
            terminal.listen(Progress(Phase.ACCEL, detail, work=Work("trial 1", worker)))
    assert file.getvalue().splitlines() == ["  emulated", "  KVM on rack3"]
