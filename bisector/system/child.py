# SPDX-License-Identifier: GPL-2.0-only
"""A process tree that runs, and how it ended. ``proc.py`` starts it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bisector.errors import InfraError
from bisector.system import records
from bisector.system.sandbox import OFF, PACKAGE

REFUSED = f"bisector doctor says whether {PACKAGE} works here; {OFF} does without"


@dataclass(frozen=True)
class ProcessResult:
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

    def __init__(self, finished: ProcessResult, what: str = "", *, hint: str = "") -> None:
        code = finished.returncode
        how = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        last = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-5:]
        super().__init__(what or f"{finished.command}: {how}", hint=hint or "\n".join(last))
        self.finished = finished


class ProgramMissing(ProcessFailed):
    """The program could not be started at all."""


class SandboxFailed(ProcessFailed):
    """A command was not started, because its sandbox could not be set up."""


class Child:
    """A running process tree. ``fd``: its output (stdout and stderr), read by the caller. ``pid``: of its guard.

    With a terminal ``fd`` is the terminal's other side, and reads fail with EIO at the end.
    """

    def __init__(
        self, argv: Sequence[str], guard: subprocess.Popen[bytes], control: socket.socket, record: Path, status: int
    ) -> None:
        self.argv = tuple(argv)
        self.fd = -1
        self.pid = guard.pid
        self._guard = guard
        self._control = control
        self._record = record
        self._status = status  # what the sandbox reports, -1 without one
        self._returncode: int | None = None
        self._failure: ProcessFailed | None = None

    def fileno(self) -> int:
        """The socket that becomes readable when the tree has ended; for selectors."""
        return self._control.fileno()

    def poll(self) -> int | None:
        """Exit code (minus the signal) once the whole tree is dead, else None. Raises ProgramMissing, SandboxFailed."""
        if self._returncode is None and select.select([self._control], [], [], 0)[0]:
            self._collect()
        if self._failure is not None:
            raise self._failure
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code (minus the signal) of the command.

        Raises TimeoutError after ``timeout`` s, ProgramMissing, SandboxFailed.
        """
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
                self._failure = missing(self.argv, int(code), stage)
            case _:
                self._returncode = self._guard.returncode or -9
        if self._status >= 0:
            self._read_status()

    def _read_status(self) -> None:
        """What bwrap itself ends with says little: it reports how the command ended, if that was started at all."""
        with os.fdopen(self._status, "rb") as status:
            os.set_blocking(self._status, False)
            reported = (status.read() or b"").splitlines()
        self._status = -1
        ended = [entry["exit-code"] for line in reported if "exit-code" in (entry := json.loads(line))]
        if ended:
            self._returncode = ended[0] if ended[0] <= 128 else 128 - ended[0]  # as a shell counts: 128 + signal
        elif self._returncode is not None and self._returncode >= 0 and self._failure is None:
            what = f"{self.argv[0]} was not started: its sandbox could not be set up"
            self._failure = SandboxFailed(ProcessResult(self.argv, self._returncode, "", "", 0.0), what, hint=REFUSED)


def missing(argv: tuple[str, ...], code: int, stage: str) -> ProgramMissing:
    """The error for a command that cannot be started: errno ``code``, met at ``stage`` (folder, exec)."""
    reason = os.strerror(code)
    what = f"{argv[0]}: its working folder: {reason}" if stage == "folder" else f"{argv[0]} cannot be started: {reason}"
    hint = f"install {argv[0]} or put it into PATH" if stage == "exec" and code == 2 else ""
    return ProgramMissing(ProcessResult(argv, 127, "", what, 0.0), what, hint=hint)
