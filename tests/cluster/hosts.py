# SPDX-License-Identifier: GPL-2.0-only
"""Several hosts on one machine: each has its own network, processes, name, sshd, keys and folders.

A host is a network namespace with an address on a bridge, and in it an sshd that leads a PID namespace. The bridge lies
in a namespace of its own, and so does the campaign: of the machine's own network nothing is changed. Needs root,
``ip``, ``unshare`` and sshd (apt-get install iproute2 openssh-server).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SSHD = "/usr/sbin/sshd"
PREFIX = "bisector"
NETWORK = "10.213.77"  # of the bridge, which nothing outside sees
WITHIN = 20.0  # seconds in which what is ended must be gone
PYTHON = Path(sys.executable)


def missing() -> str:
    """Why this machine cannot play several hosts; "" where it can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not Path(SSHD).exists():
        return "needs sshd: apt-get install openssh-server"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "needs ip and unshare: apt-get install iproute2 util-linux"
    name = f"{PREFIX}-{os.getpid()}-probe"
    tried = _tried("ip", "netns", "add", name)
    _tried("ip", "netns", "del", name)
    if tried.returncode:
        return f"cannot make a network namespace: {tried.stderr.strip()}"
    tried = _tried("unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true")
    return f"cannot make a PID namespace: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Host:
    """One host. ``home``: its folders; ``network``: name of its namespace."""

    name: str
    network: str
    address: str
    home: Path

    def processes(self) -> dict[int, str]:
        """What runs there, by pid as this machine counts: the command lines.

        A sandbox has a network of its own: it is found as a descendant, and by the host's folders that it names.
        """
        every = {int(entry.name): entry for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        children: dict[int, list[int]] = {}
        found: dict[int, str] = {}
        for pid, entry in every.items():
            with suppress(OSError):
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(pid)
        own = set(map(int, run("ip", "netns", "pids", self.network).split()))
        queue = [*own, *(pid for pid, entry in every.items() if self._names(entry))]
        while queue:
            pid = queue.pop()
            if pid not in found:
                with suppress(OSError):
                    found[pid] = _words(every[pid] / "cmdline") if pid in every else ""
                queue += children.get(pid, [])
        return {pid: line for pid, line in found.items() if line}

    def _names(self, entry: Path) -> bool:
        try:
            return f"{self.home}/" in _words(entry / "cmdline") + _words(entry / "environ")
        except OSError:
            return False

    def pid(self, part: str) -> int:
        """The oldest process whose command line has that part. Raises LookupError."""
        pids = [pid for pid, line in self.processes().items() if part in line and "guard.py" not in line]
        if not pids:
            raise LookupError(f"nothing like {part} runs on {self.name}")
        return min(pids)

    def cut(self) -> None:
        """Take its cable out."""
        run("ip", "-n", self.network, "link", "set", "eth0", "down")

    def mend(self) -> None:
        """Put it in again."""
        run("ip", "-n", self.network, "link", "set", "eth0", "up")


@dataclass
class Lab:
    """The campaign's host and those that it uses. ``environ``: of a command on the campaign's host."""

    folder: Path
    campaign: Host
    hosts: tuple[Host, ...]
    environ: dict[str, str]
    _sshd: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def command(self, *argv: str) -> list[str]:
        """A command as it is called from this machine to run on the campaign's host."""
        return ["nsenter", f"--net=/run/netns/{self.campaign.network}", *argv]

    def left(self) -> dict[str, dict[int, str]]:
        """What still runs on any host but its sshd, when it had its time to end."""
        end = time.monotonic() + WITHIN
        while (left := self._left()) and time.monotonic() < end:
            time.sleep(0.2)
        return left

    def _left(self) -> dict[str, dict[int, str]]:
        found = {}
        for host in (self.campaign, *self.hosts):
            ours = {pid: line for pid, line in host.processes().items() if not _of_sshd(line)}
            if ours:
                found[host.name] = ours
        return found

    def switch_off(self, host: Host) -> None:
        """Cut the power: everything there is dead at once, and nothing is sent."""
        host.cut()
        self._sshd[host.name].kill()
        self._sshd[host.name].wait()

    def switch_on(self, host: Host) -> None:
        """Start its sshd."""
        self._sshd[host.name] = _sshd(self, host)


@contextmanager
def lab(folder: Path, names: tuple[str, ...], environ: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """Hosts of these names, as long as the context lasts; nothing of them is left after it.

    Args:
        folder: for their keys and folders, which stay.
        environ: of the sshd's sessions, besides its own.
    """
    sweep()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ending:
        switch = _network("switch", ending)
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        run("ip", "-n", switch, "link", "set", "lo", "up")
        hosts = [_host(name, number, folder, switch, ending) for number, name in enumerate(("campaign", *names), 1)]
        key = folder / "key"
        key.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        made = Lab(folder, hosts[0], tuple(hosts[1:]), _environ(folder, hosts))
        for host in made.hosts:
            (host.home / "environ").write_text(" ".join(f'"{n}={v}"' for n, v in (environ or {}).items()))
            made.switch_on(host)
            ending.callback(_killed, made._sshd, host)
        yield made


def sweep() -> None:
    """Remove the namespaces of a run that was killed."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0] if line else ""
        prefix, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        if prefix == PREFIX and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _removed(name)


def _network(name: str, ending: ExitStack) -> str:
    network = f"{PREFIX}-{os.getpid()}-{name}"
    run("ip", "netns", "add", network)
    ending.callback(_removed, network)
    return network


def _removed(network: str) -> None:
    for pid in run("ip", "netns", "pids", network).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", network)


def _host(name: str, number: int, folder: Path, switch: str, ending: ExitStack) -> Host:
    network, address = _network(name, ending), f"{NETWORK}.{number}"
    run("ip", "-n", network, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", switch)
    run("ip", "-n", switch, "link", "set", f"to-{name}", "master", "br0", "up")
    run("ip", "-n", network, "addr", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        run("ip", "-n", network, "link", "set", device, "up")
    home = folder / name
    for part in ("cache", "state"):
        (home / part).mkdir(parents=True, exist_ok=True)
    return Host(name, network, address, home)


def _environ(folder: Path, hosts: list[Host]) -> dict[str, str]:
    """Of the campaign's host, whose ssh knows the hosts by their names."""
    config = folder / "ssh_config"
    known = folder / "known_hosts"
    known.unlink(missing_ok=True)
    lines = []
    for host in hosts[1:]:
        key = host.home / "host_key"
        key.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        with known.open("a") as stream:
            stream.write(f"{host.address} {key.with_suffix('.pub').read_text()}")
        lines += [f"Host {host.name}", f"  HostName {host.address}", "  User root", f"  IdentityFile {folder / 'key'}"]
    lines += ["Host *", "  IdentitiesOnly yes", f"  UserKnownHostsFile {known}", "  GlobalKnownHostsFile /dev/null"]
    config.write_text("\n".join(lines) + "\n")
    tools = folder / "bin"  # an ssh that reads this configuration: the person's own lies in a home that is his
    tools.mkdir(exist_ok=True)
    (tools / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    (tools / "ssh").chmod(0o755)
    own = {"XDG_CACHE_HOME": str(hosts[0].home / "cache"), "XDG_STATE_HOME": str(hosts[0].home / "state")}
    return {**os.environ, **own, "PATH": f"{tools}:{os.environ['PATH']}"}


def _sshd(made: Lab, host: Host) -> subprocess.Popen[bytes]:
    """Start the host's sshd, the first process of its PID namespace, and wait until it listens."""
    session = (
        f'"XDG_CACHE_HOME={host.home / "cache"}" "XDG_STATE_HOME={host.home / "state"}" '
        f'"PATH={PYTHON.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" '
    )
    lines = [
        f"ListenAddress {host.address}",
        f"HostKey {host.home / 'host_key'}",
        f"AuthorizedKeysFile {made.folder / 'key.pub'}",
        "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password", "PidFile none", "PrintMotd no",
        f"SetEnv {session}{(host.home / 'environ').read_text()}",
    ]  # fmt: skip
    config = host.home / "sshd_config"
    config.write_text("\n".join(lines) + "\n")
    temporary = host.home / "tmp"
    temporary.mkdir(mode=0o1777, exist_ok=True)
    script = (  # /var/tmp: names of folders there have pids in them, which are of one host
        f"mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && mount --bind {temporary} /var/tmp"
        f" && hostname {host.name} && exec {SSHD} -D -e -f {config}"
    )
    unshare = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script)
    with (host.home / "sshd.log").open("ab") as log:
        child = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.network}", *unshare], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    host.mend()
    end = time.monotonic() + WITHIN
    while f"{host.address}:22 " not in run("ip", "netns", "exec", host.network, "ss", "-Hltn"):
        if child.poll() is not None or time.monotonic() > end:
            raise OSError(f"the sshd of {host.name} does not start: {(host.home / 'sshd.log').read_text()[-500:]}")
        time.sleep(0.05)
    return child


def _of_sshd(line: str) -> bool:
    return line.startswith(("sshd: /", "sshd: root", SSHD, "unshare ", "sh -c mount"))


def _killed(sshd: Mapping[str, subprocess.Popen[bytes]], host: Host) -> None:
    sshd[host.name].kill()
    sshd[host.name].wait()


def _words(path: Path) -> str:
    return path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def run(*argv: str) -> str:
    """Run a command of this machine. Raises OSError with what it printed."""
    done = _tried(*argv)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _tried(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
