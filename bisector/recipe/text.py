# SPDX-License-Identifier: GPL-2.0-only
"""Text of a recipe → plain data, and where in the text each key and value stands. Trusts nothing in the text.

YAML 1.2's core types, and of YAML only what a recipe needs: one document, no aliases, anchors or tags. The tree is
built here from ruamel's events, because then nothing is expanded, resolved or recursed into before it was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from bisector.recipe.values import Number, WholeNumber, shown

MAX_BYTES = 256 << 10
MAX_DEPTH = 32
MAX_VALUES = 2_000
MAX_LINE = 4_096
MAX_KEY = 1_024
MAX_TEXT = 16 << 10
"""Characters of one value; a script that is longer is a file beside the recipe."""

_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""What no text file holds: control characters, and those that end a line or turn its direction unseen."""

Path = tuple[str | int, ...]
"""Keys and indices from the top of the file to a value."""


@dataclass(frozen=True)
class Place:
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the data at ``path``. ``at_key``: the key is wrong, not its value.

    ``refused``: well formed, but the software that would run it does not do it.
    """

    path: Path
    message: str
    at_key: bool = False
    refused: bool = False


class TextError(Exception):
    """The text is no YAML, or more YAML than a recipe may be."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


@dataclass(frozen=True)
class Document:
    """The data of a file, with the places of its keys and values and the faults met while reading."""

    data: Any
    keys: dict[Path, Place]
    values: dict[Path, Place]
    faults: tuple[tuple[Place, str, str], ...]  # place, field, message

    def place(self, path: Path, *, at_key: bool) -> Place:
        """Where ``path`` stands; of a path that is not in the file, what of it is there."""
        known: Path = ()
        for part in path:
            if (*known, part) in self.values:
                known = (*known, part)
        exact = len(known) == len(path)
        if known in self.keys and (at_key or not exact):
            return self.keys[known]
        return self.values.get(known, Place(1, 1))


def read(content: bytes) -> Document:
    """Read a recipe's bytes. Raises TextError where nothing can be said about the rest of the text."""
    text = _decode(content)
    _refuse_depth(text)
    _refuse_long_lines(text)
    builder = _Builder(_events(text))
    try:
        return builder.document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise TextError(place, _yaml_message(error)) from None
    except (YAMLError, ValueError, OverflowError, RecursionError) as error:
        escape = _no_character(text)  # what the reader says of it has neither line nor column
        if escape:
            message = f"the escape {escape[0]}: there is no such character"
            raise TextError(_place_at(text[: escape.start()]), message) from None
        message = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise TextError(Place(1, 1), f"not YAML: {message}") from None


