# SPDX-License-Identifier: GPL-2.0-only
"""A condition as a type: a key for each fact of the table (facts/table.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import create_model

from bisector.recipe.base import Base
from bisector.recipe.facts import table
from bisector.recipe.facts.expect import Expect
from bisector.recipe.facts.row import Key, Row
from bisector.recipe.values import Text

_KEYS: dict[Key, Any] = {
    Key.MACHINE: Literal["vm", "guest"],
    Key.GUEST: Literal["guest"],
    Key.STEP: Text,
    Key.STEP_OR_MACHINE: Text,
    Key.LAYER: Text,
}


class _Facts(Base):
    """All facts together. The fields' order is the order of the facts."""

    def facts(self) -> Iterator[tuple[Row, str, Expect[Any]]]:
        """Each fact that the condition names: its row, what it is about (a step, a layer, vm, guest), its values."""
        for row in table.ROWS.values():
            for where, expect in getattr(self, row.kind.value).items():
                yield row, where, expect


if TYPE_CHECKING:
    Condition = _Facts
else:
    Condition = create_model(
        "Condition",
        __base__=_Facts,
        __module__=__name__,
        __doc__=_Facts.__doc__,
        **{row.kind.value: (dict[_KEYS[row.key], row.expect], {}) for row in table.ROWS.values()},
    )
