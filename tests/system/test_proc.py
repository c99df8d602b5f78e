# SPDX-License-Identifier: GPL-2.0-only
"""Processes under their guard, as real processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bisector.errors import InfraError
from bisector.system import records
from bisector.system.proc import (
    ProcessCancelled,
    Processes,
    ProcessFailed,
    ProcessTimeout,
    ProgramMissing,
)
from bisector.system.sandbox import HOST


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path / "records")


def alive(marker: str) -> list[int]:
    """Living processes whose command line holds ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if marker.encode() in line and state != b"Z":
                found.append(int(entry.name))
    return found


def wait_for(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[str]:
    """A word in the command line of every process of a test; whatever it leaves is ended."""
    word = f"marker-{tmp_path.name}-{os.getpid()}"
    yield word
    for pid in alive(word):
        os.kill(pid, signal.SIGKILL)


FAMILY = """
import os, signal, subprocess, sys, time
marker = sys.argv[1]
stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn, marker])
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", marker], start_new_session=True)
subprocess.Popen(["/bin/sh", "-c", f"sh -c 'sleep 600; : {marker}' & setsid sh -c 'sleep 600; : {marker}' & exit 0"])
print("family is there", flush=True)
time.sleep(float(sys.argv[2]))
"""  # a child that ignores SIGTERM, one in a session of its own, and orphans of both kinds


def family(marker: str, seconds: float) -> list[str]:
    return [sys.executable, "-c", FAMILY, marker, str(seconds)]


def test_exit_code_output_and_argv_come_back(processes: Processes) -> None:
    finished = processes.run(["sh", "-c", "echo out; echo err >&2; exit 7"], access=HOST, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (7, "out\n", "err\n")
    assert finished.argv[0] == "sh"
    assert finished.seconds > 0


def test_failure_is_an_error_that_shows_the_last_lines(processes: Processes) -> None:
    with pytest.raises(ProcessFailed) as caught:
        processes.run(["sh", "-c", "echo no such thing >&2; exit 3"], access=HOST)
    assert "exit code 3" in caught.value.what
    assert caught.value.hint == "no such thing"
    assert caught.value.finished.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_distinguished_from_an_exit_code(processes: Processes, number: signal.Signals) -> None:
    assert processes.run(["sh", "-c", f"kill -{int(number)} $$"], access=HOST, check=False).returncode == -number


def test_a_program_that_is_not_there_is_named(processes: Processes) -> None:
    with pytest.raises(ProgramMissing, match="no-such-program-at-all") as caught:
        processes.run(["no-such-program-at-all"], access=HOST)
    assert "PATH" in caught.value.hint


def test_stdin_is_empty_unless_given(processes: Processes) -> None:
    assert processes.run(["cat"], access=HOST).stdout == ""
    assert processes.run(["wc", "-c"], access=HOST, stdin="x" * 3_000_000).stdout.strip() == "3000000"


def test_input_that_nobody_reads_does_not_block(processes: Processes) -> None:
    assert processes.run(["true"], access=HOST, stdin="x" * 3_000_000).returncode == 0


def test_environment_and_folder_are_the_ones_given(processes: Processes, tmp_path: Path) -> None:
    finished = processes.run(
        ["sh", "-c", "pwd; env"], access=HOST, cwd=tmp_path, env={"PATH": os.environ["PATH"], "ONLY": "ä"}
    )
    lines = set(finished.stdout.splitlines())
    assert str(tmp_path) in lines
    assert "ONLY=ä" in lines
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert names <= {"PATH", "ONLY", "PWD", "OLDPWD", "SHLVL", "_", records.TOKEN}


@pytest.fixture
def ignored() -> Iterator[None]:
    """Signals that we ignore, as a job in the background of a script does."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGQUIT, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("ignored")
def test_signals_are_as_a_shell_would_set_them(processes: Processes) -> None:
    status = processes.run(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"], access=HOST).stdout.split()
    # glibc keeps signals 32 and 33 for its threads: no program can set them, they stay as whoever started us left them.
    settable = ~(1 << 31 | 1 << 32)
    assert [int(mask, 16) & settable for mask in status[1::2]] == [0, 0]


def test_timeout_ends_the_whole_tree(processes: Processes, marker: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ProcessTimeout, match=r"within 1\.5 s"):
        processes.run(family(marker, 600), access=HOST, timeout=1.5)
    assert time.monotonic() - begin < 6
    assert alive(marker) == []


def test_a_wish_to_stop_ends_the_whole_tree(processes: Processes, marker: str) -> None:
    seen: list[str] = []
    begin = time.monotonic()
    with pytest.raises(ProcessCancelled) as caught:
        processes.run(family(marker, 600), access=HOST, cancelled=lambda: bool(seen), on_line=seen.append)
    assert seen == ["family is there"]
    assert caught.value.exit_code == 130
    assert time.monotonic() - begin < 5
    assert alive(marker) == []


def test_what_a_command_leaves_behind_ends_with_it(processes: Processes, marker: str) -> None:
    processes.run(family(marker, 0), access=HOST)
    assert alive(marker) == []


def test_an_error_of_the_reader_ends_the_tree(processes: Processes, marker: str) -> None:
    def fail(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError, match="family is there"):
        processes.run(family(marker, 600), access=HOST, on_line=fail)
    assert alive(marker) == []
    assert list(processes.records.iterdir()) == []


def owner(records_folder: Path, marker: str) -> subprocess.Popen[str]:
    """A process that owns a running family."""
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from bisector.system.proc import Processes
        from bisector.system.sandbox import HOST
        printed = lambda line: print(line, flush=True)
        Processes(Path({str(records_folder)!r})).run({family(marker, 600)!r}, access=HOST, on_line=printed)
    """)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "family is there\n"
    return child


def test_kill_9_of_the_owner_leaves_no_descendant(processes: Processes, marker: str) -> None:
    child = owner(processes.records, marker)
    assert wait_for(lambda: len(alive(marker)) > 4)
    child.kill()
    child.wait()
    assert wait_for(lambda: len(alive(marker)) == 0, seconds=2.0)


def test_reap_ends_what_outlived_owner_and_guard(processes: Processes, marker: str) -> None:
    child = owner(processes.records, marker)
    (path,) = processes.records.glob("*.json")
    guard = json.loads(path.read_text())["pid"]
    os.kill(guard, signal.SIGSTOP)  # neither sees the other's death
    child.kill()
    child.wait()
    os.kill(guard, signal.SIGKILL)
    assert wait_for(lambda: records.start_time(guard) is None)
    left = alive(marker)
    assert left, "the command itself dies with its guard, its descendants need the reaping"
    assert set(left) <= set(processes.reap_orphans())
    assert alive(marker) == []
    assert list(processes.records.iterdir()) == []


def test_reap_leaves_living_owners_and_strangers_alone(processes: Processes, marker: str, tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        with processes.start(["sh", "-c", f"sleep 600; : {marker}"], access=HOST) as child:
            (path,) = processes.records.glob("*.json")
            record = json.loads(path.read_text())
            earlier = (records.start_time(stranger.pid) or 0) - 1  # the pid was used again since
            forged = {**record, "pid": stranger.pid, "started": earlier, "owner": 2**22 + 1, "token": "of nobody"}
            (processes.records / "forged.json").write_text(json.dumps(forged))
            (processes.records / "torn.json").write_text('{"pid": 1')
            assert [left.name for left in records.left_behind(processes.records)] == ["forged.json"]
            assert processes.reap_orphans() == ()
            assert child.poll() is None
            assert stranger.poll() is None
            assert not (processes.records / "forged.json").exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_killed_guard_is_noticed_and_its_tree_ended(processes: Processes, marker: str) -> None:
    with processes.start(["sh", "-c", f"setsid sleep 600 & sleep 600; : {marker}"], access=HOST) as child:
        assert wait_for(lambda: len(alive(marker)) > 0)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(5) == -signal.SIGKILL
    assert alive(marker) == []
    assert list(processes.records.iterdir()) == []


def test_the_record_is_there_while_it_runs_and_gone_after(processes: Processes) -> None:
    with processes.start(["sleep", "600"], access=HOST) as child:
        (path,) = processes.records.glob("*.json")
        record = json.loads(path.read_text())
        assert record["pid"] == child.pid
        assert record["started"] == records.start_time(child.pid)
        assert os.getsid(child.pid) == child.pid
    assert list(processes.records.iterdir()) == []


def test_nothing_starts_that_cannot_be_recorded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match="cannot be recorded"):
        Processes(tmp_path / "file" / "records").run(["touch", str(tmp_path / "ran")], access=HOST)
    assert not (tmp_path / "ran").exists()


def test_fifty_megabytes_of_lines_in_bounded_memory(processes: Processes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = lines = 0

    def count(line: str) -> None:
        nonlocal size, lines
        size += len(line) + 1
        lines += 1

    finished = processes.run(["sh", "-c", "yes 'a line of the flood' | head -c 52428800"], access=HOST, on_line=count)
    assert abs(size - 52428800) <= 1
    assert lines == -(-52428800 // 20)
    assert len(finished.stdout) <= 64 << 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_a_line_without_end_comes_in_pieces(processes: Processes) -> None:
    pieces: list[str] = []
    processes.run(["sh", "-c", "head -c 4194304 /dev/zero | tr '\\0' x"], access=HOST, on_line=pieces.append)
    assert "".join(pieces) == "x" * 4194304
    assert max(map(len, pieces)) <= 64 << 10


def test_the_log_gets_both_streams_and_is_appended_to(processes: Processes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    seen: list[str] = []
    first = processes.run(["sh", "-c", "echo out; echo err >&2"], access=HOST, log=log)
    processes.run(["echo", "again"], access=HOST, log=log, on_line=seen.append)
    assert log.read_text() == "before\nout\nerr\nagain\n"
    assert (first.stdout, seen) == ("", ["again"])


def test_a_log_on_a_full_disk_is_the_harness_failing(processes: Processes) -> None:
    with pytest.raises(InfraError, match="/dev/full cannot be written"):
        processes.run(["yes"], access=HOST, log=Path("/dev/full"), on_line=lambda _: None, timeout=10)


def test_a_child_is_read_through_its_descriptor(processes: Processes) -> None:
    with processes.start(["sh", "-c", "echo one; echo two >&2; exit 4"], access=HOST) as child:
        with os.fdopen(os.dup(child.fd), "rb") as output:
            assert output.read() == b"one\ntwo\n"
        assert child.wait(5) == 4
        assert child.poll() == 4


def test_waiting_has_a_clock(processes: Processes) -> None:
    with processes.start(["sleep", "600"], access=HOST) as child, pytest.raises(TimeoutError):
        child.wait(0.1)


def test_a_terminal_is_a_terminal(processes: Processes) -> None:
    with processes.start(
        ["sh", "-c", "test -t 0 && test -t 1 && tty && stty -a </dev/tty"], access=HOST, terminal=True
    ) as child:
        assert child.wait(5) == 0
        assert os.read(child.fd, 4096).startswith(b"/dev/pts/")


def test_politely_leaves_time_to_clean_up(processes: Processes, tmp_path: Path) -> None:
    trace = tmp_path / "cleaned"
    script = f"trap 'echo >{trace}; exit 9' TERM; echo ready; sleep 600 & wait"
    with processes.start(["sh", "-c", script], access=HOST) as child:
        os.read(child.fd, 100)
        child.kill(politely=True)
        assert child.poll() == 9
    assert trace.exists()
