# SPDX-License-Identifier: GPL-2.0-only
"""The streams a person sees, as an object that is passed in: outcome on stdout, progress and errors on stderr.

Everything that is shown passes ``printable`` here, so that nothing that came from elsewhere acts on the terminal.
"""

from __future__ import annotations

import contextlib
import textwrap
import threading
import time
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from bisector.errors import BisectorError
from bisector.interfaces import Phase, Progress
from bisector.printable import printable, printable_line

LIVE = frozenset((Phase.CHECKOUT, Phase.BUILD, Phase.BOOT, Phase.STORAGE, Phase.WORKLOAD, Phase.DOWNLOAD, Phase.UNPACK))
"""Phases that go on for a while: shown on the live line of a terminal, and nowhere else."""

HIDDEN = frozenset((Phase.ANSWER, Phase.NIGHT, Phase.FREE))
"""Phases for programs alone: people read the verdict, and the summary."""

_STYLE = {Phase.VERDICT: "bold", Phase.SEARCH: "cyan", Phase.STAGE: "bold cyan"}
_LEAD = {Phase.STAGE: "", Phase.VERDICT: "  → ", Phase.TRIAL: "    "}

QUIET_SECONDS = 60.0
"""Without a terminal a live phase is shown only when it lasts, once in so many seconds."""


class _Console(Console):
    """rich's, which would end the whole program when nobody reads stderr any more, with exit code 1."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True


class Terminal:
    """Where a command prints.

    Args:
        out: for what a program may read.
        err: for people.
        environ: NO_COLOR and TERM are honoured.
        color: "auto", "always" or "never".
    """

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str], color: str = "auto") -> None:
        self.out = out
        forced = {"always": True, "never": False}.get(color)
        plain = color == "never" or (color == "auto" and bool(environ.get("NO_COLOR")))
        self._console = _Console(
            file=err, force_terminal=forced, no_color=plain, highlight=False, emoji=False, soft_wrap=True
        )
        self._status: Status | None = None
        self._lock = threading.Lock()
        self._since = self._shown = time.monotonic()
        self._phase: Phase | None = None  # of the live line
        self._accel = ""
        self._about = ""  # the candidate at work

    def write(self, text: str) -> None:
        """Print to stdout, made printable, after the live line."""
        self.stop()
        self.out.write(printable(text))
        self.out.flush()

    def say(self, text: str, style: str = "") -> None:
        """Print one line for people on stderr."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # it is full, or closed: work goes on
            self._console.print(Text(printable(text)), style=style or None)

    def fail(self, error: BisectorError) -> None:
        """Print an error and what to do about it."""
        self.stop()
        self.say(f"bisector: {error.what}", "bold red")
        for line in error.hint.split("\n") if error.hint else ():
            self.say(f"  {line}")

    def listen(self, progress: Progress) -> None:
        """A listener: live phases go to the live line, everything else is a line of its own."""
        if progress.phase in LIVE:
            self._live(progress)
            return
        if progress.phase in HIDDEN:
            return
        if progress.phase is Phase.CANDIDATE:
            self._about = progress.detail
            return
        if progress.phase is Phase.ACCEL:  # comes with every trial, of interest once
            if progress.detail == self._accel:
                return
            self._accel = progress.detail
        lead = _LEAD.get(progress.phase, "  ")
        text = self._wrapped(f"{lead}{printable_line(progress.detail)}", len(lead) + 2)
        self.say(text, _STYLE.get(progress.phase, ""))

    def _wrapped(self, text: str, indent: int) -> str:
        """``text`` broken at blanks on a terminal; errors are not, a command in them must stay one line."""
        if not self._console.is_terminal:
            return text
        return textwrap.fill(
            text, self._console.width, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True
        )

    def _live(self, progress: Progress) -> None:
        percent = f" {progress.fraction:.0%}" if progress.fraction is not None else ""
        now = time.monotonic()
        if progress.phase is not self._phase:
            self._phase, self._since, self._shown = progress.phase, now, now
        if not self._console.is_terminal:
            if now - self._shown >= QUIET_SECONDS:
                self._shown = now
                self.say(f"    {self._about}: {progress.phase}{percent}, {now - self._since:.0f} s")
            return
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._status is None:
                self._status = self._console.status("")
                self._status.start()
            line = f"{self._about}: {progress.phase}{percent} {now - self._since:.0f} s {progress.detail}"
            self._status.update(Text(printable_line(line)[: self._console.width - 4]))

    def stop(self) -> None:
        """End the live line."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._status is not None:
                status, self._status = self._status, None
                status.stop()
