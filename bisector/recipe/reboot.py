# SPDX-License-Identifier: GPL-2.0-only
"""The word ``reboot``: the VM boots again, the kernel that runs or another one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, GetJsonSchemaHandler, PlainSerializer
from pydantic_core import CoreSchema

from bisector.recipe import values
from bisector.recipe.base import Base

OTHER_KERNELS = ("good-end", "bad-end")
"""Kernels that a trial may boot beside the one under test: those of the ends of its search."""


class Reboot(Base):
    """A reboot of the VM. ``kernel``: whose comes up; None: the one that runs."""

    kernel: Literal["good-end", "bad-end", "candidate"] | None = None


def _read(value: object) -> object:
    if isinstance(value, str) and value != "vm":
        raise values.wrong(f"expected vm, or {{kernel: good-end}}, found {values.shown(value)}")
    if value == {}:
        raise values.wrong("names no kernel: 'reboot: vm' boots the one that runs")
    return Reboot() if value == "vm" else value


def _written(reboot: Reboot) -> object:
    return {"kernel": reboot.kernel} if reboot.kernel else "vm"


class _VmOr:
    """In the schema too, ``vm`` is what a reboot without more says."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"const": "vm"}, handler(schema)]}


RebootWord = Annotated[Reboot, BeforeValidator(_read), PlainSerializer(_written), _VmOr()]
