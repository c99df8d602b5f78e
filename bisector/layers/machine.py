# SPDX-License-Identifier: GPL-2.0-only
"""What a kind of storage sees of the machine that it is built on, and what it gives back. The agent fulfils it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class StorageError(Exception):
    """A layer cannot be built: the harness's failure. ``stage``: storage, or plan where the plan itself is at fault."""

    def __init__(self, message: str, stage: str = "storage") -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage


class Layer(Protocol):
    """A layer of a plan (``bisector.agent.plan.Layer``)."""

    @property
    def name(self) -> str:
        """Its name in the recipe."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def of(self) -> tuple[str, ...]:
        """Names of its members."""

    @property
    def size(self) -> int:
        """Bytes; 0: all there is."""

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Its options, by name."""


@dataclass(frozen=True)
class BuiltLayer:
    """A layer that stands: ``node`` is what a program opens (a mount point for fs), ``device`` its name in sysfs."""

    layer: Layer
    node: str
    device: str = ""
    volume: str = ""  # its name in device-mapper or md, or what its kind keeps of it
    degraded: bool = False  # made with members missing, as the recipe wants it


class Machine(Protocol):
    """The machine that layers are built on."""

    @property
    def folder(self) -> str:
        """A private folder, on a tmpfs in the VM."""

    def built(self, kind: str) -> Sequence[BuiltLayer]:
        """The layers of a kind that stand already, in the order in which they were built."""

    def nodes(self, names: Sequence[str]) -> list[str]:
        """What a program opens to reach each of these layers, which stand already."""

    def run(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run a tool to its end, with these variables beside the machine's own. Ends the build when it fails."""

    def disk(self, name: str) -> str:
        """The block device (``nvme0n1``) of a disk that QEMU attached under this name."""


def read_text(path: str) -> str:
    """A small file of /proc or /sys without its last newline; "" when it cannot be read."""
    try:
        with open(path, errors="replace", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def switch(value: str) -> str:
    """``on`` or ``off`` for a word that means so; "" for any other."""
    return {"true": "on", "on": "on", "yes": "on", "false": "off", "off": "off", "no": "off"}.get(value.lower(), "")
