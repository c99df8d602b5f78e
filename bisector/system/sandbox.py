# SPDX-License-Identifier: GPL-2.0-only
"""The sandbox that code of others runs in: how a command becomes one of bubblewrap's (bwrap(1)).

Inside there is no network and no home folder, the host is read-only, /tmp, /var/tmp, /run and /dev are new and nearly
empty, and processes see each other alone. What else a command needs is its ``Access``. Each path keeps its name, so
that a command reads the same inside and outside.

What it does not do: a program inside may use as much CPU and memory as we may, and it can read what every user of the
host can read outside of home folders.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

PROGRAM = "bwrap"
PACKAGE = "bubblewrap"
OFF = "--no-sandbox"

NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
"""Not --unshare-user: bwrap makes a user namespace by itself where it needs one, that is for all but root."""

NOTE = f"The sandbox is off ({OFF}): what was built and tried could read and change all that its user may"
"""Said on the terminal and, among what was assumed, in every report of what ran so."""

TEMPORARY = ("/tmp", "/var/tmp")
TEMPORARY_SIZE = 2 << 30  # bytes of memory that each of them may take
EMPTY = ("/run", "/root", "/home", "/media", "/mnt")  # sockets of the host's services; folders of persons; their disks
EMPTY_SIZE = 1 << 20

SECRETS = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private", "/etc/krb5.keytab")
"""What only root can read, and nothing that is built or booted needs. Host keys of sshd are found by their name."""

PERSONS = range(1000, 60000)  # user ids of persons, see /etc/login.defs; services live below /var

SYSTEM = ("/usr", "/etc", "/var/lib", "/dev", "/proc", "/sys")
"""What is never hidden, nor anything that holds it."""

CLEAN = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""What a command hears of our environment when its caller names none: no token, no socket, no setting."""


class Trust(Enum):
    """The other choice than ``Access``."""

    HOST = "host"


HOST = Trust.HOST
"""For a program of this host that runs no code of others. It runs as we do, with all that we may touch."""


@dataclass(frozen=True)
class Access:
    """What a command that runs code of others may touch, besides reading what every user of the host can read.

    Args:
        writable: folders that it may change. They must be there.
        readable: files and folders that may lie where the sandbox shows none: below a home folder, /tmp, /run.
        devices: devices that it may open; those that are not there are left out.
        hidden: folders and files of the host that it does without; those that are not there are left out.
    """

    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Sandbox:
    """Turns commands into confined ones. ``off``: the person said --no-sandbox, and commands run as they are."""

    off: bool = False

    def describe(self) -> str:
        """What confines, in words for a report."""
        return f"none ({OFF})" if self.off else PACKAGE

    def command(
        self,
        argv: Sequence[str],
        access: Access,
        *,
        program: str,
        cwd: Path | None,
        env: Mapping[str, str],
        status: int,
        terminal: bool = False,
    ) -> list[str]:
        """The argument list that runs ``argv`` confined.

        Without a terminal it stays in the session of its guard, which has none: a priority is one of the session
        where the kernel schedules by sessions (sched(7), autogroup).

        Args:
            program: path of bwrap.
            cwd: the working folder; / when None.
            env: the command's environment: programs that its PATH names are made visible.
            status: file descriptor that bwrap reports to.
            terminal: whether it has a terminal, which a session of its own keeps it from typing into.
        """
        hidden = hidden_folders()
        session = ["--new-session"] if terminal else []
        words = [program, "--die-with-parent", *session, "--cap-drop", "ALL", *NAMESPACES]
        words += ["--ro-bind", "/", "/", "--dev", "/dev"]
        words += ["--proc", "/proc", "--remount-ro", "/proc"]  # root owns /proc/sys
        for folder in hidden:
            size = TEMPORARY_SIZE if os.fspath(folder) in TEMPORARY else EMPTY_SIZE
            words += ["--perms", "1777" if size == TEMPORARY_SIZE else "0755"]
            words += ["--size", str(size), "--tmpfs", os.fspath(folder)]
        for place in dict.fromkeys((*_secrets(), *(path.resolve() for path in access.hidden if path.exists()))):
            words += ["--tmpfs"] if place.is_dir() else ["--ro-bind", "/dev/null"]
            words.append(os.fspath(place))
        for device in access.devices:
            words += ["--dev-bind-try", os.fspath(device), os.fspath(device)]
        folders = f"{env.get('PATH', os.defpath)}:{env.get('LD_LIBRARY_PATH', '')}"
        readable = (*access.readable, *_programs(folders, hidden))
        words += _binds(access.writable, readable, hidden)
        words += ["--chdir", os.fspath(cwd or "/"), "--json-status-fd", str(status), "--"]
        return [*words, *argv]

    def environment(self, env: Mapping[str, str] | None, access: Access) -> dict[str, str]:
        """The environment of a confined command: HOME and TMPDIR name folders that it can write."""
        given = {name: os.environ[name] for name in CLEAN if name in os.environ} if env is None else dict(env)
        for name in ("HOME", "TMPDIR"):
            place = Path(given.get(name, "/nonexistent"))
            if not any(place.is_relative_to(folder) for folder in access.writable):
                given[name] = TEMPORARY[0]
        return given


