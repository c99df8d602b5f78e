# SPDX-License-Identifier: GPL-2.0-only
"""What ``--cluster ssh:`` takes, and what is said of a host that cannot be used."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bisector import __version__
from bisector.errors import InfraError, UsageError
from bisector.execute import served, ssh
from bisector.execute.hosts import Host, hosts
from bisector.execute.served import Request, hello
from bisector.system.proc import Processes

pytest.importorskip("distributed")


def test_hosts_are_named_with_commas_between_them() -> None:
    assert hosts("rack1,me@rack2:2222, [fe80::1]") == (
        Host("rack1", "rack1"),
        Host("rack2", "me@rack2", 2222),
        Host("fe80::1", "fe80::1"),
    )


def test_a_file_names_hosts_their_slots_and_their_program(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# the lab\nrack1 trial=4 build=0\n\nrack2 bisector=/opt/b/bin/bisector # new\n")
    assert hosts(str(path)) == (
        Host("rack1", "rack1", trials=4, builds=0),
        Host("rack2", "rack2", bisector="/opt/b/bin/bisector"),
    )


def test_a_host_that_is_named_twice_has_two_workers() -> None:
    assert [host.name for host in hosts("a,b,a,a")] == ["a", "b", "a-2", "a-3"]


@pytest.mark.parametrize("given", ["", "a,-oProxyCommand=x", "a b", "a;b", "a,,b", "no/such/file"])
def test_what_is_no_host_is_refused(given: str) -> None:
    with pytest.raises(UsageError):
        hosts(given)


@pytest.mark.parametrize("line", ["a trial=0", "a trial=999", "a build=x", "a slots=3", "a bisector="])
def test_a_line_that_says_nothing_of_a_host_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(f"\n{line}\n")
    with pytest.raises(UsageError, match="hosts:2"):
        hosts(str(path))


SSH_SAYS = {
    "ssh: Could not resolve hostname lab: Name or service not known": "no such host",
    "root@lab: Permission denied (publickey).": "refuses the key",
    "Host key verification failed.": "key is not known",
    "ssh: connect to host lab port 22: Connection refused": "no sshd listens",
    "ssh: connect to host lab port 22: Connection timed out": "does not answer",
}


def connected(tmp_path: Path, script: str) -> str:
    """What is said of a host whose ssh is a script."""
    tool = tmp_path / "ssh"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    request = Request("session", "", 1, 0, 0, 1, 0, {})
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said: list[str] = []
    wanted = ssh.StartRequest(request, Processes(tmp_path / "processes"), environ, said.append)
    with pytest.raises(InfraError, match="no host of the cluster runs a worker") as raised:
        ssh.started(hosts("lab"), wanted)
    assert said == [raised.value.hint]
    assert not [thread for thread in threading.enumerate() if thread.name == "ssh lab"]
    return said[0]


@pytest.mark.parametrize("printed", SSH_SAYS)
def test_a_host_that_ssh_does_not_reach_is_named_with_what_to_do(printed: str, tmp_path: Path) -> None:
    said = connected(tmp_path, f"echo '{printed}' >&2; exit 255")
    assert said.startswith("lab: ") and SSH_SAYS[printed] in said and printed in said


def test_a_host_without_our_program_is_told_from_one_with_an_older_one(tmp_path: Path) -> None:
    missing = connected(tmp_path, "echo 'sh: 1: exec: bisector: not found' >&2; exit 127")
    assert "no program bisector in its PATH" in missing and "pip install 'bisector[cluster]'" in missing
    old = connected(tmp_path, "echo \"No such command 'cluster-worker'.\" >&2; exit 2")
    assert "does not know cluster-worker" in old


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"bisector": "0.0.1"}, f"it has bisector 0.0.1, and this is {__version__}"),
        ({"bisector": __version__, "distributed": ""}, "without the extra for clusters"),
        ({"bisector": __version__, "distributed": "2020.1.0"}, "it has distributed 2020.1.0"),
    ],
)
def test_a_host_with_another_version_is_not_used(there: dict[str, str], said: str, tmp_path: Path) -> None:
    message = json.dumps({"hello": hello() | there})
    assert said in connected(tmp_path, f"echo '{message}'; read line")


def test_a_program_that_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT", 0.2)
    monkeypatch.setattr(ssh, "START", 0.3)
    monkeypatch.setattr(ssh, "END", 0.5)
    assert "no worker runs after" in connected(tmp_path, f"exec {sys.executable} -c 'import time; time.sleep(60)'")


@pytest.mark.parametrize("how", ["its end of the connection is closed", "it is silent"])
def test_a_host_ends_its_worker_when_the_campaign_is_gone(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler here takes connections and never answers: the worker sees nothing of the campaign's end."""
    monkeypatch.setattr(served, "SILENCE", 3.0)
    environ = {
        **os.environ,
        "SSH_CONNECTION": "127.0.0.1 4 127.0.0.1 22",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    said: list[dict[str, Any]] = []
    read, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as scheduler:
        keys = {"ca_file": "no key", "cert": "no key", "key": "no key"}
        request = Request("session", "me", scheduler.getsockname()[1], 1, 1, 1, 0, keys)
        monkeypatch.setattr(served, "PYTHON", _sleeper(tmp_path))
        thread = threading.Thread(target=served.serve, args=(environ, read, said.append))
        thread.start()
        os.write(write, json.dumps(asdict(request)).encode() + b"\n")
        records = tmp_path / "state/bisector/processes"
        end = time.monotonic() + 20
        while not (records.exists() and list(records.iterdir())):
            assert time.monotonic() < end, said
            time.sleep(0.02)
        if how != "it is silent":
            os.close(write)
        thread.join(20)
    assert not thread.is_alive()
    assert [next(iter(message)) for message in said] == ["hello", "started"]
    assert not list(records.iterdir())
    assert not list((tmp_path / "state/bisector/workers/me").iterdir())


def _sleeper(folder: Path) -> str:
    """A worker that notices nothing."""
    program = folder / "worker"
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o755)
    return str(program)
