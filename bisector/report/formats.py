# SPDX-License-Identifier: GPL-2.0-only
"""The formats of a report that are one document each, by name. A format's module is loaded at its first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bisector.errors import InfraError
from bisector.printable import printable
from bisector.report.facts import Facts
from bisector.system.files import write_whole

ENDINGS = {"text": "txt", "json": "json", "junit": "xml", "ktap": "ktap", "kcidb": "json", "html": "html"}
"""Format → how its file's name ends."""

_MODULES = {"json": "json_format"}

NAMES = (*ENDINGS, "mail")


def render(name: str, facts: Facts) -> str:
    """The document, made printable. ``name``: a key of ``ENDINGS``."""
    made: Callable[[Facts], str] = import_module(f"bisector.report.{_MODULES.get(name, name)}").render
    return printable(made(facts))


def save(name: str, facts: Facts, folder: Path) -> Path:
    """Write the document into ``folder`` as ``report.*`` (``report.kcidb.json``, to stand beside ``report.json``)."""
    kind = "kcidb.json" if name == "kcidb" else ENDINGS[name]
    path = folder / f"report.{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfraError(f"{path} cannot be written: {error.strerror or error}") from error
    write_whole(path, render(name, facts))
    return path
