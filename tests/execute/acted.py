# SPDX-License-Identifier: GPL-2.0-only
"""Jobs for a cluster's workers, acted: what they do is said in a word."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
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
    if what == "hang":
        time.sleep(seconds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if place.stop.is_set():
            return "stopped", os.getpid()
        time.sleep(0.05)
    return what, os.getpid()


def mark_stop(place: Place, mark: str) -> None:
    """Says in a file when it begins, and when it is stopped."""
    Path(mark).write_text("began")
    if place.stop.wait(30):
        Path(mark).write_text("stopped")


@dataclass(eq=False)
class ActedJob:
    """``only``: name of the one worker that suits. ``lost_is``: result where a worker fails; None: run elsewhere."""

    what: str = "done"
    seconds: float = 0.0
    only: str = ""
    lost_is: Any = None
    stop: bool = False
    about: str = ""
    wait: bool = False
    silence: float = 60.0
    messages: list[str] = field(default_factory=list)
    ran_on: list[str] = field(default_factory=list)

    def cancelled(self) -> bool:
        return self.stop

    def ready(self) -> bool:
        return not self.wait

    def trouble(self, result: Any) -> str:
        return "the harness failed" if result[0] == "trouble" else ""

    def heard(self, message: Any) -> None:
        self.messages.append(message)

    def fits(self, worker: Worker) -> int:
        return self.only in ("", worker.name)

    def run(self, call: Call) -> Any:
        self.ran_on.append(call.worker.name)
        if self.what == "lie":
            raise WorkerMismatch(f"{call.worker.name} sent another image")
        return call.run(act, self.what, self.seconds, silence=self.silence)

    def lost(self, what: str) -> Any:
        if self.lost_is is None:
            self.what = "done"
            raise WorkerLost(what)
        return self.lost_is


def job(acted: ActedJob) -> Any:
    """What is submitted; it never runs here, where a worker suits."""
    return f"here: {acted.what}"
