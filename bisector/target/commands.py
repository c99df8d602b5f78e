# SPDX-License-Identifier: GPL-2.0-only
"""The commands of one build: written into its log, and a failing host distinguished from a failing candidate."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bisector.causes import BuildStage, FailureCause
from bisector.errors import InfraError
from bisector.interfaces import CancelToken, Listener, Progress
from bisector.model import BuildFailure
from bisector.system.proc import Processes
from bisector.system.sandbox import Access
from bisector.target.buildlog import BuildLog, Certainty

TIMEOUT = 6 * 3600.0  # seconds; a full distribution config of a kernel on two cores takes two hours


class CannotBeBuilt(Exception):
    """The candidate's own failure."""

    def __init__(self, stage: BuildStage, errors: tuple[str, ...], cause: FailureCause = FailureCause.SOURCE) -> None:
        super().__init__(stage)
        self.failure = BuildFailure(stage, errors, cause=cause)


@dataclass
class Commands:
    """Runs commands one after the other. ``done``: those that were run, as one could type them.

    ``access``: what all of them may touch, for they run what a tree says.
    """

    processes: Processes
    access: Access
    environment: Mapping[str, str]
    log: Path
    listener: Listener
    cancel: CancelToken
    done: tuple[str, ...] = ()

    def note(self, line: str) -> None:
        """Write a remark into the log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"# {line}\n")

    def leave_out(self, argv: Sequence[str], why: str) -> None:
        """Take a command for done whose result is there already."""
        self.done += (shlex.join(argv),)
        self.note(f"left out, {why}: {shlex.join(argv)}")

    def run(
        self,
        stage: BuildStage,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        expected: Sequence[int] = (),
        writable: tuple[Path, ...] = (),
    ) -> int:
        """Run one, and return the number of steps that it printed.

        Args:
            stage: what a failure is called.
            cwd: the working folder, for a program that is bound to it.
            expected: steps that it may print (``BuildLog``); none: its steps are not reported.
            writable: folders that this one may change beside those of all.

        Raises CannotBeBuilt, InfraError, Interrupted.
        """
        command = f"cd {shlex.quote(str(cwd))} && {shlex.join(argv)}" if cwd else shlex.join(argv)
        self.done += (command,)
        access = replace(self.access, writable=(*self.access.writable, *writable))
        output, returncode = self._once(command, argv, cwd, access, expected)
        if returncode and output.fault and output.fault.certainty is Certainty.AGAIN:
            self.note(f"{output.fault.line}: the same command once more")
            output, returncode = self._once(command, argv, cwd, access, expected)
            if returncode and output.fault and output.fault.certainty is Certainty.AGAIN:
                raise CannotBeBuilt(stage, (f"the compiler crashed twice: {output.fault.line}",), FailureCause.COMPILER)
        if returncode == 0:
            return output.lines
        if output.fault:
            raise InfraError(f"the build failed on this host: {output.fault.line}", hint=output.fault.hint)
        raise CannotBeBuilt(stage, output.errors(), output.cause)

    def _once(
        self, command: str, argv: Sequence[str], cwd: Path | None, access: Access, expected: Sequence[int]
    ) -> tuple[BuildLog, int]:
        """Run it. Returns what it printed and its exit code. Raises InfraError, Interrupted."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {command}\n")
        output = BuildLog(expected, self.listener if expected else _mute)
        finished = self.processes.run(
            argv,
            access=access,
            cwd=cwd,
            env=self.environment,
            timeout=TIMEOUT,
            check=False,
            cancelled=self.cancel.cancelled,
            log=self.log,
            on_line=output,
        )
        if finished.returncode < 0:
            raise InfraError(f"{argv[0]} was killed by signal {-finished.returncode}", hint=f"see {self.log}")
        return output, finished.returncode


def _mute(_: Progress) -> None:
    """Steps of configuring are not counted."""
