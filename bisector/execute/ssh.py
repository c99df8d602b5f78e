# SPDX-License-Identifier: GPL-2.0-only
"""Workers on hosts that OpenSSH reaches, one connection each, which is all that holds a worker there (served.py).

ssh itself is used, with the person's own configuration, keys, agent and known hosts: what ``ssh HOST`` reaches is
reached (docs/decisions/0023-hosts-are-reached-by-openssh.md).
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from bisector import __version__
from bisector.errors import BisectorError, InfraError
from bisector.execute.hosts import Host
from bisector.execute.served import BEAT, Request
from bisector.system.child import Child
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST

CONNECT = 15  # seconds
START = 60.0  # seconds from the connection until a worker runs
AGAIN = 10.0  # seconds between two tries to reach a host that was lost
END = 15.0  # seconds for a host's worker to end
TICK = 0.2
OPTIONS = (
    "-T", "-oBatchMode=yes", f"-oConnectTimeout={CONNECT}", "-oServerAliveInterval=10", "-oServerAliveCountMax=3",
    "-oControlMaster=no", "-oClearAllForwardings=yes", "-oForwardAgent=no", "-oForwardX11=no",
)  # fmt: skip
COMMAND = "cluster-worker"
INSTALL = "pip install 'bisector[cluster]' there, in the version of this host"

REASONS: tuple[tuple[str, str], ...] = (
    ("Could not resolve hostname", "no such host"),
    ("Permission denied", "the host refuses the key: `ssh {target}` must work without a question"),
    ("Host key verification failed", "the host's key is not known, or changed: call `ssh {target}` once and see"),
    ("IDENTIFICATION HAS CHANGED", "the host's key changed: call `ssh {target}` and see"),
    ("Connection refused", "no sshd listens there"),
    ("timed out", "the host does not answer"),
    ("No route to host", "the host cannot be reached"),
)
"""What OpenSSH's client prints (ssh.c, sshconnect.c, sshconnect2.c of 9.2), and what is to be done."""


@dataclass(frozen=True)
class StartRequest:
    """What every host is given. ``request``: but for the name and the slots."""

    request: Request
    processes: Processes
    environ: Mapping[str, str]
    say: Callable[[str], None]


