# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a kind of storage and of its types, and what their options may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .device import Device
from .machine import BuiltLayer, Layer, Machine
from .option import Layers, Option


@dataclass(frozen=True)
class Program:
    """A program of the host, the package that brings it, and what it is for.

    Args:
        needed: nothing works without it.
        version: the option with which it prints its version, which a result then names; "": a result does not.
    """

    name: str
    package: str
    purpose: str
    needed: bool = True
    version: str = ""


def _any_name(name: str, before: Sequence[str]) -> list[str]:
    return []


def _no_variables(folder: str) -> dict[str, str]:
    return {}


def _no_kernel_options(layers: Sequence[Layer]) -> tuple[str, ...]:
    return ()


def _no_offset(device: str, member: str) -> str:
    return ""


@dataclass(frozen=True)
class GuestCommands:
    """How an inner guest has layers of a kind, as commands of its shell.

    Args:
        create: the commands for fresh members, of the layer, its node and theirs.
        assemble: the commands for members that hold it already.
        leave: the command that takes layers off, of their nodes.
        node: its node from the number of such a layer before it; of a file system it is its mount point, from its name.
        offset: the command that prints where its data begins on a member, in sectors, of its node and the member's.
    """

    create: Callable[[Layer, str, Sequence[str]], list[str]]
    assemble: Callable[[Layer, str, Sequence[str]], list[str]]
    leave: Callable[[Sequence[str]], str]
    node: Callable[[int, str], str]
    offset: Callable[[str, str], str] = _no_offset


@dataclass(frozen=True)
class Kind:
    """What the layers of one kind take in a recipe, and how they are built.

    Args:
        name: the key of the recipe.
        build: makes a layer in the VM; raises StorageError, and OSError for a file of its own that cannot be written.
        takes, needs: keys beside it that may, and that must be there.
        whole: whether it takes what it lies on for itself, so that nothing else may use that.
        together: whether several layers of the kind may lie on one, each with its part of it.
        single: whether it lies on one layer, not on several.
        holds_bytes: whether it is a file, which lies on what is mounted or on nothing.
        without_vm: whether one that lies on nothing can be made without a VM.
        smallest: bytes that one has at least.
        first_name: how ``bisector new --storage`` names a type.
        remount: takes a file system off and mounts it again; None: it is none.
        health: what the kernel says of a layer now: its health, and the line that this was read from; None: none.
        again: builds one in a VM that was booted again, of what its members hold already; None: as ``build`` does.
        leave: takes one off before the VM is rebooted, as a shutdown does; None: nothing to do.
        change: the commands that fail, remove or add a member, of the array's node, that word and the member's node.
            The first says how it went, what follows waits. None: its members stay.
        misnamed: what is wrong with a layer's name, of it and the names of such layers before it.
        environment: variables that programs of a recipe need to use it in a VM without udev; ``folder`` is private.
        inside: how a layer of an inner guest can be of this kind; None: it cannot.
    """

    name: str
    build: Callable[[Machine, Layer], BuiltLayer]
    takes: frozenset[str]
    needs: tuple[str, ...]
    whole: bool = False
    together: bool = False
    single: bool = False
    holds_bytes: bool = False
    without_vm: bool = False
    smallest: int = 0
    first_name: str = "{kind}-{type}"
    remount: Callable[[Machine, BuiltLayer], None] | None = None
    health: Callable[[BuiltLayer], tuple[str, str]] | None = None
    again: Callable[[Machine, Layer], BuiltLayer] | None = None
    leave: Callable[[Machine, BuiltLayer], None] | None = None
    change: Callable[[str, str, str], list[list[str]]] | None = None
    misnamed: Callable[[str, Sequence[str]], list[str]] = _any_name
    environment: Callable[[str], dict[str, str]] = _no_variables
    inside: GuestCommands | None = None

    @property
    def mounted(self) -> bool:
        """Whether it is a file system: its node is a folder, and it begins on layers that are synced."""
        return self.remount is not None


