# SPDX-License-Identifier: GPL-2.0-only
"""A worker of a campaign that reached this host over SSH: ``bisector cluster-worker``, which nobody types.

It speaks over its standard streams, one JSON object a line. First it says who it is (HELLO); then it is given what the
worker needs (a Request as JSON), and an empty line every few seconds for as long as the campaign lives. When its
input ends, or is silent for long, the worker is ended with everything that it started: whatever becomes of the
campaign, of its host or of the network, nothing stays behind here.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bisector import __version__
from bisector.errors import BisectorError
from bisector.execute import slots
from bisector.execute.options import SETTINGS, key_options, worker_options
from bisector.system.locks import locked
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from bisector.system.trees import remove_tree
from bisector.system.xdg import folders, private

BEAT = 5.0  # seconds between two lines from the campaign
SILENCE = 45.0  # seconds without one after which it is gone, or the network is
REACH = 10.0  # seconds to connect to the scheduler
LINE = 1 << 20  # most bytes of a request
PYTHON = sys.executable


@dataclass(frozen=True)
class Request:
    """What a worker is started with.

    Args:
        session: id of the campaign's command.
        port: of the scheduler, on the host that the SSH connection came from.
        trials: slots; 0: as many VMs of ``vm_cpus`` processors and ``vm_memory`` bytes as fit here.
        keys: of TLS, as ``key_options`` takes them.
    """

    session: str
    name: str
    port: int
    trials: int
    builds: int
    vm_cpus: int
    vm_memory: int
    keys: Mapping[str, str]


def hello() -> dict[str, Any]:
    """What this host has. ``distributed`` is "" where it is not installed."""
    try:
        engine = metadata.version("distributed")
    except metadata.PackageNotFoundError:
        engine = ""
    return {"bisector": __version__, "distributed": engine, "python": sys.version.split()[0], "program": sys.prefix}


def serve(environ: Mapping[str, str], read: int, say: Callable[[dict[str, Any]], None]) -> None:
    """Be a host's worker until the campaign or the worker ends.

    Args:
        environ: of this host, with SSH_CONNECTION (sshd(8)).
        read: descriptor that the campaign writes to.
        say: hands a message to it.
    """
    say({"hello": hello()})
    campaign = _Campaign(read)
    line = campaign.line()
    if not line:
        return
    request = Request(**json.loads(line))
    try:
        campaign.follow()
        _run(request, environ, campaign.gone, say)
    except (BisectorError, OSError) as error:
        what, hint = (error.what, error.hint) if isinstance(error, BisectorError) else (str(error), "")
        say({"ended": what, "hint": hint})


def _run(request: Request, environ: Mapping[str, str], gone: threading.Event, say: Callable[..., None]) -> None:
    places = folders(environ)
    private(places.state)
    theirs, _, ours, _ = environ.get("SSH_CONNECTION", "127.0.0.1 0 127.0.0.1 0").split()
    address = f"tls://{_bracketed(theirs)}:{request.port}"
    try:
        socket.create_connection((theirs, request.port), REACH).close()
    except OSError as error:
        say({"ended": f"it does not reach the scheduler at {address}: {error}", "hint": "docs/cluster.md#ports"})
        return
    own = {
        "XDG_CACHE_HOME": str(places.cache / "workers" / request.name),
        "XDG_STATE_HOME": str(places.state / "workers" / request.name),
    }
    folder = places.state / "workers" / request.name / request.session
    with locked(folder.with_suffix(".lock")):  # until the one before us has ended, when the connection was lost
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            trials = request.trials or slots.automatic(
                request.vm_cpus, request.vm_memory, cpus=slots.processors(), free=slots.memory()
            )
            argv = [PYTHON, "-m", "distributed.cli.dask_worker", address, "--host", f"tls://{_bracketed(ours)}"]
            argv += worker_options(request.name, trials=trials, builds=request.builds)
            argv += ["--local-directory", str(folder), *key_options(folder, "worker", request.keys)]
            say({"started": request.name, "trials": trials, "builds": request.builds})
            processes, log = Processes(places.state / "processes"), folder / "log"
            done = _ended(processes, argv, {**environ, **SETTINGS, **own}, log, gone)
            if not gone.is_set():
                say({"ended": f"the worker ended {done}", "hint": _last_error(log)})
        finally:
            remove_tree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)


def _ended(processes: Processes, argv: list[str], env: Mapping[str, str], log: Path, gone: threading.Event) -> str:
    """Run the worker. Returns how it ended."""
    try:
        done = processes.run(argv, access=HOST, env=env, log=log, check=False, cancelled=gone.is_set)
    except BisectorError as error:
        return error.what
    code = done.returncode
    return f"with exit code {code}" if code >= 0 else f"by signal {-code}"


class _Campaign:
    """The campaign's end of the connection. ``gone`` is set when it is silent."""

    def __init__(self, read: int) -> None:
        self._read, self.gone = read, threading.Event()

    def line(self) -> bytes:
        """The first line; empty where the input ends before."""
        data = b""
        while not data.endswith(b"\n") and len(data) < LINE:
            if not select.select([self._read], [], [], SILENCE)[0]:
                return b""
            chunk = os.read(self._read, 1)
            if not chunk:
                return b""
            data += chunk
        return data

    def follow(self) -> None:
        """Watch it from now on."""
        threading.Thread(target=self._watch, name="campaign", daemon=True).start()

    def _watch(self) -> None:
        while select.select([self._read], [], [], SILENCE)[0]:
            try:
                if not os.read(self._read, 4096):
                    break
            except OSError:
                break
        self.gone.set()


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _last_error(log: Path) -> str:
    """The last line that a worker printed which is no time and no level: of a traceback the error."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip() and " - distributed." not in line), "")[:500]
