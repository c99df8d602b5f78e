# SPDX-License-Identifier: GPL-2.0-only
"""Whether this host gave a process tree the processor when it wanted one. Linux only; only looks."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
NANOSECONDS = 1e-9


def waited(root: int) -> float:
    """The longest time that one thread of a process or its descendants was ready to run and did not, in seconds.

    Args:
        root: pid of a process that adopts orphans below it (a guard does), so that all are found.

    The second figure of ``/proc/PID/task/TID/schedstat`` is the time spent on a run queue in nanoseconds
    (Documentation/scheduler/sched-stats.rst). 0.0 where the kernel keeps none (CONFIG_SCHED_INFO) or nothing runs
    any more; threads that have ended are not counted.
    """
    return max((_waited(pid) for pid in _tree(root)), default=0.0)


def _waited(pid: int) -> float:
    longest = 0
    for thread in _listed(PROC / str(pid) / "task"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            longest = max(longest, int((thread / "schedstat").read_text(encoding="ascii").split()[1]))
    return longest * NANOSECONDS


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in _listed(PROC):
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                # Behind the name, which stands in brackets and may hold anything: state, ppid (proc(5)).
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
