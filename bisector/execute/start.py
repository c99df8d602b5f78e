# SPDX-License-Identifier: GPL-2.0-only
"""Reaches a Dask cluster, or starts one: ``tcp://HOST:PORT``, ``tls://HOST:PORT``, ``local:N``, ``ssh:HOSTS``.

Whoever reaches a scheduler's port without TLS can run anything on every worker and on the campaign's host. So what is
started here speaks TLS with keys that are made for this one session, on this host too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from distributed import Client
from distributed.security import Security

from bisector.errors import BisectorError, InfraError, UsageError
from bisector.execute.hosts import Host, hosts
from bisector.execute.options import SETTINGS, key_options, worker_options
from bisector.execute.served import Request
from bisector.execute.ssh import StartRequest, ended, started
from bisector.system.proc import Processes
from bisector.system.sandbox import HOST
from bisector.system.trees import remove_tree

CONNECT = 20.0  # seconds for a connection to a scheduler
BEGIN = 60.0  # seconds for a scheduler's start
RESTARTS = 3  # of one worker of this host, in one command
PAUSE = 2.0  # seconds before that, in which a scheduler that is gone too has ended
SCHEMES = ("tcp://", "tls://")


@dataclass(frozen=True)
class StartSetting:
    """What a cluster is started with.

    Args:
        folder: private, below the state folder.
        environ: this command's.
        say: takes a line for the person who watches.
        vm_cpus, vm_memory: processors and bytes of the largest VM, from which a host's slots follow.
    """

    folder: Path
    processes: Processes
    environ: Mapping[str, str]
    say: Callable[[str], None] = lambda _: None
    vm_cpus: int = 1
    vm_memory: int = 0


@contextmanager
def reached(address: str, starting: StartSetting) -> Iterator[Client]:
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
    elif kind == "ssh":
        with _over_ssh(hosts(rest), starting) as client:
            yield client
    else:
        known = "tcp://HOST:PORT, tls://HOST:PORT, ssh:HOST,HOST, ssh:FILE or local:N"
        raise UsageError(f"--cluster {address}: no cluster", hint=f"give {known}")


@contextmanager
def _connected(address: str, security: Security | None = None) -> Iterator[Client]:
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # that the scheduler is gone is said by us, in a line
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
def _local(count: int, starting: StartSetting) -> Iterator[Client]:
    """A scheduler and ``count`` workers on this host; each worker has cache and state folders of its own."""
    with ExitStack() as ending:
        security = Security.temporary()
        folder = ending.enter_context(_session(starting))
        scheduler, address = _scheduler(folder, security, starting, ending, "127.0.0.1")
        for number in range(1, count + 1):
            worker = _worker(f"worker-{number}", address, folder, security, starting, scheduler)
            ending.callback(worker.end)
        with _connected(address, security) as client:
            yield client


@contextmanager
def _over_ssh(given: tuple[Host, ...], starting: StartSetting) -> Iterator[Client]:
    """A scheduler on this host, and a worker on each of those given."""
    with ExitStack() as ending:
        security = Security.temporary()
        folder = ending.enter_context(_session(starting))
        _, address = _scheduler(folder, security, starting, ending, "")
        port = int(address.rpartition(":")[2])
        request = Request(folder.name, "", port, 0, 0, starting.vm_cpus, starting.vm_memory, _pem(security, "worker"))
        made = started(given, StartRequest(request, starting.processes, starting.environ, starting.say))
        ending.callback(ended, made)
        with _connected(f"tls://127.0.0.1:{port}", security) as client:
            with suppress(TimeoutError):  # one that comes later is used, too
                client.wait_for_workers(sum(each.up.is_set() for each in made), timeout=BEGIN)
            yield client


@contextmanager
def _session(starting: StartSetting) -> Iterator[Path]:
    """A private folder for as long as the cluster lives."""
    folder = starting.folder / f"cluster-{os.getpid()}-{time.time_ns()}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        remove_tree(folder, ignore_errors=True)


def _scheduler(
    folder: Path, security: Security, starting: StartSetting, ending: ExitStack, listen: str
) -> tuple[HelperProcess, str]:
    """Start a scheduler of this host. Returns it and its address. ``listen``: where it listens, "" for everywhere."""
    found = folder / "scheduler.json"
    argv = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--protocol", "tls", "--port", "0"]
    argv += ["--host", f"tls://{listen}", "--no-dashboard", "--no-show", "--scheduler-file", str(found)]
    argv += key_options(folder, "scheduler", _pem(security, "scheduler"))
    run = HelperProcess(argv, folder / "scheduler.log", starting, {})
    ending.callback(run.end)
    end = time.monotonic() + BEGIN
    while True:
        try:
            return run, str(json.loads(found.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError):
            if run.ended.is_set() or time.monotonic() > end:
                raise InfraError("the scheduler did not start", hint=run.said()) from None
            time.sleep(0.05)


def _worker(
    name: str, address: str, folder: Path, security: Security, starting: StartSetting, scheduler: HelperProcess
) -> LocalWorker:
    """Start a worker of this host, with folders of its own."""
    own = starting.folder / "workers" / name
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "distributed.cli.dask_worker", address, *worker_options(name, trials=1, builds=1)]
    environ = {"XDG_CACHE_HOME": str(own / "cache"), "XDG_STATE_HOME": str(own / "state")}
    argv += ["--local-directory", str(folder / name), *key_options(folder, "worker", _pem(security, "worker"))]
    return LocalWorker(name, scheduler, argv, folder / f"{name}.log", starting, environ)


def _pem(security: Security, role: str) -> dict[str, str]:
    """The keys of a role."""
    return {name: text for name, text in security.get_tls_config_for_role(role).items() if name != "ciphers" and text}


class HelperProcess:
    """A program of ours that runs until ``end``; its output goes to ``log``."""

    def __init__(self, argv: list[str], log: Path, starting: StartSetting, environ: Mapping[str, str]) -> None:
        self.ended, self._stop, self._log, self._error = threading.Event(), threading.Event(), log, ""
        env = {**starting.environ, **SETTINGS, **environ}
        self._thread = threading.Thread(target=self._run, args=(argv, starting.processes, env), daemon=True)
        self._thread.start()

    def _run(self, argv: list[str], processes: Processes, env: dict[str, str]) -> None:
        try:
            while self._again(self._once(argv, processes, env)):
                pass
        finally:
            self.ended.set()

    def _once(self, argv: list[str], processes: Processes, env: dict[str, str]) -> str:
        """Run it to its end. Returns how it ended."""
        try:
            done = processes.run(argv, access=HOST, env=env, log=self._log, check=False, cancelled=self._stop.is_set)
        except BisectorError as error:
            self._error = error.what
            return error.what
        code = done.returncode
        return f"with exit code {code}" if code >= 0 else f"by signal {-code}"

    def _again(self, how: str) -> bool:
        """Whether to start it again. ``how``: it ended."""
        return False

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


class LocalWorker(HelperProcess):
    """A worker of this host, which is started again where it ends and its scheduler does not: RESTARTS times."""

    def __init__(
        self,
        name: str,
        scheduler: HelperProcess,
        argv: list[str],
        log: Path,
        starting: StartSetting,
        environ: Mapping[str, str],
    ) -> None:
        self._name, self._scheduler, self._say, self._starts = name, scheduler, starting.say, 0
        super().__init__(argv, log, starting, environ)

    def _again(self, how: str) -> bool:
        if self._stop.wait(PAUSE) or self._scheduler.ended.is_set():
            return False
        self._starts += 1
        again = self._starts <= RESTARTS
        what = f"it is started again ({self._starts} of {RESTARTS} times)" if again else "it is not started again"
        self._say(f"{self._name}: the worker ended {how}; {what}")
        return again
