# SPDX-License-Identifier: GPL-2.0-only
"""The lines of a trial's log that show what its condition matched, short enough for a mail. Pure.

A log is bytes that a kernel under test wrote: it may hold anything, and leaves here as printable text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bisector.agent.plan import MARKER
from bisector.model import ConsoleEvent, EventKind, Trial

LINES = 40  # of an excerpt, the line that says how much was left out included
BEFORE = 8  # lines kept before the one that decided
WIDTH = 400  # characters kept of one line
SHOWN = 2  # lines kept of a run of lines that differ in their numbers alone

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_TIME = re.compile(r"^\[\s*\d+\.\d+\]")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Excerpt:
    """Lines of one log. ``name``: the log's; ``left_out``: how many lines of the workload's part are not shown.

    ``focus``: place of the line that decided.
    """

    name: str = ""
    lines: tuple[str, ...] = ()
    left_out: int = 0
    focus: int = 0


NOTHING = Excerpt()


def printable(text: str) -> str:
    """``text`` on one line without escape sequences and control characters, so that nothing in it acts."""
    text = _ESCAPES.sub("", text)
    return "".join(" " if _acts(letter) else letter for letter in text).rstrip()


def _acts(letter: str) -> bool:
    """Control characters, surrogates, unassigned ones, direction marks, and what ends a line somewhere."""
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def readable(data: bytes) -> tuple[str, ...]:
    """A whole log as lines of printable text, the agent's markers left out."""
    lines = (printable(line)[:WIDTH] for line in _split(data))
    return tuple(line for line in lines if line and not _is_marker(line))


def excerpt(name: str, data: bytes, trial: Trial) -> Excerpt:
    """At most ``LINES`` lines of a log, around what decided the trial.

    The workload's part of the log is what lies between the agent's markers of the first step and the end. The line that
    decided is the one of the condition's console event, else of a crash, else the last one of the workload. Of lines
    that repeat themselves but for their numbers the first ones are kept.
    """
    raw = [printable(line)[:WIDTH] for line in _split(data)]
    lines = [line for line in _workload(raw) if line]
    if not lines:
        return Excerpt(name)
    focus = _focus(lines, trial)
    kept = _window(_without_repeats(lines, focus), focus)
    place = len(tuple(_with_gaps(lines, kept[: kept.index(focus) + 1]))) - 1
    return Excerpt(name, tuple(_with_gaps(lines, kept)), len(lines) - len(kept), place)


def _split(data: bytes) -> list[str]:
    """Lines; a line end inside a message stands as ``\\x0a`` in what /dev/kmsg gives (Documentation/ABI, dev-kmsg)."""
    return data.replace(rb"\x0a", b"\n").decode(errors="replace").split("\n")


def _is_marker(line: str) -> bool:
    return _TIME.sub("", line).lstrip().startswith(f"{MARKER} ")


def _workload(lines: Sequence[str]) -> list[str]:
    """The lines from the first step on, all lines where no step has begun; markers left out."""
    begins = [n for n, line in enumerate(lines) if _is_marker(line) and " step " in line and line.endswith(" begin")]
    ends = [n for n, line in enumerate(lines) if _is_marker(line) and line.endswith(" end") and " step " not in line]
    part = lines[begins[0] if begins else 0 : ends[-1] if ends else None]
    return [line for line in part if not _is_marker(line)]


def _focus(lines: Sequence[str], trial: Trial) -> int:
    for event in _decisive(trial):
        text = _bare(printable(event.text))
        found = next((n for n, line in enumerate(lines) if text and text in line), None)
        if found is not None:
            return found
    return len(lines) - 1


def _decisive(trial: Trial) -> Iterable[ConsoleEvent]:
    """Console events by what they count for this trial's reading: its condition's own, then crashes, then others."""
    prefix = f"{trial.reading.condition}/"
    events = trial.observation.console
    own = [event for event in events if trial.reading.condition and event.name.startswith(prefix)]
    return (*own, *(event for event in events if event.kind is EventKind.CRASH), *events)


def _bare(text: str) -> str:
    return _TIME.sub("", text).strip()


def _without_repeats(lines: Sequence[str], focus: int) -> list[int]:
    """Numbers of the lines to keep: ``SHOWN`` of each kind, those about the focus, and the last ones."""
    seen: dict[str, int] = {}
    kept = []
    for number, line in enumerate(lines):
        shape = _NUMBER.sub("#", _bare(line))
        seen[shape] = seen.get(shape, 0) + 1
        if seen[shape] <= SHOWN or abs(number - focus) <= 1:
            kept.append(number)
    return kept


def _window(kept: list[int], focus: int) -> list[int]:
    """At most so many that the excerpt holds ``LINES`` lines with the gaps named."""
    at = kept.index(focus)
    begin = max(0, min(at - BEFORE, len(kept) - LINES))
    chosen = kept[begin : begin + LINES]
    while len(chosen) + _gaps(chosen) > LINES:
        chosen = chosen[:-1] if chosen[-1] != focus else chosen[1:]
    return chosen


def _gaps(chosen: Sequence[int]) -> int:
    return sum(after - before > 1 for before, after in pairwise(chosen))


def _with_gaps(lines: Sequence[str], kept: Sequence[int]) -> Iterable[str]:
    previous = None
    for number in kept:
        if previous is not None and number - previous > 1:
            count = number - previous - 1
            yield f"[... {count} line{'s' if count > 1 else ''} left out ...]"
        yield lines[number]
        previous = number
