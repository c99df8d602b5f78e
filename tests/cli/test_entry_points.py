# SPDX-License-Identifier: GPL-2.0-only
"""How the command line is reached: as a module, and by a shell that completes its words."""

import os
import subprocess
import sys

import pytest

from bisector.cli import main
from bisector.exitcodes import ExitCode


@pytest.mark.parametrize("module", ["bisector", "bisector.cli"])
def test_runs_as_a_module(module: str) -> None:
    ended = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("bisector ")


def test_a_shell_completes_commands() -> None:
    environ = {**os.environ, "_BISECTOR_COMPLETE": "complete_bash", "COMP_WORDS": "bisector rep", "COMP_CWORD": "1"}
    ended = subprocess.run([sys.executable, "-m", "bisector"], capture_output=True, text=True, env=environ, check=True)
    assert ended.stdout.split() == ["report", "replay"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "x", "--nosuch"], "No such option: --nosuch"),
    ],
)
def test_a_fault_of_the_command_line_speaks_as_every_error(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ExitCode.USAGE
    assert capsys.readouterr().err == f"bisector: {said}\n  'bisector run --help' shows how it is used\n"


def test_without_a_word_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    assert "Commands:" in capsys.readouterr().err


def test_help_imports_neither_the_grammar_nor_what_builds_and_boots() -> None:
    """Each import is paid for by every call; --help took three times as long once."""
    code = "import sys, bisector.cli.app; print(*sorted(name for name in sys.modules if name.startswith('bisector.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "bisector.cli.search" in loaded
    assert not loaded & {"bisector.recipe.model", "bisector.targets", "bisector.session", "bisector.trial.run"}
    assert not loaded & {"bisector.layers", "bisector.model", "bisector.store"}
