# SPDX-License-Identifier: GPL-2.0-only
"""The streams a person sees, as an object that is passed in: outcome on stdout, progress and errors on stderr.

Everything that is shown passes ``printable`` here, so that nothing that came from elsewhere acts on the terminal.
"""

from __future__ import annotations

import contextlib
import re
import textwrap
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from bisector.busy import LINES, BusySlots
from bisector.errors import BisectorError
from bisector.interfaces import Phase, Progress
from bisector.printable import printable, printable_line

LIVE = frozenset((Phase.CHECKOUT, Phase.BUILD, Phase.BOOT, Phase.STORAGE, Phase.WORKLOAD, Phase.DOWNLOAD, Phase.UNPACK))
"""Phases that go on for a while: shown on the live lines of a terminal, and nowhere else."""

HIDDEN = frozenset((Phase.ANSWER, Phase.NIGHT, Phase.OUTCOME, Phase.TAKEN, Phase.FREE))
"""Phases for programs alone: people read the verdict, the report, the night's news and its summary."""

_STYLE = {Phase.VERDICT: "bold", Phase.SEARCH: "cyan", Phase.STAGE: "bold cyan"}
_LEAD = {Phase.STAGE: "", Phase.VERDICT: "  → ", Phase.TRIAL: "    "}

REDRAWN = 5.0
"""Times a second at which the live lines are drawn anew."""


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
        self._live: Live | None = None
        self._spinner = Spinner("dots", style="status.spinner")
        self._lock = threading.Lock()
        self._busy = BusySlots()
        self._accel: dict[str, str] = {}  # machine → what runs its VMs
        self.names_recipes = False
        """Whether each line says which recipe, and which cell, it is about: several are at work at once."""

    def write(self, text: str) -> None:
        """Print to stdout, made printable, after the live lines."""
        self.stop()
        with self._lock:
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
        """A listener, for any thread: live phases go to the live lines, everything else is a line of its own."""
        if progress.phase in LIVE:
            self._draw(progress)
            return
        if progress.phase is Phase.FREE or progress.work is None:
            self._busy.free(progress.work)
        if progress.phase in HIDDEN:
            return
        if progress.phase is Phase.CANDIDATE:
            self._busy.begin(progress.detail)
            return
        if progress.phase is Phase.ACCEL and not self._is_news(progress):
            return
        place = f" on {progress.work.worker}" if progress.work and progress.work.worker else ""
        lead = _LEAD.get(progress.phase, "  ")
        text = f"{lead}{self._about(progress)}{printable_line(progress.detail)}{place}"
        text = self._wrapped(text, len(lead) + 2)
        self.say(text, _STYLE.get(progress.phase, ""))

    def _about(self, progress: Progress) -> str:
        """The recipe of an event and the cell, as the begin of a line that does not name it."""
        if not self.names_recipes or not progress.recipe or progress.recipe in re.split(r"[:,]? ", progress.detail):
            return ""
        found = progress.trial or progress.judgement
        cell = f" ({printable_line(found.cell)})" if found and found.cell else ""
        return f"{printable_line(progress.recipe)}{cell}: "

    def _is_news(self, progress: Progress) -> bool:
        """What runs the VM comes with every trial and is of interest once, for each machine."""
        worker = progress.work.worker if progress.work else ""
        with self._lock:
            known = self._accel.get(worker)
            self._accel[worker] = progress.detail
        return known != progress.detail

    def _wrapped(self, text: str, indent: int) -> str:
        """``text`` broken at blanks on a terminal; errors are not, a command in them must stay one line."""
        if not self._console.is_terminal:
            return text
        return textwrap.fill(
            text, self._console.width, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True
        )

    def _draw(self, progress: Progress) -> None:
        if self.names_recipes and progress.recipe:
            progress = replace(progress, candidate=f"{progress.recipe}: {progress.candidate}")
        quiet = self._busy.take(progress, time.monotonic())
        if not self._console.is_terminal:
            if quiet:
                self.say(f"    {quiet}")
            return
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._live is None:
                self._live = Live(
                    console=self._console, get_renderable=self._lines, transient=True, refresh_per_second=REDRAWN
                )
                self._live.start()

    def _lines(self) -> Group:
        """The live lines as they are to be drawn now. Called by rich in a thread of its own, under its lock."""
        now = time.monotonic()
        lines = self._busy.lines(now, min(LINES, max(1, self._console.height - 1)))
        return Group(*(self._line(line, now) for line in lines))

    def _line(self, line: str, now: float) -> Text:
        head = () if line.startswith(" ") else (self._spinner.render(now), " ")
        text = Text.assemble(*head, printable_line(line), no_wrap=True)
        text.truncate(self._console.width - 2)
        return text

    def stop(self) -> None:
        """End the live lines."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._live is not None:
                live, self._live = self._live, None
                live.stop()
