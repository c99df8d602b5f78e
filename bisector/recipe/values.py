# SPDX-License-Identifier: GPL-2.0-only
"""The scalars of the grammar: sizes, durations, revisions, words. Each says what it wants when it gets another."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from bisector.layers.option import SIZE, bytes_of, size_text
from bisector.printable import is_line
from bisector.recipe import words

NAME = r"[A-Za-z][A-Za-z0-9_-]*"
"""Names of layers, drives, steps and conditions: safe as names of files, devices and volumes."""

FILE_NAME = r"[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)*"
"""Names of recipes and of watches: safe as names of files, and in names of git's refs (git-check-ref-format(1))."""

MAX_FILE_NAME = 64
"""Characters of one; an id of a campaign is 16 longer, and a file's name has 255 bytes at most."""

SUITE = r"[a-z0-9][a-z0-9+-]*(\.[a-z0-9+-]+)*(/[a-z0-9+-]+)*"
"""A suite in a list of apt's sources: no blank, no line end, no ``/`` at its end (which would make it a path)."""

MAX_REVISION = 250
"""Characters of a revision: a branch is a file, whose name has 255 bytes at most."""

LEAST_ERROR = 0.000001
DURATION = r"[0-9]+(\.[0-9]+)?[smh]"
_SECONDS = {"s": 1, "m": 60, "h": 3600}
MAX_SIZE = 1 << 40
MAX_SECONDS = 24 * 3600
MAX_LINE_OF_TEXT = 1_000


class Number(float):
    """A fraction that YAML made of unquoted text; ``raw`` is the text as it stands in the file."""

    raw: str

    def __new__(cls, value: float, raw: str) -> Number:
        """Make one from what YAML takes it for and what was written."""
        number = super().__new__(cls, value)
        number.raw = raw
        return number

    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]
        """Copy and pickle with the text."""
        return float(self), self.raw


class WholeNumber(int):
    """A whole number that YAML made of unquoted text; ``raw`` is the text as it stands in the file."""

    raw: str

    def __new__(cls, value: int, raw: str) -> WholeNumber:
        """Make one from what YAML takes it for and what was written."""
        number = super().__new__(cls, value)
        number.raw = raw
        return number

    def __getnewargs__(self) -> tuple[int, str]:  # type: ignore[override]
        """Copy and pickle with the text."""
        return int(self), self.raw


def wrong(message: str) -> PydanticCustomError:
    """An error whose text goes to the user as it stands."""
    return PydanticCustomError("recipe", "{message}", {"message": message})


def shown(value: object) -> str:
    """A value as an error message names it: short, on one line."""
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {raw(value)[:40]}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """``; did you mean ...?`` where something allowed is near, and what is allowed."""
    choices = [str(choice) for choice in allowed]
    near = difflib.get_close_matches(word[:64], choices, n=1, cutoff=0.6 if len(word) > 3 else 0.5)
    listed = ", ".join(choices[:24]) + (" ..." if len(choices) > 24 else "")
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return meant + (f" (allowed: {listed})" if choices else "")


def look_alike(word: str) -> str:
    """``(its 'е' is U+0435; ...)`` for the first letter of a word that is no plain one, as two may look the same."""
    odd = next((letter for letter in word[:64] if not letter.isascii()), "")
    return f" (its {odd!r} is U+{ord(odd):04X}; only plain letters stand here)" if odd else ""


def text(value: object) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str):
        quote = "" if isinstance(value, dict | list) else f"; quote it: '{raw(value)}'"
        raise wrong(f"expected text, found {shown(value)}{quote}")
    if not value.strip():
        raise wrong("is empty")
    return value


def line(value: object) -> str:
    """Text of one line that a terminal shows as it is, of at most ``MAX_LINE_OF_TEXT`` characters."""
    found = text(value)
    if not is_line(found):
        raise wrong("is not one printable line")
    if len(found) > MAX_LINE_OF_TEXT:
        raise wrong(f"is a line of {len(found)} characters; at most {MAX_LINE_OF_TEXT}")
    return found


def raw(value: object) -> str:
    """A scalar as it was written."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.raw if isinstance(value, Number | WholeNumber) else str(value)


def word(value: object) -> str:
    """A word of a command, or a variable's value: text, or a number as it was written."""
    return raw(value) if isinstance(value, Number | WholeNumber) else text(value)