def scalar(text: str) -> Any:
    """An unquoted scalar as YAML 1.2's core schema types it; a number keeps its text."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false") and text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if len(text) > 40:
        return text
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return WholeNumber(int(text), text)
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return WholeNumber(int(text, 0), text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return Number(float(text), text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return Number(float(text.replace(".", "")), text)
    return text


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise TextError(Place(1, 1), f"is larger than {MAX_BYTES >> 10} KiB; that is no recipe")
    for byte, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if content.startswith(byte):
            raise TextError(Place(1, 1), f"is {name}; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        raise TextError(_place_at(before), f"is not UTF-8 (byte 0x{content[error.start]:02x})") from None
    control = _CONTROL.search(text)
    if control:
        name = "a NUL byte" if control[0] == "\0" else f"the control character U+{ord(control[0]):04X}"
        raise TextError(_place_at(text[: control.start()]), f"holds {name}; a recipe is text")
    tab = re.search(r"^ *\t", text, re.MULTILINE)
    if tab and text[tab.end() :].split("\n", 1)[0].strip():
        raise TextError(_place_at(text[: tab.end() - 1]), "a tab in the indentation; YAML wants blanks")
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("%"):
            raise TextError(Place(number, 1), "a YAML directive (%...); recipes have none")
        if line.strip() and not line.startswith("#"):
            break
    return text


def _no_character(text: str) -> re.Match[str] | None:
    """The first escape of a double-quoted text that is beyond the last character."""
    return re.search(r"\\U(?!00(?:0[0-9a-fA-F]|10))[0-9a-fA-F]{8}", text)


def _place_at(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _refuse_depth(text: str) -> None:
    """Stop at brackets deeper than any recipe, before the parser, whose time grows with the square of the depth.

    Counts brackets wherever they stand (quoted ones too): a regular expression in a recipe closes what it opens.
    """
    depth = 0
    for match in re.finditer(r"[\[{\]}]", text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > 4 * MAX_DEPTH:
            raise TextError(_place_at(text[: match.start()]), f"nested deeper than {MAX_DEPTH} levels")


def _refuse_long_lines(text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            raise TextError(Place(number, 1), f"a line of {len(line)} characters; that is no recipe")


def _events(text: str) -> Iterator[Event]:
    reader = YAML(typ="safe", pure=True)
    return iter(reader.parse(text))


def _yaml_message(error: MarkedYAMLError) -> str:
    problem = (error.problem or "not YAML").replace("\n", " ")
    known = (
        ("could not find expected ':'", "a key without its ':' (or a line that belongs to the one before: indent it)"),
        (
            "mapping values are not allowed here",
            "a ':' where no key can stand; is one missing before, or does text that holds ': ' lack quotes?",
        ),
        ("found character '\\t'", "a tab where YAML wants blanks"),
        ("found unexpected end of stream", "a quote that is never closed"),
        ("found '<scalar>'", "text after the end of a value; quote the whole (a ' inside '...' is written '')"),
        ("expected <block end>", "the indentation does not fit the lines above"),
        ("expected ',' or", "a bracket that is never closed, or a missing comma"),
        ("expected '<document start>'", "something after the end of the document"),
        ("cannot start any token", "a character that cannot start a value here; quote it"),
        ("unknown escape character", "an escape that YAML does not know; regular expressions go in single quotes"),
    )
    return next((words for part, words in known if part in problem), f"not YAML: {problem[:120]}")


class _Builder:
    """Events → data. Depth and number of values are bounded, so that recursion and time are too."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._keys: dict[Path, Place] = {}
        self._values: dict[Path, Place] = {}
        self._faults: list[tuple[Place, str, str]] = []
        self._seen = 0

    def document(self) -> Document:
        self._next(StreamStartEvent)
        first = next(self._events)
        if isinstance(first, StreamEndEvent):
            return Document(None, {}, {(): Place(1, 1)}, ())
        start = next(self._events)
        data = self._node(start, ())
        self._next(DocumentEndEvent)
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            raise TextError(_place(after), "a second document; a recipe is one document in one file")
        return Document(data, self._keys, self._values, tuple(self._faults))

    def _next(self, kind: type[Event]) -> Event:
        event = next(self._events)
        if not isinstance(event, kind):
            raise TextError(_place(event), "not YAML")
        return event

    def _node(self, event: Event, path: Path) -> Any:
        self._seen += 1
        place = _place(event)
        if self._seen > MAX_VALUES:
            raise TextError(place, f"more than {MAX_VALUES} values; that is no recipe")
        if len(path) > MAX_DEPTH:
            raise TextError(place, f"nested deeper than {MAX_DEPTH} levels")
        self._values[path] = place
        self._refuse_features(event, place, path)
        if isinstance(event, ScalarEvent):
            self._refuse_text(event, place, "value", MAX_TEXT)
            plain = event.style is None or event.style == ""
            return scalar(event.value) if plain else event.value
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        return self._sequence(path)

    def _refuse_features(self, event: Event, place: Place, path: Path) -> None:
        if isinstance(event, AliasEvent):
            raise TextError(place, f"an alias (*{event.anchor}); recipes have none: write the value out")
        if isinstance(event, NodeEvent) and event.anchor:
            self._faults.append(
                (place, dotted(path), f"an anchor (&{event.anchor}); recipes have none: write values out")
            )
        tag = getattr(event, "tag", None)
        if tag and tag != "!":
            self._faults.append(
                (place, dotted(path), f"a tag ({str(tag)[:40]}); recipes have none: quote text instead")
            )

    def _refuse_text(self, event: ScalarEvent, place: Place, what: str, limit: int) -> None:
        """Stop at text that is too long, or that neither a file in UTF-8 nor a program's argument can hold."""
        if len(event.value) > limit:
            raise TextError(place, f"a {what} of {len(event.value)} characters; at most {limit}")
        found = re.search(r"[\x00\ud800-\udfff]", event.value)
        if found:
            half = f"half a character (U+{ord(found[0]):04X}); write the character itself, or \\U and eight digits"
            raise TextError(place, f"a {what} that holds {'a NUL byte' if found[0] == chr(0) else half}")

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not _is_end(event := next(self._events)):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not _is_end(event := next(self._events)):
            place = _place(event)
            if not isinstance(event, ScalarEvent):
                self._refuse_features(event, place, path)
                raise TextError(place, f"a key must be a word, not {'a mapping' if _is_mapping(event) else 'a list'}")
            self._refuse_features(event, place, path)
            self._refuse_text(event, place, "key", MAX_KEY)
            key = event.value
            inner = (*path, key)
            if key in items:
                first = self._keys[inner]
                message = f"a second {shown(key)}; the first stands in line {first.line}"
                self._faults.append((place, dotted(inner), message))
                self._node(next(self._events), (*path, f"{key} (again)"))
                continue
            self._keys[inner] = place
            items[key] = self._node(next(self._events), inner)
        return items


def _place(event: Event) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _is_end(event: Event) -> bool:
    return type(event).__name__ in ("SequenceEndEvent", "MappingEndEvent")


def _is_mapping(event: Event) -> bool:
    return isinstance(event, MappingStartEvent) or not isinstance(event, SequenceStartEvent)


def dotted(path: Path) -> str:
    """A path as messages and overrides write it: ``steps.probe.read``."""
    words = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(words).removeprefix(".")
