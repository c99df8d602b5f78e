# SPDX-License-Identifier: GPL-2.0-only
"""What a recipe may write as a fact's value: one value, a list of them, or either behind ``not:``."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema

from bisector.recipe.base import Base
from bisector.recipe.values import OneOrMany, Text, wrong

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


class ExpectedText(Expect[Text]):
    """Regular expressions, names of errors, names of events."""
