# SPDX-License-Identifier: GPL-2.0-only
"""``fio:`` of a step: the options of one job, or a job file beside the recipe (fio(1), "Job file format")."""

from __future__ import annotations

import re

from bisector.recipe.values import Number, WholeNumber, raw, shown, wrong

MAX_JOB = 32 << 10
"""Bytes of a job with its placeholders filled: it goes to fio's stdin at once, and a pipe holds 64 KiB."""

_OPTION = re.compile(r"[a-z][a-z0-9_]*")


def job(value: object) -> object:
    """The options of a job as fio reads them, each a text of one line; or the name of a job file, ``./NAME``."""
    if isinstance(value, str):
        if not value.startswith("./"):
            raise wrong(f"expected options of fio's, or ./NAME of a job file beside the recipe; found {shown(value)}")
        return value
    if not isinstance(value, dict) or not value:
        raise wrong(f"expected options of fio's as {{filename: '{{disk}}', rw: randread}}, found {shown(value)}")
    return {_option(name): _value(name, given) for name, given in value.items()}


def _option(name: object) -> str:
    if not isinstance(name, str) or not _OPTION.fullmatch(name):
        raise wrong(f"{shown(name)} is no option of a job; those of fio's are written as bs or time_based")
    return name


def _value(name: object, given: object) -> str:
    if isinstance(given, bool):
        return str(int(given))
    if isinstance(given, dict):
        raise wrong(f"{name}: expected a word or a number; a layer is written in quotes: '{{disk}}'")
    if not isinstance(given, str | int | float | Number | WholeNumber):
        raise wrong(f"{name}: expected a word or a number, found {shown(given)}")
    found = raw(given)
    if not found.strip() or not found.isprintable():
        raise wrong(f"{name}: {shown(given)} is no value of one printable line")
    return found
