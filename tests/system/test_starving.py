# SPDX-License-Identifier: GPL-2.0-only
"""How long a process tree waited for a processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bisector.system.starving import waited

SPIN = "import sys, threading, time\nend = time.time() + 1.5\nprint(flush=True)\nwhile time.time() < end: pass\ninput()"
one_processor = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pins processes to a processor")


def spinning(count: int) -> list[subprocess.Popen[str]]:
    """So many below one processor, each under a shell of its own; returns when all have spun for a while."""
    pinned = min(os.sched_getaffinity(0))
    argv = ["sh", "-c", f"taskset -c {pinned} {sys.executable} -S -c '{SPIN}'; true"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    made = [subprocess.Popen(argv, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for each in made:
        each.stdout.readline()
    time.sleep(2.0)
    return made


@one_processor
def test_of_four_that_share_a_processor_each_waits_most_of_the_time() -> None:
    made = spinning(4)
    seen = [waited(each.pid) for each in made]
    for each in made:
        each.communicate("\n")
    assert max(seen) > 0.5  # of the 1.5 s that it spins, whatever else the host does


def test_what_sleeps_waits_for_no_processor() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    time.sleep(0.5)
    before = waited(sleeper.pid)  # that of its start
    time.sleep(0.5)
    after = waited(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert after == before


def test_what_has_ended_waited_for_nothing() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert waited(ended.pid) == 0.0
