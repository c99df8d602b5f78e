# SPDX-License-Identifier: GPL-2.0-only
"""A child that reads a range of inputs within limits, and prints a line of JSON for each that broke a promise.

``python -m tests.fuzz.worker FOLDER FIRST COUNT KIND...``
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.work import slowness, usual

SECONDS = 2.0  # of a usual processor for one input
SLOWNESS = slowness()  # of this host, as it is when a worker begins
MEBIBYTES = 200  # of memory for one input
GUARD = 2 << 30  # bytes of address space of a worker: more is a MemoryError, and so a failure
SHARE = 200  # one input in so many goes through the real command line as well
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class TooLong(BaseException):
    """The CPU time of one input is over. No Exception: nothing may catch it on its way."""


def stop(*_: Any) -> None:
    """What the timer does."""
    raise TooLong


def look(kind: str, number: int, place: Any) -> tuple[str, bytes]:
    """What is wrong with the answer to one input, "" for nothing; and the input."""
    from tests.fuzz import kinds

    data = kinds.made(kind, number, place)
    out, err = io.StringIO(), io.StringIO()
    before = _resident()
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS * SLOWNESS)
    began = time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = kinds.run(kind, data, place, random.Random(number))
    except TooLong:
        return "more than 4 s of CPU: " + "".join(traceback.format_exc().splitlines(keepends=True)[-8:]), data
    except BaseException:  # noqa: BLE001 (whatever comes out is what is looked for)
        return traceback.format_exc(), data
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - began
    if seconds > SECONDS:
        seconds = usual(seconds)
    said = out.getvalue() + err.getvalue()
    if code not in kinds.OK:
        return f"exit code {code}: {said[-600:]!a}", data
    if found := ACTS.search(said):
        return f"prints {found[0]!a}: {said[max(0, found.start() - 100) : found.end() + 50]!a}", data
    if seconds > SECONDS:
        return f"{seconds:.1f} s of CPU", data
    if max(before, _resident()) > before and _resident() > MEBIBYTES:
        return f"{_resident()} MiB of memory", data
    return (_through_the_command_line(kind, place) if number % SHARE == 0 else ""), data


def _resident() -> int:
    # Not ru_maxrss: it holds what the parent had before it became this program.
    return int(Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) >> 10


def _through_the_command_line(kind: str, place: Any) -> str:
    words = {"recipe": "check x.yaml", "watch": "nightly --check watch.yaml", "export": "replay x.bisector"}.get(kind)
    if words is None:
        return ""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    argv = [sys.executable, "-m", "bisector", *words.split()]
    done = subprocess.run(argv, cwd=place.folder, env=environment, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode(errors="surrogateescape")
    if done.returncode not in (0, 2, 5) or ACTS.search(said):
        return f"the real command line: exit code {done.returncode}: {said[-600:]!a}"
    return ""


def work(folder: Path, first: int, count: int, names: list[str]) -> None:
    """Look at the inputs ``first`` to ``first + count`` of each kind."""
    os.environ |= {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HOME": str(folder),
    }
    resource.setrlimit(resource.RLIMIT_AS, (GUARD, GUARD))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))
    signal.signal(signal.SIGPROF, stop)
    from tests.fuzz.kinds import Place

    place = Place(folder)
    place.prepare()
    for number in range(first, first + count):
        for kind in names:
            wrong, data = look(kind, number, place)
            if wrong:
                kept = folder / f"{kind}-{number}"
                kept.write_bytes(data)
                print(json.dumps({"kind": kind, "number": number, "file": str(kept), "wrong": wrong}), flush=True)
    print(json.dumps({"done": count * len(names), "peak": _resident()}), flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
