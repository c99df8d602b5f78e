# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees: lines broken at blanks on a terminal, and as they are in a file."""

import io
import re

import pytest

from bisector.errors import BisectorError
from bisector.interfaces import Phase, Progress
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
