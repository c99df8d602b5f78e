# SPDX-License-Identifier: GPL-2.0-only
"""A number of a trial against one of the recipe's: ``'< 10'``, ``'>= 2m'``, ``3``, ``'< 0.8 × good'``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from bisector.recipe.facts.expect import Expect
from bisector.recipe.values import raw, shown, wrong

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT = re.compile(r"(<=|>=|<|>|=)?\s*(-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)([smh]?)(\s*[×x*]\s*good)?")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
OF_GOOD = " × good"
LONGEST = 40  # characters of one


@dataclass(frozen=True)
class Comparison:
    """What a number must be.

    Args:
        sign: one of < <= > >= =.
        number: of a time seconds; of one that is relative the factor.
        of_good: whether it is relative to the good end's number, which a search learns before anything else.
    """

    sign: str
    number: float
    of_good: bool = False

    @classmethod
    def read(cls, text: str) -> Comparison:
        """One as ``comparison`` or ``comparison_of_times`` wrote it into a fact."""
        sign, number, *good = text.split()
        return cls(sign, float(number), bool(good))

    def __str__(self) -> str:
        return f"{self.sign} {plain(self.number)}{OF_GOOD if self.of_good else ''}"

    def holds(self, found: float) -> bool:
        """Whether the number ``found`` is as it must be; of a relative one, whether so many times the good end's is."""
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


def any_holds(values: Sequence[str], found: float) -> bool | None:
    """Whether one of a fact's comparisons holds of ``found``; None while the good end's number is not known."""
    comparisons = read_all(values)
    if any(one.of_good for one in comparisons):
        return None
    return any(one.holds(found) for one in comparisons)


def relative(values: Sequence[str]) -> bool:
    """Whether one of a fact's comparisons is relative to the good end."""
    return any(one.of_good for one in read_all(values))


def relative_faults(values: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with relative comparisons: index, message."""
    for index, one in enumerate(read_all(values)):
        if one.of_good and (one.sign == "=" or one.number <= 0.0):
            yield index, "a part of the good end's number is compared by < or >, as in '< 0.8 × good', '> 1.25 × good'"


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
        example += " or '< 0.8 × good'" if text.endswith("good") else ""
        raise wrong(f"{shown(value)} is no comparison; write it as {example}")
    if found[3] and found[4]:
        raise wrong(f"{shown(value)}: a factor of the good end's number has no unit")
    return str(Comparison(found[1] or "=", float(found[2]) * _UNITS[found[3]], bool(found[4])))


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
