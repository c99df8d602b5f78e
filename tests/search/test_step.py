# SPDX-License-Identifier: GPL-2.0-only
"""The messenger: a verdict only when the campaign said one, and 128 for everything else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import Planted, chain, git

from bisector.exitcodes import GitCode
from bisector.search import step


@pytest.fixture
def bisecting(tmp_path: Path) -> Planted:
    """A work tree in which git bisect waits for a verdict of commit b."""
    repository = Planted(tmp_path / "linux", chain("a", "b", "c"))
    git(repository.folder, "bisect", "start", "--no-checkout", repository.oid["c"], repository.oid["a"])
    return repository


def run_step(folder: Path, *arguments: str) -> int:
    argv = [sys.executable, "-I", "-S", os.fspath(Path(step.__file__)), *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, check=False).returncode


def answered(repository: Planted, answer: Callable[[socket.socket, bytes], None]) -> int:
    """Exit code of a step whose question is dealt with by ``answer``."""
    path = repository.folder / "ask"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as questions:
                answer(connection, questions.readline())

        thread = threading.Thread(target=serve)
        thread.start()
        code = run_step(repository.folder, os.fspath(path))
        thread.join()
    return code


@pytest.mark.parametrize("code", [GitCode.GOOD, GitCode.BAD, GitCode.SKIP])
def test_verdict_is_passed_on(bisecting: Planted, code: GitCode) -> None:
    seen: list[bytes] = []

    def answer(connection: socket.socket, question: bytes) -> None:
        seen.append(question)
        connection.sendall(b"%d\n" % code)

    assert answered(bisecting, answer) == code
    assert seen == [bisecting.oid["b"].encode() + b"\n"]


@pytest.mark.parametrize(
    "said", [b"", b"1", b"12", b"2\n", b"127\n", b"-1\n", b"256\n", b"bad\n", b"\n", b"\xff\n", b"01\n"]
)
def test_everything_else_is_128(bisecting: Planted, said: bytes) -> None:
    assert answered(bisecting, lambda connection, _: connection.sendall(said)) == GitCode.ABORT


def test_nobody_there_is_128(bisecting: Planted, tmp_path: Path) -> None:
    assert run_step(bisecting.folder, os.fspath(tmp_path / "none")) == GitCode.ABORT
    assert run_step(bisecting.folder, os.fspath(tmp_path / "no" / "folder")) == GitCode.ABORT
    assert run_step(bisecting.folder) == GitCode.ABORT


def test_no_bisection_is_128(tmp_path: Path) -> None:
    assert run_step(tmp_path, os.fspath(tmp_path / "ask")) == GitCode.ABORT


def test_numbers_are_those_of_the_table() -> None:
    assert step.ABORT == GitCode.ABORT
    assert {int(word) for word in step.VERDICTS} == {GitCode.GOOD, GitCode.BAD, GitCode.SKIP}
