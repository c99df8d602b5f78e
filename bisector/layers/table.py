# SPDX-License-Identifier: GPL-2.0-only
"""All kinds and types of storage, in the order in which they are shown.

A new type is a row in the module of its kind. A new kind is a module with its ``KIND`` and ``ROWS``, and its name in
``_MODULES``: nothing else in the program names a kind.
"""

from __future__ import annotations

from typing import Protocol

from . import disk, file, fs, lvm, mapper, md, partition
from .option import Option
from .row import Kind, Row


class KindModule(Protocol):
    """The module of a kind."""

    @property
    def KIND(self) -> Kind:  # noqa: N802  # a constant of a module
        """The kind."""

    @property
    def ROWS(self) -> tuple[Row, ...]:  # noqa: N802
        """Its types, in the order in which they are shown."""


_MODULES: tuple[KindModule, ...] = (disk, partition, lvm, md, mapper, fs, file)
KINDS: dict[str, Kind] = {}
ROWS: dict[tuple[str, str], Row] = {}


def add(module: KindModule) -> None:
    """Put a kind and its types behind the others. Before ``bisector.recipe`` is imported: its grammar is made once."""
    KINDS[module.KIND.name] = module.KIND
    ROWS.update({(row.kind, row.type): row for row in module.ROWS})


for _module in _MODULES:
    add(_module)


def types(kind: str) -> tuple[str, ...]:
    """The types of one kind."""
    return tuple(type_ for name, type_ in ROWS if name == kind)


def words() -> dict[str, tuple[Option, ...]]:
    """Keys that only some types have, each with all that it may be."""
    found: dict[str, tuple[Option, ...]] = {}
    for row in ROWS.values():
        for word, option in row.words.items():
            found[word] = tuple(dict.fromkeys((*found.get(word, ()), option)))
    return found


def row(kind: str, type_: str) -> Row | None:
    """What is known of a type, None where there is none such."""
    return ROWS.get((kind, type_))


def first_names() -> tuple[str, ...]:
    """What ``bisector new --storage`` takes, in order: a disk, a volume or an array by its type, a file system ..."""
    return tuple(
        dict.fromkeys(KINDS[row.kind].first_name.format(kind=row.kind, type=row.type) for row in ROWS.values())
    )


def first_row(name: str) -> Row | None:
    """The first type that has this name for ``bisector new``."""
    named = (row for row in ROWS.values() if KINDS[row.kind].first_name.format(kind=row.kind, type=row.type) == name)
    return next(named, None)
