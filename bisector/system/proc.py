# SPDX-License-Identifier: GPL-2.0-only
"""Starts every process of the project, each under a guard (``guard.py``) that leaves none of its descendants alive.

A list of arguments, never a shell; stdin from nowhere unless given; output as text, bytes that are no UTF-8 replaced.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shlex
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import InfraError, Interrupted
from bisector.system import records
from bisector.system.output import Output

GUARD = Path(__file__).with_name("guard.py")
TICK = 0.2  # seconds between two looks at the cancel wish
DRAIN = 1.0  # seconds to wait for the end of output once the whole tree is dead


@dataclass(frozen=True)
class Finished:
    """A process that ended. ``returncode``: its exit code, or minus the signal that killed it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def command(self) -> str:
        """The command as one could type it."""
        return shlex.join(self.argv)


class ProcessFailed(InfraError):
    """A process ended with another code than 0."""

    def __init__(self, finished: Finished, what: str = "", *, hint: str = "") -> None:
        code = finished.returncode
        how = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        last = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-5:]
        super().__init__(what or f"{finished.command}: {how}", hint=hint or "\n".join(last))
        self.finished = finished


class ProgramMissing(ProcessFailed):
    """The program could not be started at all."""


class ProcessTimeout(InfraError):
    """A process did not end in time; its tree was killed."""

    def __init__(self, finished: Finished, timeout: float) -> None:
        super().__init__(f"{finished.command}: no end within {timeout:g} s; it was killed")
        self.finished = finished


class ProcessCancelled(Interrupted):
    """A process was ended because somebody asked to stop."""

    def __init__(self, finished: Finished) -> None:
        super().__init__(f"{finished.command}: ended because we were asked to stop")
        self.finished = finished


