# SPDX-License-Identifier: GPL-2.0-only
"""Reaches a Dask cluster, or starts one: ``tcp://HOST:PORT``, ``tls://HOST:PORT``, ``local:N``.

Whoever reaches a scheduler's port without TLS can run anything on every worker and on the campaign's host. So what is
started here speaks TLS with keys that are made for this one session, on this host too.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client
from distributed.security import Security

from bisector.errors import BisectorError, InfraError, UsageError
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from bisector.system.trees import remove_tree

CONNECT = 20.0  # seconds for a connection to a scheduler
BEGIN = 60.0  # seconds for a scheduler's start
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",  # after which a silent worker is gone
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
}
NO_TASK_LIMIT = ("--memory-limit", "0", "--no-dashboard")
SCHEMES = ("tcp://", "tls://")


@dataclass(frozen=True)
class Starting:
    """What a cluster is started with. ``folder``: private, below the state folder; ``environ``: this command's."""

    folder: Path
    processes: Processes
    environ: Mapping[str, str]


@contextmanager
def reached(address: str, starting: Starting) -> Iterator[Client]:
    """A client of the cluster that ``--cluster`` names; what was started for it is ended.

    Raises UsageError for an address that is none, InfraError where nobody answers.
    """
    kind, _, rest = address.partition(":")
    if address.startswith(SCHEMES):
        with _connected(address) as client:
            yield client
    elif kind == "local" and rest.isdecimal() and int(rest):
        with _local(int(rest), starting) as client:
            yield client
    else:
        raise UsageError(f"--cluster {address}: no cluster", hint="give tcp://HOST:PORT, tls://HOST:PORT or local:N")


@contextmanager
def _connected(address: str, security: Security | None = None) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT, security=security, set_as_default=False)
    except (OSError, TimeoutError) as error:
        what = f"no scheduler answers at {address}: {error or type(error).__name__}"
        raise InfraError(what, hint="start one: docs/cluster.md") from error
    try:
        yield client
    finally:
        client.close(timeout=CONNECT)


@contextmanager
def _local(count: int, starting: Starting) -> Iterator[Client]:
    """A scheduler and ``count`` workers on this host; each worker has cache and state folders of its own."""
    security = Security.temporary()
    folder = starting.folder / f"cluster-{os.getpid()}-{time.time_ns()}"
    with ExitStack() as ending:
        folder.mkdir(mode=0o700, parents=True)
        ending.callback(remove_tree, folder, ignore_errors=True)
        address = _scheduler(folder, security, starting, ending)
        for number in range(1, count + 1):
            _worker(f"worker-{number}", address, folder, security, starting, ending)
        with _connected(address, security) as client:
            yield client


def _scheduler(folder: Path, security: Security, starting: Starting, ending: ExitStack) -> str:
    """Start a scheduler of this host. Returns its address."""
    found = folder / "scheduler.json"
    argv = ("--host", "tls://127.0.0.1", "--port", "0", "--protocol", "tls", "--no-dashboard", "--no-show")
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler", *argv, "--scheduler-file", str(found)]
    run = _Running([*module, *_keys(folder, security, "scheduler")], folder / "scheduler.log", starting, {})
    ending.callback(run.end)
    end = time.monotonic() + BEGIN
    while True:
        try:
            return str(json.loads(found.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError):
            if run.ended.is_set() or time.monotonic() > end:
                raise InfraError("the scheduler did not start", hint=run.said()) from None
            time.sleep(0.05)


def _worker(name: str, address: str, folder: Path, security: Security, starting: Starting, ending: ExitStack) -> None:
    own = starting.folder / "workers" / name
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "distributed.cli.dask_worker", address, *worker_options(name, trials=1, builds=1)]
    environ = {"XDG_CACHE_HOME": str(own / "cache"), "XDG_STATE_HOME": str(own / "state")}
    argv += ["--local-directory", str(folder / name), *_keys(folder, security, "worker")]
    ending.callback(_Running(argv, folder / f"{name}.log", starting, environ).end)


def worker_options(name: str, *, trials: int, builds: int) -> list[str]:
    """How a worker of ours is started: its slots, and a thread for each, one more for questions."""
    slots = ["--resources", f"build={builds} trial={trials}", "--nthreads", str(builds + trials + 1)]
    return ["--no-nanny", "--name", name, *slots, *NO_TASK_LIMIT, "--death-timeout", "60"]


def _keys(folder: Path, security: Security, role: str) -> list[str]:
    """Options with the files of a role's keys, which are written here."""
    options = []
    for name, text in (security.get_tls_config_for_role(role)).items():
        if name != "ciphers" and text:
            place = folder / f"{role}-{name}.pem"
            if not place.exists():
                place.touch(mode=0o600)
                place.write_text(text, encoding="utf-8")
            options += [f"--tls-{name.replace('_', '-')}", str(place)]
    return options


class _Running:
    """A program of ours that runs until ``end``; its output goes to ``log``."""

    def __init__(self, argv: list[str], log: Path, starting: Starting, environ: Mapping[str, str]) -> None:
        self.ended, self._stop, self._log, self._error = threading.Event(), threading.Event(), log, ""
        env = {**starting.environ, **SETTINGS, **environ}
        self._thread = threading.Thread(target=self._run, args=(argv, starting.processes, env), daemon=True)
        self._thread.start()

    def _run(self, argv: list[str], processes: Processes, env: dict[str, str]) -> None:
        try:
            processes.run(argv, access=HOST, env=env, log=self._log, check=False, cancelled=self._stop.is_set)
        except BisectorError as error:
            self._error = error.what
        finally:
            self.ended.set()

    def said(self) -> str:
        """The end of what it printed."""
        try:
            return self._error or self._log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
        except OSError:
            return self._error

    def end(self) -> None:
        """End it, with all that it started."""
        self._stop.set()
        self._thread.join(20)
