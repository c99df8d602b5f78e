# SPDX-License-Identifier: GPL-2.0-only
"""What the keys and options of a layer may be: a class per sort of value.

Each says whether a value from a recipe is one of its own, how a plan carries that value (text), what is allowed, and
its JSON Schema. The agent reads the text back; standard library alone.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SIZE = r"[1-9][0-9]*[kKMGT]?"
TIME = r"(0|[1-9][0-9]*)(ms|s)"
NAMES_OF_ERRORS = frozenset(errno.errorcode.values())
OPERATIONS = ("read", "write", "discard", "write_zeroes", "flush")
MOST_COUNT = 64
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SCHEMA_OF_SIZE = {"anyOf": [{"type": "string", "pattern": f"^{SIZE}$"}, {"type": "integer", "minimum": 1}]}

Schema = Mapping[str, Any]


class Option(Protocol):
    """What one key may be. Its ``str`` says what is allowed."""

    def word(self, value: object) -> str | None:
        """The value as a plan carries it; None where it is none of this option's."""

    def schema(self) -> Schema:
        """JSON Schema of its values."""


def bytes_of(value: object) -> int | None:
    """Bytes from a number, or from a size such as 64k (powers of 1024); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(SIZE, value) and len(value) < 16:
        return int(value.rstrip("kKMGT")) * _UNITS[value.lstrip("0123456789").upper()]
    return value if isinstance(value, int) else None


def size_text(value: int) -> str:
    """Bytes as a recipe writes them, exact: 134217728 is 128M."""
    for unit in "TGM":
        if value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]}{unit}"
    return f"{value >> 10}k" if value % 1024 == 0 else str(value)


@dataclass(frozen=True)
class Switch:
    """On or off. ``on``, ``off``: further words for it, those of the tool."""

    on: str = "on"
    off: str = "off"

    def __str__(self) -> str:
        return "true, false" if self.on == "on" else f"true, false, {self.on}, {self.off}"

    def word(self, value: object) -> str | None:
        """``on`` or ``off``."""
        if isinstance(value, bool):
            return "on" if value else "off"
        return {"on": "on", "off": "off", self.on: "on", self.off: "off"}.get(str(value))

    def schema(self) -> Schema:
        """A truth value, or one of the words."""
        return {"enum": [True, False, *dict.fromkeys(("on", "off", self.on, self.off))]}


@dataclass(frozen=True)
class Word:
    """One of several words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.words)

    def word(self, value: object) -> str | None:
        """The word."""
        return str(value) if not isinstance(value, bool) and str(value) in self.words else None

    def schema(self) -> Schema:
        """One of the words."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Power:
    """A power of two from ``least`` to ``most``. ``sized``: bytes, which may be written 64k."""

    least: int
    most: int
    sized: bool = True

    def __str__(self) -> str:
        shown = size_text if self.sized else str
        return f"a power of two from {shown(self.least)} to {shown(self.most)}"

    def word(self, value: object) -> str | None:
        """The number."""
        number = bytes_of(value)
        fits = number is not None and self.least <= number <= self.most and number & (number - 1) == 0
        return str(number) if fits else None

    def schema(self) -> Schema:
        """A size."""
        return _SCHEMA_OF_SIZE


@dataclass(frozen=True)
class Number:
    """A whole number from ``least`` to ``most``. ``sized``: bytes, a multiple of ``multiple``."""

    least: int
    most: int
    sized: bool = False
    multiple: int = 1

    def __str__(self) -> str:
        shown = size_text if self.sized else str
        steps = f", a multiple of {shown(self.multiple)}" if self.multiple > 1 else ""
        return f"{'a size' if self.sized else 'a whole number'} from {shown(self.least)} to {shown(self.most)}{steps}"

    def word(self, value: object) -> str | None:
        """The number; a plan's own word stays as it is."""
        number = bytes_of(value) if self.sized or not isinstance(value, str) or value.isdecimal() else None
        fits = number is not None and self.least <= number <= self.most and number % self.multiple == 0
        return str(number) if fits else None

    def schema(self) -> Schema:
        """A size or a number."""
        return _SCHEMA_OF_SIZE if self.sized else {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Time:
    """A time with its unit, in a plan as milliseconds. ``divides``: only what goes into a second without a rest."""

    least: int
    most: int
    divides: bool = False

    def __str__(self) -> str:
        of_second = " that divides a second (1ms, 20ms, 50ms, 100ms, 1s ...)" if self.divides else ""
        return f"a time from {self.least}ms to {self.most}ms{of_second}"

    def word(self, value: object) -> str | None:
        """Milliseconds."""
        if not (isinstance(value, str) and re.fullmatch(TIME, value) and len(value) < 10):
            return None
        found = int(value.rstrip("ms")) * (1 if value.endswith("ms") else 1000)
        fits = self.least <= found <= self.most and not (self.divides and 1000 % found)
        return str(found) if fits else None

    def schema(self) -> Schema:
        """A number with ms or s."""
        return {"type": "string", "pattern": f"^{TIME}$"}


@dataclass(frozen=True)
class Layers:
    """Names of other layers, on which this one lies too. ``many``: a list of them, else one; ``members``: of those that
    it is made ``of``."""

    many: bool = False
    members: bool = False

    def __str__(self) -> str:
        if self.members:
            return "a list of its members"
        return "a list of layers" if self.many else "the name of a layer"

    def names(self, value: object) -> tuple[str, ...]:
        """The names that a recipe gives."""
        if isinstance(value, str):
            return (value,)
        return tuple(map(str, value)) if isinstance(value, Sequence) else ()

    def word(self, value: object) -> str | None:
        """The names with commas between them."""
        listed = [value] if isinstance(value, str) else value
        if not (isinstance(listed, list | tuple) and listed and all(name and isinstance(name, str) for name in listed)):
            return None
        return ",".join(listed) if self.many or len(listed) == 1 else None

    def schema(self) -> Schema:
        """A name, or a list of names."""
        one = {"type": "string"}
        return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]} if self.many else one