class Child:
    """A running process tree. ``fd``: its output (stdout and stderr), read by the caller. ``pid``: of its guard.

    With a terminal ``fd`` is the terminal's other side, and reads fail with EIO at the end.
    """

    def __init__(
        self, argv: Sequence[str], guard: subprocess.Popen[bytes], control: socket.socket, record: Path, fd: int = -1
    ) -> None:
        self.argv = tuple(argv)
        self.fd = fd
        self.pid = guard.pid
        self._guard = guard
        self._control = control
        self._record = record
        self._returncode: int | None = None
        self._failure: ProgramMissing | None = None

    def fileno(self) -> int:
        """The socket that becomes readable when the tree has ended; for selectors."""
        return self._control.fileno()

    def poll(self) -> int | None:
        """Exit code (minus the signal) once the whole tree is dead, else None. Raises ProgramMissing."""
        if self._returncode is None and select.select([self._control], [], [], 0)[0]:
            self._collect()
        if self._failure is not None:
            raise self._failure
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code (minus the signal) of the command. Raises TimeoutError after ``timeout`` s, ProgramMissing."""
        if self._returncode is None and not select.select([self._control], [], [], timeout)[0]:
            raise TimeoutError(f"{shlex.join(self.argv)}: still running after {timeout} s")
        code = self.poll()
        assert code is not None
        return code

    def kill(self, *, politely: bool = False) -> None:
        """End the whole tree; returns when it is dead. ``politely``: SIGTERM first, a second for cleaning up."""
        if self._returncode is None:
            with contextlib.suppress(OSError):
                self._control.send(b"t" if politely else b"k")
            self._collect()

    def close(self) -> None:
        """Kill what still runs and close ``fd``. Idempotent."""
        self.kill()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _collect(self) -> None:
        try:
            answer = self._control.recv(256).decode().split()
        except OSError:
            answer = []
        self._guard.wait()
        self._control.close()
        if not answer:  # somebody killed the guard; what it guarded carries our token
            records.reap_one(self._record)
        self._record.unlink(missing_ok=True)
        match answer:
            case ["exit", code]:
                self._returncode = int(code)
            case ["signal", number]:
                self._returncode = -int(number)
            case ["error", code, stage]:
                self._returncode = 127
                self._failure = _missing(self.argv, int(code), stage)
            case _:
                self._returncode = self._guard.returncode or -9


def _missing(argv: tuple[str, ...], code: int, stage: str) -> ProgramMissing:
    reason = os.strerror(code)
    what = f"{argv[0]}: its working folder: {reason}" if stage == "folder" else f"{argv[0]} cannot be started: {reason}"
    hint = f"install {argv[0]} or put it into PATH" if stage == "exec" and code == 2 else ""
    return ProgramMissing(Finished(argv, 127, "", what, 0.0), what, hint=hint)


@dataclass(frozen=True)
class Processes:
    """Starts processes and records them under ``records`` while they live. Picklable; safe to use from threads."""

    records: Path

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> Child:
        """Start a process whose output the caller reads from ``Child.fd``; it may send nothing to it.

        Args:
            env: the whole environment; ours when None.
            terminal: output goes to a new raw terminal, which is also its stdin and its controlling terminal.

        Raises InfraError when it cannot be recorded; a program that does not exist shows at ``poll`` and ``wait``.
        """
        if terminal:
            ours, theirs = pty.openpty()
            tty.setraw(theirs, termios.TCSANOW)
            os.set_inheritable(ours, False)
        else:
            ours, theirs = os.pipe()
        try:
            child = self._launch(argv, cwd, env, theirs if terminal else subprocess.DEVNULL, theirs, theirs, terminal)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        child.fd = ours
        return child

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
        log: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """Run a process to its end.

        Args:
            env: the whole environment; ours when None.
            timeout: seconds.
            check: raise ProcessFailed unless it exits with 0.
            cancelled: asked every 0.2 s; when true the tree is ended.
            log: file to which stdout and stderr are appended; ``Finished`` then holds none of them.
            on_line: sees each line of stdout and stderr (without its end; at most 64 KiB each); ``Finished`` then
                holds the last 64 KiB of each alone, so memory stays bounded.

        Raises ProcessFailed, ProgramMissing, ProcessTimeout, ProcessCancelled; InfraError when it cannot be recorded
        or the log cannot be written; and what ``on_line`` raises. Nothing of the tree is left in any case.
        """
        begin = time.monotonic()
        try:
            output = Output(stdin=stdin, log=log, on_line=on_line)
        except OSError as error:
            raise _log_failed(log, error) from error
        with output, self._launch(argv, cwd, env, *output.ends, False) as child:
            output.started()
            try:
                ending = _follow(child, output, begin, timeout, cancelled)
            except OSError as error:
                raise _log_failed(log, error) from error
            returncode = child.wait()
        stdout, stderr = output.texts()
        finished = Finished(tuple(argv), returncode, stdout, stderr, time.monotonic() - begin)
        if ending == "timeout":
            raise ProcessTimeout(finished, timeout or 0.0)
        if ending == "cancelled":
            raise ProcessCancelled(finished)
        if check and returncode:
            raise ProcessFailed(finished)
        return finished

    def reap_orphans(self) -> tuple[int, ...]:
        """Kill recorded trees whose owner is dead. Returns the pids killed; for a resume."""
        return records.reap(self.records)

    def _launch(
        self,
        argv: Sequence[str],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        stdin: int,
        stdout: int,
        stderr: int,
        terminal: bool,
    ) -> Child:
        token = records.new_token()
        ours, theirs = socket.socketpair()
        with theirs:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", GUARD, str(theirs.fileno())],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd="/",
                env={records.TOKEN: token},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:  # nothing runs unrecorded: the guard waits for the request, and ends when we die before it
            record = records.write(self.records, guard.pid, token, argv[0])
            environment = {**(os.environ if env is None else env), records.TOKEN: token}
            _send(ours, argv, cwd, environment, terminal)
        except OSError as error:
            ours.close()
            guard.wait()
            raise InfraError(
                f"{argv[0]} cannot be recorded in {self.records}: {error.strerror or error}",
                hint="make room on that disk, or give another folder by XDG_STATE_HOME",
            ) from error
        return Child(argv, guard, ours, record)


def _send(
    control: socket.socket, argv: Sequence[str], cwd: Path | None, env: Mapping[str, str], terminal: bool
) -> None:
    fields = ["1" if terminal else "0", os.fspath(cwd.absolute()) if cwd else "", str(len(argv)), *argv]
    request = b"\0".join(_bytes(field) for field in [*fields, *(f"{name}={value}" for name, value in env.items())])
    control.sendall(b"%016x" % len(request) + request)


def _bytes(field: str) -> bytes:
    """As the caller's own file names are written; what his locale has no letters for is not his, and is UTF-8."""
    try:
        return os.fsencode(field)
    except UnicodeEncodeError:
        return field.encode(errors="surrogateescape")


def _follow(
    child: Child, output: Output, begin: float, timeout: float | None, cancelled: Callable[[], bool] | None
) -> str:
    """Move output until the tree is dead. Returns why it ended: "end", "timeout", "cancelled"."""
    ending = "end"
    end = None if timeout is None else begin + timeout
    output.watch(child.fileno())
    while True:
        pause = TICK if end is None else min(TICK, max(0.0, end - time.monotonic()))
        if output.turn(pause):
            break
        if end is not None and time.monotonic() >= end:
            ending = "timeout"
        elif cancelled is not None and cancelled():
            ending = "cancelled"
        if ending != "end":
            child.kill(politely=True)
            break
    output.drain(DRAIN)
    return ending


def _log_failed(log: Path | None, error: OSError) -> InfraError:
    return InfraError(f"the log {log} cannot be written: {error.strerror or error}", hint="make room on that disk")
