# SPDX-License-Identifier: GPL-2.0-only
"""Numbers in what a program printed: a line ``NAME=NUMBER``, or a path into JSON."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

from bisector.agent.plan import LEFT_OUT

KEPT = 256 << 10
"""Bytes of a step's output that are kept where a recipe looks into it."""

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.%-]*"
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


LONGEST = 16 << 10
"""Characters of a line that are looked at: an expression may take the square of that, or more."""

TRIED = 1_000
"""Lines that begin as a JSON text does, and are none: each is read as far as it is one."""


def is_cut(text: str) -> bool:
    """Whether the end of a step's output alone was kept."""
    return LEFT_OUT in text


def lines(text: str) -> list[str]:
    """The lines of what a program printed. A carriage return ends one too, and none of what str.splitlines takes for
    an end besides: a file's name, say, may hold it."""
    return re.split(r"\r\n|\n|\r", text)


def name_fault(name: str) -> str:
    """Why ``name`` names no number, "" where it may."""
    return "" if re.fullmatch(NAME, name) else "a number is named as bytes, write.iops or jobs.0.read.bw are"


def number(text: str, name: str) -> float | None:
    """The number that ``text`` gives to ``name``, None where it gives none.

    A line ``NAME=NUMBER`` (the last one counts) goes before a path into a JSON text that begins a line (the last one
    that has it counts). A path's words are keys and indexes with dots between them; a key may hold dots itself. In JSON
    with a list ``jobs`` of one job, as fio prints it (fio(1), --output-format=json), a path may begin inside that job.
    """
    lines = re.findall(rf"^[ \t]*{re.escape(name)}[ \t]*=[ \t]*({_NUMBER})[ \t\r]*$", text, re.MULTILINE)
    if lines:
        return _finite(float(lines[-1]))
    value: float | None = None
    for found in _json(text):
        at_path = itertools.chain.from_iterable(_at(top, name.split(".")) for top in _tops(found))
        value = next(at_path, value)
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json(text: str) -> Iterator[Any]:
    """The JSON texts that begin a line, also "[12.5]" of a kernel's; an indented one may be a piece of what was cut."""
    end = failed = 0
    for begin in re.finditer(r"^(?=[{\[])", text, re.MULTILINE):
        if begin.end() < end or failed == TRIED:
            continue
        try:
            found, end = json.JSONDecoder().raw_decode(text, begin.end())
        except (ValueError, RecursionError):
            failed += 1
        else:
            yield found


def _tops(found: Any) -> Iterator[Any]:
    yield found
    jobs = found.get("jobs") if isinstance(found, dict) else None
    if isinstance(jobs, list) and len(jobs) == 1:
        yield jobs[0]


def _at(value: Any, words: list[str]) -> Iterator[float]:
    """Numbers at the path ``words`` below ``value``; the shortest keys first."""
    if not words:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            yield float(value)
    elif isinstance(value, list):
        if words[0].isascii() and words[0].isdigit() and int(words[0][:9]) < len(value):
            yield from _at(value[int(words[0])], words[1:])
    elif isinstance(value, dict):
        for end in range(1, len(words) + 1):
            key = ".".join(words[:end])
            if key in value:
                yield from _at(value[key], words[end:])
