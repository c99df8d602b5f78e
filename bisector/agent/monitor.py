# SPDX-License-Identifier: GPL-2.0-only
"""Commands of a recipe to the inner QEMU's monitor, and the end of the jobs that they begin."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from .machine import errno_in
from .outcome import Outcome
from .plan import LEFT_OUT
from .qemu import Qemu

GREETING = 30.0  # seconds that QEMU has for its greeting
SHOWN = 64 << 10  # characters of an answer that are kept


def command(qemu: Qemu, text: str, until: str, seconds: float) -> Outcome:
    """Give QEMU the QMP command ``text``; with ``until`` wait for that event of QMP, too, within ``seconds``.

    Exit code 0 for an answer, 1 for an error; the errno that an error ends with. ``detail`` is the answer as JSON, or
    the error's class and words; behind it the data of the event that was waited for. A job's event that names an error
    is an error as well (``BLOCK_JOB_COMPLETED``, qapi/block-core.json).
    """
    end = time.monotonic() + seconds
    if not qemu.wait(min(GREETING, seconds), lambda: qemu.greeted):
        return Outcome(done=False, exit=qemu.exit, detail="QEMU's monitor did not open")
    with qemu.listening(until) as heard:  # an event may come before this thread runs again
        return _executed(qemu, text, until, heard, end)


def _executed(qemu: Qemu, text: str, until: str, heard: Sequence[tuple[str, str]], end: float) -> Outcome:
    """As ``command``, until the time ``end``; ``heard``: the events of that name."""
    number = qemu.execute(text)
    qemu.wait(end - time.monotonic(), lambda: number in qemu.replies)
    if number not in qemu.replies:
        return Outcome(done=qemu.exit is not None, exit=qemu.exit, detail=f"no answer of QEMU: {qemu.output}")
    answered, said = qemu.replies.pop(number)  # a step may ask tens of thousands of times
    if not answered:
        return Outcome(exit=1, errno=errno_in(said), detail=_kept(said))
    if not until:
        return Outcome(exit=0, detail=_kept(said))

    qemu.wait(end - time.monotonic(), lambda: bool(heard))
    if not heard:
        return Outcome(done=qemu.exit is not None, exit=qemu.exit, detail=f"no {until} of QEMU: {qemu.output}")
    data = heard[0][1]
    error = _error(data)
    return Outcome(exit=int(bool(error)), errno=errno_in(f": {error}"), detail=f"{_kept(said)}\n{until} {data}")


def _kept(said: str) -> str:
    return said if len(said) <= SHOWN else LEFT_OUT + said[-SHOWN:]


def _error(data: str) -> str:
    """What an event's data names as an error, "" where it names none."""
    found = json.loads(data) if data else {}
    return str(found.get("error") or "") if isinstance(found, dict) else ""
