# SPDX-License-Identifier: GPL-2.0-only
"""Regular expressions of a recipe: what is wrong with one, found without running it. Pure.

A pattern from elsewhere may cost exponential time even against an empty line (``(|)(|)(|)...x``), so whether it
matches without a character is taken from its parsed form and not tried.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from bisector.recipe.values import shown

MAX_PATTERN = 1_000
"""Characters of one regular expression."""

MAX_TOGETHER = 8_000
"""Characters of all regular expressions of a recipe: a class of cased letters takes 0.4 ms for 20 of them."""


def faults(patterns: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    """What is wrong with patterns that are alternatives of each other: index of the one to blame (None: all), message.

    They are looked for as one expression, so groups and back references of one would count those of another.
    """
    wrong = False
    for index, pattern in enumerate(patterns):
        message = fault(pattern, alone=len(patterns) == 1)
        if message:
            wrong = True
            yield index, message
    if len(patterns) > 1 and not wrong and isinstance(error := _parsed(joined(patterns)), str):
        yield None, f"the regular expressions do not compile together: {error}"


def joined(patterns: Sequence[str]) -> str:
    """One expression for all patterns: the pattern itself where it is the only one."""
    return patterns[0] if len(patterns) == 1 else "|".join(f"(?:{pattern})" for pattern in patterns)


@lru_cache(maxsize=4_096)
def fault(pattern: str, *, alone: bool = True) -> str:
    """What is wrong with a pattern, "" for nothing. ``alone``: it is not one of several alternatives."""
    if len(pattern) > MAX_PATTERN:
        return f"a regular expression of {len(pattern)} characters; at most {MAX_PATTERN}"
    found = _parsed(pattern)
    if not isinstance(found, str) and not alone:
        found = _parsed(f"(?:{pattern})")  # flags such as (?i) stand only at the very beginning
    if isinstance(found, str):
        return f"the regular expression {shown(pattern)} does not compile: {found}"
    if found.getwidth()[0] == 0:
        return f"the regular expression {shown(pattern)} matches an empty line, so every one"
    if _explodes(found):
        return f"the regular expression {shown(pattern)} repeats a repeat, which takes exponential time on some lines"
    if not alone and re.search(r"\\[1-9]|\(\?P=|\(\?\(", pattern):
        return f"{shown(pattern)} has a back reference, and stands in a list; write the list as one expression"
    return ""


_MANY = 16
"""A repeat of more than so many is one that multiplies ways to match."""


def _explodes(parsed: Any) -> bool:
    """Whether a pattern has one of the shapes that are known to try every way to split a line.

    Those are ``(a+)+``, ``(a*b*)*``, ``(a|b+)*`` and ``(|)``, all of which can be written without. Others are not
    found: whether a pattern can take exponential time is not decided by its shape alone.
    """
    for operation, argument in parsed:
        name = str(operation)
        if name.endswith("_REPEAT") and argument[1] > _MANY and _only_repeats(argument[2]):
            return True
        if name == "BRANCH" and sum(branch.getwidth()[0] == 0 for branch in argument[1]) > 1:
            return True
        if any(_explodes(part) for part in _parts(argument)):
            return True
    return False


def _parts(argument: Any) -> Iterator[Any]:
    """The parsed patterns inside of an operation's argument."""
    if hasattr(argument, "getwidth"):
        yield argument
    elif isinstance(argument, tuple | list):
        for part in argument:
            yield from _parts(part)


def _only_repeats(parsed: Any) -> bool:
    """Whether nothing in the pattern keeps one round of a loop around it apart from the next."""
    items = list(parsed)
    if len(items) == 1 and str(items[0][0]) in ("SUBPATTERN", "ATOMIC_GROUP"):
        return any(_only_repeats(part) for part in _parts(items[0][1]))
    if len(items) == 1 and str(items[0][0]) == "BRANCH":
        return any(_only_repeats(branch) for branch in items[0][1][1])
    repeats = [argument for operation, argument in items if str(operation).endswith("_REPEAT") and argument[1] > _MANY]
    return bool(items) and len(repeats) == len(items) and sum(least > 0 for least, _, _ in repeats) <= 1


def _parsed(pattern: str) -> Any:
    """The pattern as ``re`` parses it (an object with ``getwidth()``), or what keeps it from being one."""
    from re import _parser  # type: ignore[attr-defined]  # sre_parse until 3.10; nothing public gives the width

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sets that may mean something else one day
            re.compile(pattern)
            return _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