@dataclass(frozen=True)
class Row:
    """One type of storage.

    Args:
        kind, type: as a recipe names them.
        least: members that it needs at least; ``even``: whether their number must be even.
        capacity: bytes that it offers at most, from those of its members.
        share: bytes of each member that hold so many bytes of its own, with a number of members.
        smallest: bytes of the smallest layer that it can be made on.
        example: bytes of each disk below it in a first recipe.
        refuses: keys that its kind takes and it does not, each with what to say of it.
        format: of its bytes, as QEMU names it.
        device: behind which QEMU shows it to the VM; None: it is made inside of the VM.
        options: its options by name, and what each may be.
        words: keys of the layer itself that only some types have, and what each may be.
        alike: whether all layers of this type in a recipe have the same size and words.
        required: those of them that must be there, each with its value in a first recipe.
        kernel_options: what the kernel must be started with, of all layers of this type.
        fragments: of the kernel's config (kconfigs/).
        modules: of a packaged kernel, named as their files with ``_``; what they depend on is not listed.
        programs: of the host, which the VM sees.
        redundant: whether it has a health: a member that fails leaves it degraded.
        copies: whether each member holds all of its data, block for block.
        inside: whether an inner guest can have it, where it can have the kind.
        also: keys that it takes and its kind does not.
        on: kinds that it lies on; (): any that its kind lies on.
        sized_by: keys one of which may stand in the place of those that its kind needs.
        shared: whether others may use what it lies on, too, whatever its kind says.
        by_word: what a word needs beside: its fragments, and its modules.
    """

    kind: str
    type: str
    least: int = 1
    even: bool = False
    capacity: Callable[[Sequence[int]], int] = min
    share: Callable[[int, int], int] = lambda size, members: size
    smallest: int = 0
    example: int = 128 << 20
    refuses: Mapping[str, str] = field(default_factory=dict)
    format: str = "raw"
    device: Device | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    words: Mapping[str, Option] = field(default_factory=dict)
    alike: bool = False
    required: Mapping[str, str] = field(default_factory=dict)
    kernel_options: Callable[[Sequence[Layer]], tuple[str, ...]] = _no_kernel_options
    fragments: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    programs: tuple[Program, ...] = ()
    redundant: bool = False
    copies: bool = False
    inside: bool = True
    also: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    sized_by: tuple[str, ...] = ()
    shared: bool = False
    by_word: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    def fragments_for(self, given: Collection[str]) -> tuple[str, ...]:
        """Of the kernel's config, for a layer with these words."""
        return (*self.fragments, *(name for word in self.by_word if word in given for name in self.by_word[word][0]))

    def modules_for(self, given: Collection[str]) -> tuple[str, ...]:
        """Of a packaged kernel, for a layer with these words."""
        return (*self.modules, *(name for word in self.by_word if word in given for name in self.by_word[word][1]))

    def absent(self, given: Mapping[str, object]) -> int:
        """Members that count and are not there: the word ``missing``."""
        missing = self.words["missing"].word(given.get("missing")) if "missing" in self.words else None
        return int(missing or 0)

    @property
    def further(self) -> tuple[str, ...]:
        """Layers beside its members that a first recipe has for it, by their names there."""
        return tuple(value for word, value in self.required.items() if isinstance(self.words[word], Layers))

    @property
    def name(self) -> str:
        """Kind and type, as in "lvm raid1"."""
        return f"{self.kind} {self.type}"

    def parts(self, layer: Layer) -> tuple[str, ...]:
        """Names of all layers that a layer of this type lies on: its members, and those that its words name."""
        given = dict(layer.options)
        further = [word for word, option in self.words.items() if isinstance(option, Layers) and not option.members]
        named = (given[word] for word in further if given.get(word))
        return (*layer.of, *(name for names in named for name in names.split(",")))