def revision(value: object) -> str:
    """A revision: text, because 6.10 would be read as 6.1 and 5e3175455 as infinity."""
    if isinstance(value, bool | int | float):
        written = raw(value)
        if isinstance(value, float):
            raise wrong(
                f"a revision must be text, and {written} is read as the number {float(value):g}: quote it: '{written}'"
            )
        raise wrong(f"a revision must be text, not {shown(value)}: quote it: '{written}'")
    found = text(value)
    taken_apart = ".." in found or re.search(r"[\s\x00-\x1f\x7f?*\[\\:]", found)
    if found.startswith("-") or taken_apart or not is_line(found) or len(found) > MAX_REVISION:
        raise wrong(f"{shown(found)} is not one revision (a tag, a branch or a commit)")
    return found


def file_name(value: object) -> str:
    """A name of a recipe or of a watch, its length and its end; its characters are ``FILE_NAME``'s."""
    found = text(value)
    if len(found) > MAX_FILE_NAME:
        raise wrong(f"{shown(found)} is no name; it has {len(found)} characters, {MAX_FILE_NAME} at most")
    if found.endswith(".lock"):
        raise wrong(f"{shown(found)} is no name; git keeps names that end in .lock for itself")
    return found


def suite(value: object) -> str:
    """A suite of a Debian archive: it goes into a list of sources as a word (sources.list(5))."""
    found = line(value)
    if not re.fullmatch(SUITE, found):
        raise wrong(f"{shown(found)} is no suite; write it as trixie or trixie-backports")
    return found


def pathspec(value: object) -> str:
    """A path inside of the repository, as git takes it after ``--``."""
    found = line(value)
    if found.startswith("/") or ".." in found.split("/"):
        raise wrong(f"{shown(found)} leads out of the repository; paths begin at its top, as in drivers/md")
    return found


def kernel_option(value: object) -> str:
    """One option of a kernel's command line: a word that neither a shell nor the kernel takes apart."""
    found = line(value)
    if not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.,:=@/+%*-]*", found):
        raise wrong(f"{shown(found)} is not one kernel option; write each as a word such as slub_debug=FZ")
    return found


def memory(least: int) -> Callable[[object], int]:
    """A validator for the memory of a machine: whole MiB, ``least`` bytes or more."""

    def validate(value: object) -> int:
        found = size(value)
        if found < least or found % (1 << 20):
            raise wrong(f"{shown(value)} is no memory of a machine; write whole M, {format_size(least)} or more")
        return found

    return validate


def max_error(value: object) -> float:
    """A chance to be wrong that still means something."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST_ERROR <= value <= 0.5:
        raise wrong(f"expected a number from {LEAST_ERROR:f} to 0.5, found {shown(value)}")
    return float(value)


def size(value: object) -> int:
    """A size in bytes from ``128M``, ``4k``, ``1G`` (powers of 1024) or a plain number of bytes."""
    number = bytes_of(value)
    if number is None or number <= 0:
        raise wrong(f"{shown(value)} is not a size; write 512, 4k, 128M or 1G")
    if number > MAX_SIZE:
        raise wrong(f"{shown(value)} is larger than 1T")
    return number


def duration(value: object, most: float = MAX_SECONDS) -> float:
    """Seconds from ``20s``, ``10m``, ``1h``, at most ``most``."""
    if isinstance(value, str) and re.fullmatch(DURATION, value) and len(value) < 16:
        seconds = float(value[:-1]) * _SECONDS[value[-1]]
    else:
        raise wrong(f"{shown(value)} is not a duration; write it with its unit: 20s, 10m or 1h")
    if not 0 < seconds <= most:
        raise wrong(f"{shown(value)} is not between 0s and {format_duration(most)}")
    return seconds


def make_variable(value: object) -> str:
    """The name of a variable for a kernel's make."""
    found, known = text(value), words.MAKE_VARIABLES
    if found not in known:
        raise wrong(f"{shown(found)} is no variable for make that a recipe may set{suggestion(found, known)}")
    return found


def make_value(value: object) -> str:
    """The value of a variable for make: nothing that make or a shell would run."""
    found = word(value)
    place, unfit = words.unsafe(found)
    if unfit:
        raise wrong(f"{shown(unfit)}, character {place + 1} of {shown(found)}, could become a command on this host")
    return found


def option(value: object) -> str | bool | int:
    """An option of a layer: a word, a truth value or a whole number."""
    if isinstance(value, bool | int):
        return value
    return text(value)