CONFINED = Sandbox()
UNCONFINED = Sandbox(off=True)


def was_off(described: str) -> bool:
    """Whether nothing confined what an image or an observation describes so (``Sandbox.describe``)."""
    return described == UNCONFINED.describe()


def installation(program: str) -> tuple[Path, ...]:
    """The folders that a program below a home folder needs: its own and those of its libraries.

    Args:
        program: path of the program. A link is followed; a virtual environment brings the Python that it was made of.
    """
    path = Path(program).absolute()
    return tuple(dict.fromkeys(found for each in (path, path.resolve()) for found in _around(each.parent)))


def hidden_folders() -> tuple[Path, ...]:
    """The folders of this host of which nothing is seen inside, the uppermost ones alone."""
    return _hidden(os.environ.get("HOME", ""))


@functools.cache
def _hidden(home: str) -> tuple[Path, ...]:
    persons = [entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid in (*PERSONS, os.getuid())]
    names = (*TEMPORARY, *EMPTY, *persons, home)
    found = {Path(os.path.realpath(name)) for name in names if name.startswith("/")}
    usable = {folder for folder in found if _can_be_hidden(folder)}
    return tuple(sorted(folder for folder in usable if usable.isdisjoint(folder.parents)))


def _can_be_hidden(folder: Path) -> bool:
    """Whether programs do without it: somebody's home folder may be /, or /usr/games."""
    system = (Path(name) for name in SYSTEM)
    return folder.is_dir() and not any(place.is_relative_to(folder) for place in system) and SYSTEM[0] not in (
        os.fspath(parent) for parent in folder.parents
    )  # fmt: skip


def _secrets() -> Iterator[Path]:
    """Secrets that we could read, as root can."""
    for path in (*map(Path, SECRETS), *Path("/etc/ssh").glob("ssh_host_*_key")):
        if os.access(path, os.R_OK):
            yield path


def _programs(path: str, hidden: Sequence[Path]) -> Iterator[Path]:
    """Folders of PATH that lie where the sandbox shows nothing, with what stands beside them."""
    for name in path.split(":"):
        folder = Path(name)
        if not folder.is_absolute() or not folder.is_dir() or folder.resolve() in hidden:
            continue
        if _below(folder, hidden) or _below(folder.resolve(), hidden):
            yield from _around(folder)


def _around(folder: Path) -> Iterator[Path]:
    """A folder of programs, and the folders in which they look for their libraries; of a virtual environment all."""
    yield folder
    prefix = folder.parent
    settings = prefix / "pyvenv.cfg"
    if settings.is_file():
        yield prefix
        for line in settings.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "home" and Path(value.strip()).is_dir():
                yield from _around(Path(os.path.realpath(value.strip())))
    elif folder.name in ("bin", "sbin"):
        yield from (place for name in ("lib", "lib64", "libexec", "include") if (place := prefix / name).is_dir())
        yield from prefix.glob("*-linux*")  # of a compiler for another machine


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _binds(writable: Iterable[Path], readable: Iterable[Path], hidden: Sequence[Path]) -> list[str]:
    """Options that make paths visible under the names they are given by, outer folders first."""
    wanted: dict[Path, tuple[str, Path]] = {}
    for option, paths in (("--ro-bind-try", readable), ("--bind", writable)):
        for path in paths:
            real = Path(os.path.realpath(path))
            wanted[real] = (option, real)
            name = path.absolute()
            if name != real and _below(name, hidden):  # a link that is not to be seen inside
                wanted[name] = (option, real)
    binds = []
    for place, (option, real) in sorted(wanted.items(), key=lambda item: len(item[0].parts)):
        if option == "--bind" or _below(place, hidden) or any(place.is_relative_to(w) for w in writable):
            binds += [option, os.fspath(real), os.fspath(place)]
    return binds


def find_program() -> str:
    """Path of bwrap, "" when it is not installed."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/bin:/usr/local/bin") or ""
