# SPDX-License-Identifier: GPL-2.0-only
"""The grammar of storage: layers, and drives of the inner guest. Kinds and words come from bisector/layers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema, create_model

from bisector.layers import drive, table
from bisector.layers.device import DEVICES
from bisector.layers.option import Option
from bisector.recipe import values
from bisector.recipe.base import Base
from bisector.recipe.options import named
from bisector.recipe.values import Flag, OneOrMany, Size, Text

KINDS = tuple(table.KINDS)


if TYPE_CHECKING:
    GuestDevice: TypeAlias = str
else:
    GuestDevice = Literal[tuple(DEVICES)]

Value = Annotated[str | bool | int, BeforeValidator(values.option)]


def _word(options: Iterable[Option]) -> Any:
    """The type of a word that may be each of these."""
    schemas = list({json.dumps(schema): schema for option in options if (schema := dict(option.schema()))}.values())
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return Annotated[Any, BeforeValidator(values.plain), WithJsonSchema(schema)]


_WORDS = table.words()
"""Made once: a matrix asks it for each layer of each of its cells."""


def _given(keys: Base, words: Iterable[str]) -> dict[str, Any]:
    """Those of the words that a layer or a drive has, with their values."""
    return {word: value for word in words if (value := getattr(keys, word)) is not None}


if TYPE_CHECKING:

    class _Kinds(Base):
        """A key for each kind of the table (bisector/layers), which takes one of its types."""

else:
    _Kinds = create_model(
        "_Kinds", __base__=Base, **{kind: (Literal[table.types(kind)] | None, None) for kind in KINDS}
    )


class _Layer(_Kinds):
    """One piece of storage: exactly one of the kinds, over ``of``."""

    of: OneOrMany[Text] | None = None
    size: Size | None = None
    log: Literal["core", "disk"] | None = None
    full: Flag | None = None
    options: dict[str, Value] | None = None

    @property
    def kind(self) -> str:
        """A kind of the table: disk, lvm ...; "": it names none."""
        return next((kind for kind in KINDS if getattr(self, kind)), "")

    @property
    def type(self) -> str:
        """The kind's type: nvme, raid1, ext4 ..."""
        return str(getattr(self, self.kind, ""))

    @property
    def words(self) -> dict[str, Any]:
        """Those of its keys that only some types have, with their values."""
        return _given(self, _WORDS)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of all layers that it lies on."""
        row = table.row(self.kind, self.type)
        return (*(self.of or ()), *(name for _, name in named(row.words if row else {}, self.words)))


class Cache(Base):
    """QEMU's ``cache.*``; ``direct`` opens with O_DIRECT."""

    direct: Flag = False


class _Drive(Base):
    """A drive of the inner guest: the layer ``of`` behind ``device``."""

    of: Text
    device: GuestDevice = "virtio-blk"
    aio: Literal["native", "threads", "io_uring"] = "threads"
    cache: Cache = Cache()
    werror: Literal["report", "ignore", "enospc", "stop"] | None = None
    rerror: Literal["report", "ignore", "stop"] | None = None

    @property
    def words(self) -> dict[str, Any]:
        """Words of its device and of what is below it, with their values."""
        return _given(self, drive.WORDS)


if TYPE_CHECKING:

    class Layer(_Layer):
        """A layer with the words that only some types have."""

    class Drive(_Drive):
        """A drive with the words of its device and of what is below it."""

else:
    Layer = create_model(
        "Layer",
        __base__=_Layer,
        __doc__=_Layer.__doc__,
        **{word: (_word(options) | None, None) for word, options in _WORDS.items()},
    )
    Drive = create_model(
        "Drive",
        __base__=_Drive,
        __doc__=_Drive.__doc__,
        **{word: (_word([option]) | None, None) for word, option in drive.WORDS.items()},
    )
