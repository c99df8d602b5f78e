# SPDX-License-Identifier: GPL-2.0-only
"""Jobs for a cluster's workers, acted: what they do is said in a word."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from bisector.execute.place import Place
from bisector.execute.remote import Call, Worker, WorkerLost, WorkerMismatch


def act(place: Place, what: str, seconds: float) -> tuple[str, int]:
    """Returns how it ended and the process it ran in."""
    place.send(f"begin {what}")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "full":
        raise OSError(28, "No space left on device")
    if what == "raise":
        raise ValueError("no such thing")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if place.stop.is_set():
            return "stopped", os.getpid()
        time.sleep(0.05)
    return what, os.getpid()


@dataclass(eq=False)
class ActedJob:
    """``only``: name of the one worker that suits. ``lost_is``: result where a worker fails; None: run elsewhere."""

    what: str = "done"
    seconds: float = 0.0
    only: str = ""
    lost_is: Any = None
    stop: bool = False
    messages: list[str] = field(default_factory=list)
    ran_on: list[str] = field(default_factory=list)

    def cancelled(self) -> bool:
        return self.stop

    def heard(self, message: Any) -> None:
        self.messages.append(message)

    def fits(self, worker: Worker) -> int:
        return self.only in ("", worker.name)

    def run(self, call: Call) -> Any:
        self.ran_on.append(call.worker.name)
        if self.what == "lie":
            raise WorkerMismatch(f"{call.worker.name} sent another image")
        return call.run(act, self.what, self.seconds)

    def lost(self, what: str) -> Any:
        if self.lost_is is None:
            self.what = "done"
            raise WorkerLost(what)
        return self.lost_is


def job(acted: ActedJob) -> Any:
    """What is submitted; it never runs here, where a worker suits."""
    return f"here: {acted.what}"