def plain(value: object) -> Any:
    """A value of a layer's or a drive's own word: text, truth, whole numbers, or lists and mappings of them.

    What each word takes stands in the row of its type (bisector/layers) and is checked there.
    """
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return option(value)


QMP_EVENT = r"^[A-Z][A-Z0-9_]*$"


def qmp(value: object) -> object:
    """A command of QMP with its arguments; its name alone where it has none."""
    if isinstance(value, str):
        return {value: {}}
    if not isinstance(value, dict) or len(value) != 1:
        raise wrong(f"expected one command, as query-block or {{device_del: {{id: vda}}}}, found {shown(value)}")
    return {name: {} if arguments is None else arguments for name, arguments in value.items()}


def flag(value: object) -> bool:
    """A truth value. ``on`` and ``yes`` are text in YAML 1.2."""
    if not isinstance(value, bool):
        raise wrong(f"expected true or false, found {shown(value)}")
    return value


def count(minimum: int, maximum: int) -> Callable[[object], int]:
    """A validator for whole numbers from ``minimum`` to ``maximum``."""

    def validate(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(f"expected a whole number, found {shown(value)}")
        if not minimum <= value <= maximum:
            raise wrong(f"{value} is not between {minimum} and {maximum}")
        return value

    return validate


def fraction(value: object) -> float:
    """A number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise wrong(f"expected a number above 0 and at most 1, found {shown(value)}")
    return float(value)


format_size = size_text


def format_duration(value: float) -> str:
    """Seconds as the recipe writes them, exact: 600.0 is 10m."""
    whole = int(value)
    if whole != value:
        return f"{value!r}s"
    for unit in "hm":
        if whole % _SECONDS[unit] == 0:
            return f"{whole // _SECONDS[unit]}{unit}"
    return f"{whole}s"


_SIZE_SCHEMA = {"anyOf": [{"type": "string", "pattern": f"^{SIZE}$"}, {"type": "integer", "minimum": 1}]}

Text = Annotated[str, BeforeValidator(text)]
Line = Annotated[str, BeforeValidator(line)]
Word = Annotated[str, BeforeValidator(word), WithJsonSchema({"type": ["string", "number"]})]
MakeVariable = Annotated[str, BeforeValidator(make_variable)]
MakeValue = Annotated[str, BeforeValidator(make_value), WithJsonSchema({"type": ["string", "number"]})]
Revision = Annotated[str, BeforeValidator(revision)]
FileName = Annotated[
    str, BeforeValidator(file_name), StringConstraints(pattern=f"^{FILE_NAME}$"), Field(max_length=MAX_FILE_NAME)
]
Suite = Annotated[str, BeforeValidator(suite), WithJsonSchema({"type": "string", "pattern": f"^{SUITE}$"})]
Pathspec = Annotated[str, BeforeValidator(pathspec)]
KernelOption = Annotated[str, BeforeValidator(kernel_option)]
MaxError = Annotated[
    float,
    BeforeValidator(max_error),
    WithJsonSchema({"type": "number", "minimum": LEAST_ERROR, "maximum": 0.5}),
]
Flag = Annotated[bool, BeforeValidator(flag)]
Fraction = Annotated[
    float, BeforeValidator(fraction), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
]
Size = Annotated[
    int,
    BeforeValidator(size),
    PlainSerializer(format_size),
    WithJsonSchema(_SIZE_SCHEMA),
]
Duration = Annotated[
    float,
    BeforeValidator(duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION}$"}),
]


def duration_rules(most: float) -> tuple[Any, ...]:
    """What makes a ``float`` a duration of up to ``most`` seconds."""
    schema = WithJsonSchema({"type": "string", "pattern": f"^{DURATION}$"})
    return BeforeValidator(lambda value: duration(value, most)), PlainSerializer(format_duration), schema


def memory_rules(least: str) -> tuple[Any, ...]:
    """What makes an ``int`` the memory of a machine, ``least`` or more."""
    return BeforeValidator(memory(size(least))), PlainSerializer(format_size), WithJsonSchema(_SIZE_SCHEMA)


T = TypeVar("T")


class _OneOrMany(Generic[T]):
    """Lets ``of: a`` stand for ``of: [a]``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        listed = handler(schema)
        return {"anyOf": [listed["items"], {**listed, "minItems": 1}]}


def _listed(value: object) -> object:
    if isinstance(value, list) and not value:
        raise wrong("is an empty list")
    return value if isinstance(value, list | tuple) else (value,)


OneOrMany = Annotated[tuple[T, ...], _OneOrMany()]
