# SPDX-License-Identifier: GPL-2.0-only
"""Starts every process of the project, each under a guard (``guard.py``) that leaves none of its descendants alive.

A list of arguments, never a shell; stdin from nowhere unless given; output as text, bytes that are no UTF-8 replaced.
Each start says what the command may touch: an ``Access`` puts it into the sandbox, ``HOST`` is for a program of this
host that runs no code of others.
"""

from __future__ import annotations

import errno
import os
import pty
import shutil
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from bisector.errors import InfraError, Interrupted
from bisector.system import records
from bisector.system.child import Child, ProcessFailed, ProcessResult, ProgramMissing, SandboxFailed, missing
from bisector.system.distribution import install
from bisector.system.output import Output
from bisector.system.sandbox import CONFINED, HOST, OFF, PACKAGE, Access, Sandbox, Trust, find_program

__all__ = [
    "Child",
    "ProcessCancelled",
    "ProcessFailed",
    "ProcessResult",
    "ProcessTimeout",
    "Processes",
    "ProgramMissing",
    "SandboxFailed",
    "SandboxUnusable",
]

GUARD = Path(__file__).with_name("guard.py")
TRIAL = 60.0  # seconds that the first, empty sandbox may take
ALLOW = f"""bisector doctor says what may be missing; or run everything as you, with all that you may touch: {OFF}"""
TICK = 0.2  # seconds between two looks at the request to stop
DRAIN = 1.0  # seconds to wait for the end of output once the whole tree is dead


class SandboxUnusable(InfraError):
    """This host cannot confine anything. The hint says what to do."""


class ProcessTimeout(InfraError):
    """A process did not end in time; its tree was killed."""

    def __init__(self, finished: ProcessResult, timeout: float) -> None:
        super().__init__(f"{finished.command}: no end within {timeout:g} s; it was killed")
        self.finished = finished


class ProcessCancelled(Interrupted):
    """A process was ended because the caller stopped it."""

    def __init__(self, finished: ProcessResult) -> None:
        super().__init__(f"{finished.command}: ended because it was stopped")
        self.finished = finished


_working: set[str] = set()
"""Paths of bwrap that was tried and works."""


