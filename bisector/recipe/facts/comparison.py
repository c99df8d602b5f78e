# SPDX-License-Identifier: GPL-2.0-only
"""A number of a trial against one of the recipe's: ``'< 10'``, ``'>= 2m'``, ``3``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from bisector.recipe.facts.expect import Expect
from bisector.recipe.values import raw, shown, wrong

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT = re.compile(r"(<=|>=|<|>|=)?\s*(-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)([smh]?)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
LONGEST = 40  # characters of one


@dataclass(frozen=True)
class Comparison:
    """What a number must be. ``sign``: one of < <= > >= =; ``number``: of a time seconds."""

    sign: str
    number: float

    @classmethod
    def read(cls, text: str) -> Comparison:
        """One as ``comparison`` or ``comparison_of_times`` wrote it into a fact."""
        sign, number = text.split()
        return cls(sign, float(number))

    def holds(self, found: float) -> bool:
        """Whether the number ``found`` is as it must be."""
        return _SIGNS[self.sign](found, self.number)

    @property
    def is_least(self) -> bool:
        """Whether it asks for so much or more: what holds of a count holds of each larger one."""
        return self.sign in (">", ">=")

    @property
    def enough(self) -> int:
        """The smallest count from which on the answer no longer changes."""
        return max(0, math.ceil(self.number) if self.sign in (">=", "<") else math.floor(self.number) + 1)


def read_all(values: Sequence[str]) -> list[Comparison]:
    """The comparisons of a fact; one of them must hold."""
    return [Comparison.read(value) for value in values]


def any_holds(values: Sequence[str], found: float) -> bool:
    """Whether one of a fact's comparisons holds of ``found``."""
    return any(one.holds(found) for one in read_all(values))


def plain(number: float) -> str:
    """A number as people write it: 10, not 10.0."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def _comparison(value: object, *, times: bool) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(f"expected a comparison such as '< 10', found {shown(value)}")
    text = raw(value).strip()
    found = _TEXT.fullmatch(text) if len(text) <= LONGEST else None
    if found is None or (found[3] and not times):
        example = "'< 10s', '>= 2m'" if times else "'< 10', '>= 2.5', 3"
        raise wrong(f"{shown(value)} is no comparison; write it as {example}")
    return f"{found[1] or '='} {plain(float(found[2]) * _UNITS[found[3]])}"


def comparison(value: object) -> str:
    """A comparison with a number, as text in one form: ``< 10``."""
    return _comparison(value, times=False)


def comparison_of_times(value: object) -> str:
    """A comparison with a time, in seconds unless it has a unit; its form is that of seconds: ``< 120``."""
    return _comparison(value, times=True)


_SCHEMA = WithJsonSchema({"type": ["string", "number"]})


class ExpectedNumber(Expect[Annotated[str, BeforeValidator(comparison), _SCHEMA]]):
    """What a number must be: ``'< 10'``."""


class ExpectedTime(Expect[Annotated[str, BeforeValidator(comparison_of_times), _SCHEMA]]):
    """What a time must be: ``'< 10s'``."""
