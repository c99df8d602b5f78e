# SPDX-License-Identifier: GPL-2.0-only
"""The sandbox with the real bubblewrap: what a command inside sees, and what it cannot do."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bisector.system import proc, sandbox
from bisector.system.proc import Processes, ProcessResult, ProgramMissing, SandboxFailed, SandboxUnusable
from bisector.system.sandbox import UNCONFINED, Access, installation


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "records")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def sh(
    processes: Processes, script: str, *writable: Path, readable: tuple[Path, ...] = (), **more: Any
) -> ProcessResult:
    return processes.run(["sh", "-c", script], access=Access(writable, readable), check=False, **more)


def test_a_command_writes_its_folder_and_nothing_else(processes: Processes, work: Path, tmp_path: Path) -> None:
    places = (tmp_path, Path.home(), *map(Path, ("/", "/etc", "/run", "/tmp", "/var/tmp", "/dev/shm")))
    names = [work / "own", *(place / "bisector-test" for place in places)]
    sh(processes, "".join(f"touch {name}; " for name in names), work)
    assert [name for name in names if name.exists()] == [work / "own"]


def test_home_folders_and_what_lies_beside_are_empty(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    path = {"PATH": "/usr/bin:/bin"}  # of a PATH that leads below a home folder those folders alone are seen
    for folder in ("/home", str(Path.home()), "/run", "/tmp", "/var/tmp"):
        assert sh(processes, f"cd {folder} && ls -A", env=path).stdout == "", folder
    assert sh(processes, f"cat {tmp_path}/secret").returncode != 0
    assert sh(processes, f"cat {tmp_path}/secret", readable=(tmp_path,)).stdout == "x"


def test_what_a_command_does_without_is_not_there(processes: Processes) -> None:
    hidden = (Path("/usr/share"), Path("/lib/no-such-folder"), Path("/usr/bin/env"))
    script = ["sh", "-c", "ls -A /usr/share; test -x /usr/bin/env || echo no env"]
    assert processes.run(script, access=Access(hidden=hidden), check=False).stdout == "no env\n"
    assert len(processes.run(script, access=Access(), check=False).stdout.splitlines()) > 1


def test_what_is_readable_is_not_writable(processes: Processes, work: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert sh(processes, f"echo y >{tmp_path}/secret", work, readable=(tmp_path,)).returncode != 0
    assert sh(processes, "touch inner", work, readable=(tmp_path,), cwd=work).returncode == 0
    assert (tmp_path / "secret").read_text() == "x" and (work / "inner").exists()


def test_there_is_no_network(processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        argv = ["/usr/bin/python3", "-c", script]
        assert processes.run(argv, access=Access(), check=False).returncode == 1
        assert processes.run(argv, access=sandbox.HOST, check=False).returncode == 0


def test_sockets_of_the_host_are_not_there(processes: Processes, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract:
        named.bind(str(tmp_path / "socket"))
        named.listen()
        abstract.bind("\0bisector-test-sandbox")
        abstract.listen()
        for name in (str(tmp_path / "socket"), "\\0bisector-test-sandbox"):
            script = f"import socket; socket.socket(socket.AF_UNIX).connect('{name}')"
            finished = processes.run(["/usr/bin/python3", "-c", script], access=Access(), check=False)
            assert finished.returncode == 1, finished


def test_processes_of_the_host_are_not_seen_and_none_stays(processes: Processes) -> None:
    lasting = f"{20000 + os.getpid()}"
    finished = sh(processes, f"setsid sleep {lasting} >/dev/null 2>&1 & ls -d /proc/[0-9]* | wc -l")
    assert int(finished.stdout) < 8
    time.sleep(0.1)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [command for command in commands if lasting.encode() in command]


def test_no_privilege_is_left(processes: Processes) -> None:
    said = sh(processes, "grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status; echo 1 >/proc/sys/kernel/panic")
    assert said.stdout.split() == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    assert "/proc/sys/kernel/panic" in said.stderr


def test_our_environment_stays_outside(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    names = {line.partition("=")[0] for line in sh(processes, "env").stdout.splitlines()}
    assert names <= {*sandbox.CLEAN, "HOME", "TMPDIR", "PWD", "BISECTOR_PROCESS", "_", "SHLVL", "OLDPWD"}
    assert sh(processes, "echo $HOME; touch $HOME/x $TMPDIR/y && echo ok").stdout == "/tmp\nok\n"


def test_exit_codes_and_signals_come_through(processes: Processes) -> None:
    assert sh(processes, "exit 7").returncode == 7
    assert sh(processes, "kill -9 $$").returncode == -9
    with pytest.raises(ProgramMissing, match="no-such-program"):
        processes.run(["no-such-program"], access=Access())


def test_a_sandbox_that_cannot_be_set_up_is_no_exit_code(processes: Processes, work: Path) -> None:
    """An exit code would be taken for the candidate's."""
    with pytest.raises(SandboxFailed) as caught:
        sh(processes, "true", work / "not-there")
    assert "Can't find source path" in caught.value.hint and "--no-sandbox" in caught.value.hint


def test_a_time_limit_ends_everything_inside(processes: Processes) -> None:
    lasting = f"{30000 + os.getpid()}"
    with pytest.raises(proc.ProcessTimeout):
        sh(processes, f"setsid sleep {lasting} & sleep 60", timeout=1.0)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [command for command in commands if lasting.encode() in command]


def test_without_bubblewrap_nothing_runs_and_the_way_out_is_named(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, work: Path
) -> None:
    monkeypatch.setattr(proc, "find_program", lambda: "")
    with pytest.raises(SandboxUnusable) as caught:
        sh(processes, "touch ran", work, cwd=work)
    assert "apt-get install bubblewrap" in caught.value.hint and "--no-sandbox" in caught.value.hint
    assert not (work / "ran").exists()


def test_a_bubblewrap_that_fails_is_reported_in_its_words(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(proc, "find_program", lambda: str(broken))
    with pytest.raises(SandboxUnusable, match="No permissions to create new namespace"):
        sh(processes, "true")


def test_without_the_sandbox_a_command_runs_as_it_is(processes: Processes, tmp_path: Path) -> None:
    """What the person allows by --no-sandbox."""
    open_ = replace(processes, sandbox=UNCONFINED)
    assert sh(open_, f"touch {tmp_path}/ran").returncode == 0
    assert (tmp_path / "ran").exists()


def test_a_python_below_a_home_folder_runs_inside(processes: Processes) -> None:
    access = Access(readable=installation(sys.executable))
    finished = processes.run([sys.executable, "-c", "import json; print('ok')"], access=access)
    assert finished.stdout == "ok\n"


def test_programs_of_path_are_there_wherever_they_lie(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/words").write_text("from beside\n")
    program = tmp_path / "bin/tool"
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/../lib/words"\n')
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    assert processes.run(["tool"], access=Access(), env=env).stdout == "from beside\n"