@dataclass(frozen=True)
class Processes:
    """Starts processes and records them under ``records`` while they live. Picklable; safe to use from threads.

    ``sandbox``: what a command with an ``Access`` runs in.
    """

    records: Path
    sandbox: Sandbox = CONFINED

    def start(
        self,
        argv: Sequence[str],
        *,
        access: Access | Trust,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
        stdin: int = subprocess.DEVNULL,
    ) -> Child:
        """Start a process whose output the caller reads from ``Child.fd``.

        Args:
            access: what the command may touch.
            env: the whole environment; when None ours, of which a confined command hears a few names alone.
            terminal: output goes to a new raw terminal, which is also its stdin and its controlling terminal.
            stdin: descriptor that it reads from; it stays the caller's. Nothing to read by default.

        Raises InfraError when it cannot be recorded, SandboxUnusable; a program that does not exist shows at ``poll``
        and ``wait`` or, of a confined command, here.
        """
        if terminal:
            ours, theirs = pty.openpty()
            tty.setraw(theirs, termios.TCSANOW)
            os.set_inheritable(ours, False)
        else:
            ours, theirs = os.pipe()
        try:
            ends = (theirs if terminal else stdin, theirs, theirs)
            child = self._launch(argv, access, cwd, env, ends, terminal)
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
        access: Access | Trust,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
        log: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> ProcessResult:
        """Run a process to its end.

        Args:
            access: what the command may touch.
            env: the whole environment; when None ours, of which a confined command hears a few names alone.
            timeout: seconds.
            check: raise ProcessFailed unless it exits with 0.
            cancelled: called every 0.2 s; when true the tree is ended.
            log: file to which stdout and stderr are appended; ``ProcessResult`` then holds none of them.
            on_line: sees each line of stdout and stderr (without its end; at most 64 KiB each); ``ProcessResult`` then
                holds the last 64 KiB of each alone, so memory stays bounded.

        Raises ProcessFailed, ProgramMissing, ProcessTimeout, ProcessCancelled, SandboxUnusable, SandboxFailed;
        InfraError when it cannot be recorded or the log cannot be written; and what ``on_line`` raises. Nothing of the
        tree is left in any case.
        """
        begin = time.monotonic()
        try:
            output = Output(stdin=stdin, log=log, on_line=on_line)
        except OSError as error:
            raise _log_failed(log, error) from error
        with output, self._launch(argv, access, cwd, env, output.ends, False) as child:
            output.started()
            try:
                end = _follow(child, output, begin, timeout, cancelled)
            except OSError as error:
                raise _log_failed(log, error) from error
            returncode = _wait(child, output, log)
        finished = ProcessResult(tuple(argv), returncode, *output.texts(), time.monotonic() - begin)
        if end is _End.TIMEOUT:
            raise ProcessTimeout(finished, timeout or 0.0)
        if end is _End.CANCELLED:
            raise ProcessCancelled(finished)
        if check and returncode:
            raise ProcessFailed(finished)
        return finished

    def reap_orphans(self) -> tuple[int, ...]:
        """Kill recorded trees whose owner is dead. Returns the pids killed; for a resume."""
        return records.reap(self.records)

    def check_sandbox(self) -> None:
        """Try the sandbox for real, once in this process's life. Raises SandboxUnusable when this host has none."""
        program = find_program()
        if self.sandbox.off or program in _working:
            return
        if not program:
            raise SandboxUnusable(
                f"{PACKAGE} is not installed, and code of others runs in it alone", hint=_install_hint()
            )
        nothing = self.sandbox.command(["true"], Access(), program=program, cwd=None, env={}, status=1)
        finished = self.run(nothing, access=HOST, env={"PATH": os.defpath}, timeout=TRIAL, check=False)
        if finished.returncode:
            said = finished.stderr.strip().removeprefix("bwrap: ") or f"exit code {finished.returncode}"
            raise SandboxUnusable(f"{PACKAGE} does not work on this host: {said}", hint=ALLOW)
        _working.add(program)

    def _launch(
        self,
        argv: Sequence[str],
        access: Access | Trust,
        cwd: Path | None,
        env: Mapping[str, str] | None,
        ends: tuple[int, int, int],
        terminal: bool,
    ) -> Child:
        if isinstance(access, Trust) or self.sandbox.off:
            return self._guarded(argv, argv, cwd, os.environ if env is None else env, ends, terminal, ())
        self.check_sandbox()
        return self._confined(argv, access, cwd, env, ends, terminal)

    def _confined(
        self,
        argv: Sequence[str],
        access: Access,
        cwd: Path | None,
        env: Mapping[str, str] | None,
        ends: tuple[int, int, int],
        terminal: bool,
    ) -> Child:
        env = self.sandbox.environment(env, access)
        if cwd is not None and not cwd.is_dir():
            raise missing(tuple(argv), errno.ENOENT, "folder")
        path = env.get("PATH", os.defpath)
        if "/" not in argv[0] and shutil.which(argv[0], path=path) is None:
            raise missing(tuple(argv), errno.ENOENT, "exec")
        if "/" in argv[0] and not (cwd or Path("/")).joinpath(argv[0]).exists():
            raise missing(tuple(argv), errno.ENOENT, "exec")
        ours, theirs = os.pipe()
        try:
            confined = self.sandbox.command(
                argv, access, program=find_program(), cwd=cwd, env=env, status=theirs, terminal=terminal
            )
            return self._guarded(argv, confined, None, env, ends, terminal, (ours, theirs))
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)

    def _guarded(
        self,
        argv: Sequence[str],
        command: Sequence[str],
        cwd: Path | None,
        env: Mapping[str, str],
        ends: tuple[int, int, int],
        terminal: bool,
        status: tuple[int, ...],
    ) -> Child:
        """Start ``command``, which is called ``argv``. ``status``: both ends of the pipe that a sandbox reports by."""
        token = records.new_token()
        ours, theirs = socket.socketpair()
        kept = [theirs.fileno(), *status[1:]]
        with theirs:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", GUARD, *map(str, kept)],
                stdin=ends[0],
                stdout=ends[1],
                stderr=ends[2],
                cwd="/",
                env={records.TOKEN: token},
                pass_fds=kept,
                start_new_session=True,
            )
        try:  # nothing runs unrecorded: the guard waits for the request, and ends when we die before it
            record = records.write(self.records, guard.pid, token, argv[0])
            _send(ours, command, cwd, {**env, records.TOKEN: token}, terminal)
        except OSError as error:
            ours.close()
            guard.wait()
            raise InfraError(
                f"{argv[0]} cannot be recorded in {self.records}: {error.strerror or error}",
                hint="free space on that disk, or give another folder by XDG_STATE_HOME",
            ) from error
        return Child(argv, guard, ours, record, status[0] if status else -1)


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


class _End(Enum):
    """Why a process tree ended."""

    BY_ITSELF = auto()
    TIMEOUT = auto()
    CANCELLED = auto()


def _follow(
    child: Child, output: Output, begin: float, timeout: float | None, cancelled: Callable[[], bool] | None
) -> _End:
    """Move output until the tree is dead. Returns why it ended."""
    end = _End.BY_ITSELF
    deadline = None if timeout is None else begin + timeout
    output.watch(child.fileno())
    while True:
        pause = TICK if deadline is None else min(TICK, max(0.0, deadline - time.monotonic()))
        if output.turn(pause):
            break
        if deadline is not None and time.monotonic() >= deadline:
            end = _End.TIMEOUT
        elif cancelled is not None and cancelled():
            end = _End.CANCELLED
        if end is not _End.BY_ITSELF:
            child.kill(politely=True)
            break
    output.drain(DRAIN)
    return end


def _wait(child: Child, output: Output, log: Path | None) -> int:
    """The exit code of a tree that is dead. Raises as ``Child.wait``; SandboxFailed with what the sandbox printed."""
    try:
        return child.wait()
    except SandboxFailed as error:
        printed = f"see {log}" if log else output.texts()[1].strip()
        error.hint = f"{printed}\n{error.hint}".strip()
        raise


def _log_failed(log: Path | None, error: OSError) -> InfraError:
    return InfraError(f"the log {log} cannot be written: {error.strerror or error}", hint="free space on that disk")


def _install_hint() -> str:
    return f"{install(PACKAGE)}; or run everything as you, with all that you may touch: {OFF}"