@dataclass(eq=False)
class Connection:
    """The connection to a host, and again when it is lost, until ``close``."""

    host: Host
    wanted: StartRequest
    up: threading.Event = field(default_factory=threading.Event)  # it ran a worker
    settled: threading.Event = field(default_factory=threading.Event)  # it runs one, or never will
    why: str = ""  # it runs none
    _stop: threading.Event = field(default_factory=threading.Event)
    _said: list[str] = field(default_factory=list)  # by ssh, at the last try
    _asked: bool = False  # the host was given its request

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._keep, name=f"ssh {self.host.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the host end its worker."""
        self._stop.set()

    def close(self) -> None:
        """End the connection; waits for the host's end of it."""
        self.stop()
        self._thread.join(2 * END)

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                why = self._once()
            except (BisectorError, OSError) as error:
                why = str(error)
            if self._stop.is_set():
                break
            if why != self.why:
                again = f"; it is tried again every {AGAIN:g} s" if self.up.is_set() else ""
                self.wanted.say(f"{self.host.name}: {why}{again}")
            self.why = why
            self.settled.set()
            if not self.up.is_set():
                return
            self._stop.wait(AGAIN)

    def _once(self) -> str:
        """One connection, to its end. Returns why it ended."""
        ours, theirs = os.pipe()  # ours: its stdin
        self._said, self._asked = [], False
        try:
            child = self.wanted.processes.start(self._argv(), access=HOST, env=self.wanted.environ, stdin=ours)
        except BaseException:
            os.close(theirs)
            raise
        finally:
            os.close(ours)
        with child:
            try:
                why = self._talk(child, theirs)
            finally:
                os.close(theirs)  # by which the host knows that it is over
            return self._reason(child, why)

    def _argv(self) -> list[str]:
        host = self.host
        program = shlex.quote(host.bisector) if host.bisector else "bisector"
        script = f'PATH="$PATH:$HOME/.local/bin"; export PATH; exec {program} {COMMAND}'
        port = ["-p", str(host.port)] if host.port else []
        return ["ssh", *OPTIONS, *port, "--", host.target, f"exec sh -c {shlex.quote(script)}"]

    def _talk(self, child: Child, theirs: int) -> str:
        """Exchange lines until the worker, the host or the campaign ends. Returns the host's reason, or ""."""
        begin, beat, data = time.monotonic(), 0.0, b""
        os.set_blocking(theirs, False)
        while not self._stop.is_set():
            now = time.monotonic()
            if not self.settled.is_set() and now - begin > CONNECT + START:
                return f"no worker runs after {CONNECT + START:g} s"
            if self._asked and now - beat > BEAT:
                beat = now
                with suppress(OSError):  # its end is seen by what it reads, here
                    os.write(theirs, b"\n")
            if not select.select([child.fd], [], [], TICK)[0]:
                continue
            chunk = os.read(child.fd, 1 << 16)
            if not chunk:
                return ""
            *lines, data = (data + chunk).split(b"\n")
            for line in lines:
                if why := self._heard(line.decode(errors="replace").strip(), theirs):
                    return why
        return ""

    def _heard(self, line: str, theirs: int) -> str:
        """A line of the host. Returns a reason to end."""
        message = _message(line)
        if "hello" in message:
            if why := _unfit(message["hello"]):
                return why
            own = {"name": self.host.name, "trials": self.host.trials, "builds": self.host.builds}
            request = json.dumps({**asdict(self.wanted.request), **own})
            os.set_blocking(theirs, True)
            os.write(theirs, request.encode() + b"\n")
            os.set_blocking(theirs, False)
            self._asked = True
        elif "started" in message:
            if self.why:
                self.wanted.say(f"{self.host.name}: it is back")
            self.why = ""
            self.up.set()
            self.settled.set()
        elif "ended" in message:
            return "; ".join(filter(None, [str(message["ended"]), *str(message.get("hint", "")).splitlines()]))
        elif line:
            self._said = [*self._said[-9:], line]
        return ""

    def _reason(self, child: Child, why: str) -> str:
        """Why the connection ended: the host's reason, or what ssh or the host's shell printed."""
        try:
            code = child.wait(END)
        except TimeoutError:
            return why or "the connection does not end"
        if why:
            return why
        said = "\n".join(self._said)
        for printed, why in REASONS:
            if code == 255 and printed in said:
                return f"{why.format(target=self.host.target)} ({self._said[-1]})"
        if code in (126, 127):
            return f"it has no program {self.host.bisector or 'bisector in its PATH'}: {INSTALL} ({said or code})"
        if COMMAND in said or code == 2:
            return f"its bisector does not know {COMMAND}: {INSTALL}"
        return f"ssh ended with exit code {code}{f': {self._said[-1]}' if said else ''}"


def started(given: tuple[Host, ...], wanted: StartRequest) -> tuple[Connection, ...]:
    """A connection to each host; returns when each runs its worker, or never will.

    Raises InfraError where none does, with each host's reason.
    """
    made = tuple(Connection(host, wanted) for host in given)
    try:
        for each in made:
            each.settled.wait(CONNECT + START + 2 * END)
        if not any(each.up.is_set() for each in made):
            reasons = "\n".join(f"{each.host.name}: {each.why or 'it does not answer'}" for each in made)
            raise InfraError("no host of the cluster runs a worker", hint=reasons)
    except BaseException:
        ended(made)
        raise
    return made


def ended(made: tuple[Connection, ...]) -> None:
    """End all connections, together."""
    for each in made:
        each.stop()
    for each in made:
        each.close()


def _message(line: str) -> dict[str, Any]:
    """A message of the host's program; {} for a line of something else there."""
    if not re.match(r"\{.*\}$", line):
        return {}
    try:
        read = json.loads(line)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _unfit(there: Mapping[str, Any]) -> str:
    """Why that host's installation cannot work with ours, "" where it can."""
    engine = metadata.version("distributed")
    if there.get("bisector") != __version__:
        return f"it has bisector {there.get('bisector')}, and this is {__version__}: {INSTALL}"
    if not there.get("distributed"):
        return f"its bisector is installed without the extra for clusters ({there.get('program')}): {INSTALL}"
    if there.get("distributed") != engine:
        return f"it has distributed {there.get('distributed')}, and this is {engine}: install the same on both"
    return ""
