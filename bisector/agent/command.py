# SPDX-License-Identifier: GPL-2.0-only
"""Programs that the agent runs, and the fault that ends its work when one of its own tools fails."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .plan import LEFT_OUT, Fault

# virtme's PATH, and that of a plain user, may lack the folders of the storage tools.
TOOL_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
TAIL = 4096  # bytes of a program's output that are kept
LAST_WORDS = 0.5  # seconds in which the pipe of a program that has ended is read, where a daemon of its own goes on


class Halt(Exception):
    """The agent cannot go on: carries the fault that the result will show."""

    def __init__(self, stage: str, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.fault = Fault(stage, message)
        self.refused = refused  # a tool ran and said no, in time


@dataclass(frozen=True)
class CommandResult:
    """A program that ended. ``exit`` is negative for a signal, None when the time was over.

    ``output`` is the end of what it printed, ``cut`` whether there was more.
    """

    exit: int | None
    output: str
    cut: bool = False

    @property
    def shown(self) -> str:
        """What it printed, with ``LEFT_OUT`` before it where that is not all.

        So the rest of a line, in which "not ok" may have lost its "not", does not begin one.
        """
        return f"{LEFT_OUT}{self.output}" if self.cut else self.output


def search_path(first: str = "") -> str:
    """PATH with the folders of the storage tools behind what is already there; ``first``: a folder before them."""
    known = [first, *os.environ.get("PATH", "").split(":")]
    return ":".join([*filter(None, known), *(folder for folder in TOOL_FOLDERS if folder not in known)])


def programs_of(shared: str, whose: str) -> str:
    """The folder of the programs of QEMU that do a step in place of those under test; "" for those themselves."""
    return f"{shared}/programs/{whose}" if whose else ""


def find_tool(name: str, first: str = "") -> str:
    """Path of a program; ``first``: a folder before all others. Raises Halt(tools) when the VM's root has none."""
    for folder in search_path(first).split(":"):
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    raise Halt("tools", f"{name} is not installed on the host whose root the VM sees; searched {search_path()}")


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: str = "",
    keep: int = TAIL,
) -> CommandResult:
    """Run a program for at most ``timeout`` seconds; of stdout and stderr together the last ``keep`` bytes come back.

    ``stdin`` is at most what a pipe holds (64 KiB). A program stuck inside the kernel (state D, which no signal ends)
    is left behind instead of holding the agent up. Raises OSError when it cannot be started.
    """
    given, feed = os.pipe()
    out, into = os.pipe()
    try:
        os.write(feed, stdin.encode())
        os.close(feed)
        child = subprocess.Popen(
            list(argv), stdin=given, stdout=into, stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True
        )
    finally:
        os.close(given)
        os.close(into)
    try:
        output, cut = _follow(child, out, time.monotonic() + timeout, keep)
    finally:
        os.close(out)
    if child.poll() is None:
        kill(child)
        return CommandResult(None, output, cut)
    return CommandResult(child.returncode, output, cut)


def _follow(child: subprocess.Popen[bytes], out: int, until: float, keep: int) -> tuple[str, bool]:
    """Read ``out`` until it ends, the time is over, or the child is gone and left it to a daemon of its own.

    The end of what came, and whether there was more.
    """
    tail, size, gone = b"", 0, False
    watch = select.poll()
    watch.register(out, select.POLLIN)
    while (left := until - time.monotonic()) > 0:
        if watch.poll(min(left, 0.2) * 1000):
            chunk = os.read(out, 1 << 16)
            if not chunk:
                wait(child, until - time.monotonic())
                break
            size += len(chunk)
            tail = (tail + chunk)[-keep:]
            if not gone and child.poll() is not None:  # all that it printed is in the pipe; a daemon may add to it
                gone, until = True, min(until, time.monotonic() + LAST_WORDS)
        elif child.poll() is not None:
            break
    return tail.decode(errors="replace"), size > keep


def wait(child: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Exit code of ``child``, or None when it still runs after ``timeout`` seconds."""
    try:
        return child.wait(max(timeout, 0.01))
    except subprocess.TimeoutExpired:
        return None


def kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the process group of ``child``; one that is stuck in the kernel is left there after a second."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    wait(child, 1.0)


def demand(argv: Sequence[str], *, stage: str, timeout: float, env: Mapping[str, str] | None = None) -> str:
    """Run one of the agent's own tools; its output. Raises Halt(stage) when it fails or takes too long."""
    try:
        ran = run([find_tool(argv[0]), *argv[1:]], timeout=timeout, env=env)
    except OSError as error:
        raise Halt("tools", f"{argv[0]}: {error}") from None
    if ran.exit != 0:
        how = "did not end in time" if ran.exit is None else f"exit {ran.exit}"
        raise Halt(stage, f"{' '.join(argv)}: {how}: {ran.output.strip()}", refused=ran.exit is not None)
    return ran.output


def environment_of_program(seed: int, more: Mapping[str, str], first: str = "") -> dict[str, str]:
    """Environment of a recipe's own program: ours, ``more``, the full search path (``first``: a folder before all
    others), the trial's seed."""
    return {**os.environ, **more, "PATH": search_path(first), "BISECTOR_SEED": str(seed)}


def fill(argv: tuple[str, ...], names: Mapping[str, str]) -> list[str]:
    """``argv`` with ``{name}`` put in. Raises Halt(plan) for a name that is not there.

    Plain replacement and not str.format: braces of a program's own (awk, JSON) stay.
    """
    import re

    def put(found: re.Match[str]) -> str:
        return names[found[1]] if found[1] in names else found[0]

    if not argv:
        raise Halt("plan", "run needs a program")
    return [re.sub(r"\{([A-Za-z0-9_.-]+)\}", put, word) for word in argv]


def is_missing(program: str) -> bool:
    """Whether a program that a recipe names is not in PATH. One with a slash, or ``{layer}``, is a file of its own."""
    if "/" in program or "{" in program:
        return False
    return not any(os.access(f"{folder}/{program}", os.X_OK) for folder in search_path().split(":"))
