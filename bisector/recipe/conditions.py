# SPDX-License-Identifier: GPL-2.0-only
"""A condition as a type: a key for each fact of the table (facts/table.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import create_model

from bisector.recipe.base import Base
from bisector.recipe.facts import table
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import Key, Row
from bisector.recipe.values import Text

_KEYS: dict[Key, Any] = {
    Key.MACHINE: Literal["vm", "guest"],
    Key.VM: Literal["vm"],
    Key.GUEST: Literal["guest"],
    Key.STEP: Text,
    Key.STEP_OR_MACHINE: Text,
    Key.LAYER: Text,
}


class Entry(NamedTuple):
    """One fact that a condition names.

    Args:
        row: what is known of the fact.
        where: what it is about: a step, a layer, vm, guest.
        expect: its values.
        name: of a fact with names the name, else "".
    """

    row: Row
    where: str
    expect: Expect[Any]
    name: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """Where it stands below its condition."""
        return (self.row.kind.value, self.where, *((self.name,) if self.row.named else ()))


class _Facts(Base):
    """All facts together. The fields' order is the order of the facts."""

    def facts(self) -> Iterator[Entry]:
        """Each fact that the condition names."""
        for row in table.ROWS.values():
            for where, expect in getattr(self, row.kind.value).items():
                if row.named:
                    yield from (Entry(row, where, one, name) for name, one in expect.items())
                else:
                    yield Entry(row, where, expect)


def _type(row: Row) -> Any:
    """What stands behind a fact's key."""
    key: Any = _KEYS[row.key]
    value: Any = row.expect
    return dict[key, dict[Text, value]] if row.named else dict[key, value]


if TYPE_CHECKING:
    Condition = _Facts
else:
    Condition = create_model(
        "Condition",
        __base__=_Facts,
        __module__=__name__,
        __doc__=_Facts.__doc__,
        **{row.kind.value: (_type(row), {}) for row in table.ROWS.values()},
    )
