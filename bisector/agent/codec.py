# SPDX-License-Identifier: GPL-2.0-only
"""Frozen types as JSON and back, with limits on what is read. Standard library only: it runs on the host (which imports
it as ``bisector.codec``) and in the VM."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import re
import types
import typing

LARGEST = 2.0**63
"""No number that is read is larger: what SQLite keeps as a whole number."""
TEXT = 64 << 20  # bytes of JSON that are read when the caller names no limit
VALUES = 2_000_000  # values in it: what Python allocates for the shortest ones stays below 200 MB
SHOWN = 60  # characters of a value in an error's text
LATER = frozenset(
    {
        *("after", "boot_kernel", "by", "cgroups", "config_lines", "during", "first_kernel", "group", "icount", "keep"),
        *("kernels", "later_kernels", "leaks", "level", "most", "numbers", "qmp", "refused", "sync", "to", "udev"),
        *("until", "vectors", "whose", "words"),
    }
)
"""Fields left out of the JSON while they are empty: the store keys rows by the text of types that had none of them."""

T = typing.TypeVar("T")


class DecodeError(ValueError):
    """JSON that is not what the type says; the text names the place."""


_SURROGATE = re.compile(r"\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(\\ud[89a-f][0-9a-f]{2})")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')


def dump(value: object, *, indent: int | None = None) -> str:
    """A frozen type as canonical JSON (sorted keys), as ``load`` reads it back: one line, or indented by ``indent``.

    Half of a surrogate pair, which a file's name that is not UTF-8 leaves in a text, becomes U+FFFD.
    """
    text = json.dumps(_record(value), default=_record, sort_keys=True, indent=indent)
    return _SURROGATE.sub(_whole, text) if r"\ud" in text else text


def _record(record: object) -> dict[str, object]:
    """The fields of a record. json asks for those of each one inside, which is twice as fast as ``asdict``."""
    pairs = ((one.name, getattr(record, one.name)) for one in dataclasses.fields(record))  # type: ignore[arg-type]
    return {name: value for name, value in pairs if value or name not in LATER}


def _whole(found: re.Match[str]) -> str:
    return r"\ufffd" if found[1] else found[0]


def load(kind: type[T], text: str | bytes, *, limit: int = TEXT) -> T:
    """Read ``kind`` back from JSON. Raises DecodeError for anything that is not such an object.

    Whatever somebody else wrote (a guest, an export) comes through here, so all limits hold before anything is made of
    the text: ``limit`` bytes, VALUES values, and the depth that Python's own parser allows. Numbers are finite and at
    most LARGEST (or what their field says); text has no half of a surrogate pair, which could not be stored.
    """
    if len(text) > limit:
        raise DecodeError(f"larger than {limit >> 20} MiB")
    try:
        if isinstance(text, bytes):
            text = text.decode()
        _count(text)
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}" if not isinstance(error, DecodeError) else str(error)) from None
    return typing.cast(T, _build(kind, data, kind.__name__))


def _count(text: str) -> None:
    """Raise DecodeError for more than VALUES values: each but the first has a comma, a colon or a bracket before it."""
    signs = (",", "[", "{")
    if sum(map(text.count, signs)) > VALUES:
        bare = _STRING.sub("", text)  # exactly, without those inside strings
        if sum(map(bare.count, signs)) > VALUES:
            raise DecodeError(f"more than {VALUES} values")


def _refuse(word: str) -> typing.NoReturn:
    raise DecodeError(f"{word} is not a number")


def _build(kind: typing.Any, data: typing.Any, place: str, most: float | None = None) -> typing.Any:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _build(kind.__origin__, data, place, kind.__metadata__[0])
    if origin is types.UnionType or origin is typing.Union:
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        return None if data is None else _build(members[0], data, place)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind), data, place, most)
    if dataclasses.is_dataclass(kind):
        return _build_record(kind, data, place)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _build_member(kind, data, place)
    if kind is int or kind is float:
        return _build_number(kind, data, place, most)
    if not isinstance(data, kind):
        raise DecodeError(f"{place}: expected {kind.__name__}, found {type(data).__name__}")
    if kind is str and not data.isascii():
        _check_text(data, place)
    return data


def _build_number(kind: type, data: typing.Any, place: str, most: float | None) -> int | float:
    if isinstance(data, bool) or not isinstance(data, (int, float) if kind is float else int):
        raise DecodeError(f"{place}: expected {kind.__name__}, found {type(data).__name__}")
    least, most = (-LARGEST, LARGEST) if most is None else (0.0, most)
    if not least <= data <= most:  # never true of what is infinite
        raise DecodeError(f"{place}: not between {least:g} and {most:g}")
    return kind(data)  # type: ignore[no-any-return]


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DecodeError(f"{place}: half of a surrogate pair") from None


def _build_member(kind: type[enum.Enum], data: typing.Any, place: str) -> enum.Enum:
    try:
        return kind(data)
    except ValueError:
        shown = ascii(data)[:SHOWN] if isinstance(data, (str, int, float)) else type(data).__name__
        raise DecodeError(f"{place}: {shown} is no {kind.__name__}") from None


def _build_tuple(members: tuple[typing.Any, ...], data: typing.Any, place: str, most: float | None) -> typing.Any:
    if not isinstance(data, list):
        raise DecodeError(f"{place}: expected a list, found {type(data).__name__}")
    if len(members) == 2 and members[1] is Ellipsis:
        if most is not None and len(data) > most:
            raise DecodeError(f"{place}: more than {most:g} items")
        return tuple(_build(members[0], item, f"{place}[{i}]") for i, item in enumerate(data))
    if len(members) != len(data):
        raise DecodeError(f"{place}: expected {len(members)} items, found {len(data)}")
    return tuple(
        _build(member, item, f"{place}[{i}]") for i, (member, item) in enumerate(zip(members, data, strict=True))
    )


@functools.cache
def _fields(kind: typing.Any) -> dict[str, typing.Any]:
    """Name of each field → its type. Resolving the types of one kind took three quarters of the time to read it."""
    return typing.get_type_hints(kind, include_extras=True)


def _build_record(kind: typing.Any, data: typing.Any, place: str) -> typing.Any:
    if not isinstance(data, dict):
        raise DecodeError(f"{place}: expected an object, found {type(data).__name__}")
    fields = _fields(kind)
    known = {}
    for name, item in data.items():
        if name not in fields:
            raise DecodeError(f"{place}: unknown field {ascii(name)[1:SHOWN]}".rstrip("'"))
        known[name] = _build(fields[name], item, f"{place}.{name}")
    try:
        return kind(**known)
    except TypeError as error:
        raise DecodeError(f"{place}: {error}") from None
