# SPDX-License-Identifier: GPL-2.0-only
"""All kinds and types of storage, in the order in which they are shown. A new type is a row in the module of its kind,
a new kind a module and a line here."""

from __future__ import annotations

from . import disk, file, fs, lvm, md
from .row import Kind, Row

_MODULES = (disk, lvm, md, fs, file)
KINDS: dict[str, Kind] = {module.KIND.name: module.KIND for module in _MODULES}
ROWS: dict[tuple[str, str], Row] = {(row.kind, row.type): row for module in _MODULES for row in module.ROWS}


def types(kind: str) -> tuple[str, ...]:
    """The types of one kind."""
    return tuple(type_ for name, type_ in ROWS if name == kind)


def row(kind: str, type_: str) -> Row | None:
    """What is known of a type, None where there is none such."""
    return ROWS.get((kind, type_))
