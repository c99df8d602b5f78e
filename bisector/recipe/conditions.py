# SPDX-License-Identifier: GPL-2.0-only
"""Conditions as types: the facts to look for in a trial, and what each of them must be."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from bisector.recipe import values
from bisector.recipe.values import Flag, OneOrMany, Text, wrong

Health = Literal["healthy", "degraded", "syncing", "none"]
Blocks = Literal["clean", "zeroed", "stale", "torn", "flipped", "duplicate", "misdirected", "foreign", "unreadable"]


class Base(BaseModel):
    """Frozen, and no key that the grammar does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False, hide_input_in_errors=True)


Item = TypeVar("Item")


class Expect(Base, Generic[Item]):
    """What a fact must be: one value, one of a list, or ``not:`` either."""

    one_of: OneOrMany[Item] = Field((), alias="is")
    none_of: OneOrMany[Item] = Field((), alias="not")

    @property
    def negate(self) -> bool:
        """Whether the values are what it must not be."""
        return bool(self.none_of)

    @property
    def values(self) -> tuple[Item, ...]:
        """The values, whichever way they count."""
        return self.none_of or self.one_of

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if not isinstance(value, dict):
            return {"is": value}
        if set(value) != {"not"}:
            raise wrong("expected a value, a list of values, or {not: value}")
        return value

    @model_serializer(mode="wrap")
    def _plain(self, handler: Any) -> Any:
        dumped = handler(self)
        found: list[Any] = next((value for value in dumped.values() if value), [])
        short = found[0] if len(found) == 1 else found
        return {"not": short} if self.negate else short

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        short = handler.resolve_ref_schema(handler(schema))["properties"]["not"]["anyOf"]
        negated = {"type": "object", "properties": {"not": {"anyOf": short}}, "required": ["not"]}
        return {"anyOf": [*short, {**negated, "additionalProperties": False}]}


ExitCode = Annotated[int, BeforeValidator(values.count(-64, 255))]
Crash = Annotated[str, BeforeValidator(lambda value: "true" if value is True else values.text(value))]
"""``true`` for any crash, a regular expression on its first line, or a fingerprint as a report names it."""


class ExpectedText(Expect[Text]):
    """Regular expressions, names of errors, names of events."""


class ExpectedExit(Expect[ExitCode]):
    """Exit codes; a signal is its negative number."""


class ExpectedHealth(Expect[Health]):
    """States of an array; ``none`` for a layer without redundancy, as a matrix may put in an array's place."""


class ExpectedBlocks(Expect[Blocks]):
    """What became of stamped blocks."""


class ExpectedFlag(Expect[Flag]):
    """Yes or no."""


class ExpectedCrash(Expect[Crash]):
    """``true`` for any crash, or regular expressions on its first line."""


Machine = Literal["vm", "guest"]


class Condition(Base):
    """All facts together. The fields' order is the order of the facts."""

    console: dict[Machine, ExpectedText] = {}
    exit: dict[Text, ExpectedExit] = {}
    output: dict[Text, ExpectedText] = {}
    errno: dict[Text, ExpectedText] = {}
    health: dict[Text, ExpectedHealth] = {}
    blocks: dict[Text, ExpectedBlocks] = {}
    event: dict[Literal["guest"], ExpectedText] = {}
    hang: dict[Text, ExpectedFlag] = {}
    oops: dict[Machine, ExpectedCrash] = {}
