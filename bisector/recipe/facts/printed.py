# SPDX-License-Identifier: GPL-2.0-only
"""Numbers in what a program printed: a line ``NAME=NUMBER``, or a path into JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

KEPT = 256 << 10
"""Bytes of a step's output that are kept where a recipe looks for numbers or tests in it."""

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.%-]*"
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


def name_fault(name: str) -> str:
    """Why ``name`` names no number, "" where it may."""
    return "" if re.fullmatch(NAME, name) else "a number is named as bytes, write.iops or jobs.0.read.bw are"


def number(text: str, name: str) -> float | None:
    """The number that ``text`` gives to ``name``, None where it gives none.

    A line ``NAME=NUMBER`` (the last one counts) goes before a path into the first JSON text that begins a line. A
    path's words are keys and indexes with dots between them; a key may hold dots itself. In JSON with a list ``jobs``
    of one job, as fio prints it (fio(1), --output-format=json), a path may begin inside that job.
    """
    lines = re.findall(rf"^\s*{re.escape(name)}\s*=\s*({_NUMBER})\s*$", text, re.MULTILINE)
    if lines:
        return _finite(float(lines[-1]))
    found = _json(text)
    for top in _tops(found):
        for value in _at(top, name.split(".")):
            return value
    return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json(text: str) -> Any:
    """The first JSON text that begins a line; an indented one may be a piece of what was cut."""
    for begin in re.finditer(r"^(?=[{\[])", text, re.MULTILINE):
        try:
            return json.JSONDecoder().raw_decode(text, begin.end())[0]
        except (ValueError, RecursionError):
            continue
    return None


def _tops(found: Any) -> Iterator[Any]:
    yield found
    jobs = found.get("jobs") if isinstance(found, dict) else None
    if isinstance(jobs, list) and len(jobs) == 1:
        yield jobs[0]


def _at(value: Any, words: list[str]) -> Iterator[float]:
    """Numbers at the path ``words`` below ``value``; the shortest keys first."""
    if not words:
        if isinstance(value, int | float) and not isinstance(value, bool) and _finite(float(value)) is not None:
            yield float(value)
    elif isinstance(value, list):
        if words[0].isascii() and words[0].isdigit() and int(words[0][:9]) < len(value):
            yield from _at(value[int(words[0])], words[1:])
    elif isinstance(value, dict):
        for end in range(1, len(words) + 1):
            key = ".".join(words[:end])
            if key in value:
                yield from _at(value[key], words[end:])