@dataclass(frozen=True)
class Lines:
    """Texts that match ``pattern``, one or a list; ``what``: of what, for people. A plan has one a line."""

    pattern: str
    what: str

    def __str__(self) -> str:
        return self.what

    def word(self, value: object) -> str | None:
        """The texts, a line each."""
        listed = value if isinstance(value, list | tuple) else [value]
        texts = [str(item) for item in listed if isinstance(item, str | int) and not isinstance(item, bool)]
        fits = listed and len(texts) == len(listed) and all(re.fullmatch(self.pattern, text) for text in texts)
        return "\n".join(texts) if fits else None

    def schema(self) -> Schema:
        """A text or a number, or a list of them."""
        one = {"type": ["string", "integer"]}
        return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


@dataclass(frozen=True)
class Failure:
    """One error below: ``operation`` on ``sector`` (512 bytes; -1: any) fails with ``error``, ``count`` times (0:
    always)."""

    operation: str
    sector: int
    error: str
    count: int

    @staticmethod
    def read(text: str) -> list[Failure]:
        """Those that ``Errors.word`` wrote."""
        return [
            Failure(operation, int(sector), error, int(count))
            for operation, sector, error, count in (line.split() for line in text.splitlines())
        ]


@dataclass(frozen=True)
class Errors:
    """Errors below: a list of ``{read: SECTOR, errno: EIO, count: 1}``.

    Args:
        operations: what may fail there.
        counted: whether it may fail for some times only.
        errors: the errors that are possible, the usual one first; (): any, EIO where none is named.
        one: whether there is a single place, by its sector.
    """

    operations: tuple[str, ...] = OPERATIONS
    counted: bool = True
    errors: tuple[str, ...] = ()
    one: bool = False

    def __str__(self) -> str:
        known = f", errno {' or '.join(self.errors)}" if self.errors else ", errno: NAME"
        count = f", count: 1 to {MOST_COUNT}" if self.counted else ""
        listed, sector = ("", "SECTOR") if self.one else ("a list of ", "SECTOR or any")
        return f"{listed}{{{' or '.join(self.operations)}: {sector}{known}{count}}}"

    def word(self, value: object) -> str | None:
        """A line each: operation, sector, errno, count."""
        listed = value if isinstance(value, list | tuple) else [value]
        lines = list(map(self._read, listed))
        if self.one and (len(lines) != 1 or " -1 " in (lines[0] or "")):
            return None
        return "\n".join(line for line in lines if line) if lines and all(lines) else None

    def _read(self, item: object) -> str | None:
        if not isinstance(item, Mapping) or set(item) - {*self.operations, "errno", "count"}:
            return None
        operations = [name for name in self.operations if name in item]
        if len(operations) != 1 or ("count" in item and not self.counted):
            return None
        sector, error, count = (
            item[operations[0]],
            item.get("errno", self.errors[0] if self.errors else "EIO"),
            item.get("count", 0),
        )
        place = -1 if sector == "any" else sector
        if isinstance(place, bool) or not isinstance(place, int) or place < -1 or place >= 1 << 40:
            return None
        if error not in (self.errors or NAMES_OF_ERRORS) or isinstance(count, bool) or not isinstance(count, int):
            return None
        if not 0 <= count <= MOST_COUNT or ("count" in item and not count):
            return None
        return f"{operations[0]} {place} {error} {count}"

    def schema(self) -> Schema:
        """A list of mappings, or one."""
        sector = {"anyOf": [{"type": "integer", "minimum": 0}, {"const": "any"}]}
        keys: dict[str, Any] = dict.fromkeys(self.operations, sector)
        keys["errno"] = {"enum": list(self.errors)} if self.errors else {"type": "string", "pattern": "^E[A-Z0-9]+$"}
        keys |= {"count": {"type": "integer", "minimum": 1, "maximum": MOST_COUNT}} if self.counted else {}
        one = {"type": "object", "properties": keys, "additionalProperties": False}
        return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}
