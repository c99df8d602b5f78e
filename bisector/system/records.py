# SPDX-License-Identifier: GPL-2.0-only
"""Which process groups are ours: one small file each while they live, so that a later start can end what was left.

A pid alone names nobody: it is used again. A record holds the guard's pid with its start time (proc(5), stat field 22,
clock ticks since boot), the boot's id, and a token that stands in the environment of the whole tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

TOKEN = "BISECTOR_PROCESS"  # name of the environment variable that marks a tree
PATIENCE = 2.0  # seconds to wait for killed orphans to be gone


@dataclass(frozen=True)
class Record:
    """One living tree: its guard (session leader, so also pgid of the guard's group), its owner, its token."""

    pid: int
    started: int
    owner: int
    owner_started: int
    boot: str
    token: str
    program: str


def new_token() -> str:
    """A fresh mark for a tree."""
    return secrets.token_hex(16)


def start_time(pid: int) -> int | None:
    """Start of a living process in clock ticks since boot; None when there is none (a zombie counts as none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def write(folder: Path, pid: int, token: str, program: str) -> Path:
    """Record a tree whose guard has just been started by this process. Raises OSError."""
    record = Record(
        pid=pid,
        started=start_time(pid) or 0,
        owner=os.getpid(),
        owner_started=start_time(os.getpid()) or 0,
        boot=_boot(),
        token=token,
        program=program,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{token}.json"
    draft = folder / f".{token}"  # renamed when whole: another campaign may be looking through the folder
    draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
    draft.replace(path)
    return path


def reap(folder: Path) -> tuple[int, ...]:
    """Kill every recorded tree whose owner is dead and drop its record. Returns the pids killed.

    Only a process that carries a record's token, or is the recorded guard by pid and start time, is touched.
    """
    dead = _left_behind(folder)
    killed = _kill([record for _, record in dead])
    for path, _ in dead:
        path.unlink(missing_ok=True)
    return killed


def left_behind(folder: Path) -> tuple[Path, ...]:
    """Files of the records whose owner is dead. Those of other commands that still work are none of them."""
    return tuple(path for path, _ in _left_behind(folder))


def _left_behind(folder: Path) -> list[tuple[Path, Record]]:
    return [(path, record) for path in sorted(folder.glob("*.json")) if (record := _read(path)) and not _owned(record)]


def reap_one(path: Path) -> tuple[int, ...]:
    """Kill the tree of one record, whoever owns it. Returns the pids killed."""
    record = _read(path)
    return _kill([record]) if record else ()


def _kill(records: list[Record]) -> tuple[int, ...]:
    boot = _boot()
    wanted = [record for record in records if record.boot == boot]
    killed: set[int] = set()
    end = time.monotonic() + PATIENCE
    while wanted and (found := _members(wanted)) and time.monotonic() < end:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.02)
    return tuple(sorted(killed))


def _owned(record: Record) -> bool:
    return record.boot == _boot() and start_time(record.owner) == record.owner_started


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # written whole or not at all, so this one is not ours
        return None


def _members(records: list[Record]) -> list[int]:
    """Living processes of the recorded trees."""
    tokens = {f"{TOKEN}={record.token}".encode() for record in records}
    guards = {(record.pid, record.started) for record in records}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        try:
            marked = not tokens.isdisjoint((entry / "environ").read_bytes().split(b"\0"))
        except OSError:  # it ended, or belongs to another user
            continue
        started = start_time(pid)
        if started is not None and (marked or (pid, started) in guards):
            found.append(pid)
    return found


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
