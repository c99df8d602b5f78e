# SPDX-License-Identifier: GPL-2.0-only
"""The plan's storage: layer upon layer, each built once, synced before use, and looked at again after each step.

What a kind of layer does stands in its module (bisector/layers); here is what holds for all of them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..layers import machine, table
from ..layers.machine import BuiltLayer, StorageError
from ..layers.row import Kind, Row
from . import disks
from .command import Halt, demand
from .plan import Layer, LayerFacts

SYNC_POLL = 0.05  # seconds; a look is one ioctl, or one file of sysfs
WITHOUT_UDEV = ("DM_DISABLE_UDEV", "MDADM_NO_UDEV", "LVM_SYSTEM_DIR")
"""Variables by which the storage's tools do without udev; LVM's configuration of ours says so too."""


class Storage:
    """Builds the layers of a plan in ``folder`` (on a tmpfs in the VM); one tool or sync has ``limit`` seconds.

    ``udev``: the VM's udevd lives, so that a recipe's own program finds no word to do without it.
    To the modules of the kinds it is the machine (``layers.machine.Machine``).
    """

    def __init__(self, folder: str, limit: float, *, udev: bool = False) -> None:
        self.folder = folder
        self._udev = udev
        self._limit = limit
        self._built: dict[str, BuiltLayer] = {}
        self._disks: dict[str, str] = {}
        self._vm = False
        os.makedirs(folder, exist_ok=True)

    def build(self, layers: Sequence[Layer], *, vm: bool) -> None:
        """Build all layers, lower ones first, and sync them. Raises Halt(plan), Halt(storage) or Halt(tools).

        Without a VM nothing but files is made: the host's block devices are not ours (law 5).
        """
        self._vm = vm
        ordered = in_order(layers)
        foreign = [layer.name for layer in ordered if not vm and not _without_vm(layer)]
        if foreign:
            raise Halt("plan", f"without a VM there are only files on their own, not {', '.join(foreign)}")
        self._find(ordered)
        for layer in ordered:
            kind = _kind(layer)
            if kind.mounted:
                self._sync()  # a file system starts on members that agree
            with _halting(layer):
                self._built[layer.name] = kind.build(self, layer)
        self._sync()

    def _find(self, layers: Sequence[Layer]) -> None:
        load_modules(layers)
        attached = tuple(layer.name for layer in layers if any(row.device for row in rows([layer])))
        self._disks = disks.find_disks(attached) if attached else {}

    def again(self, layers: Sequence[Layer], before: Mapping[str, BuiltLayer]) -> list[str]:
        """Assemble in a VM that was booted again what was ``before``, and wait for what has to sync; what went wrong.

        A layer that cannot be assembled is reached as it was before, so that steps which use it see that it is gone.
        Raises Halt(plan), Halt(tools), and Halt(storage) for a disk that does not appear.
        """
        self._vm = True
        ordered = in_order(layers)
        self._find(ordered)
        wrong = []
        for layer in ordered:
            kind = _kind(layer)
            try:
                self._built[layer.name] = (kind.again or kind.build)(self, layer)
            except (StorageError, Halt, OSError) as error:
                if isinstance(error, Halt) and error.fault.stage != "storage":
                    raise
                wrong.append(f"{layer.name}: {error}")
                self._built[layer.name] = before[layer.name]
        self._wait()
        return wrong

    def leave(self) -> list[str]:
        """Take all layers off, upper ones first, as a shutdown does; what went wrong. Raises Halt(tools)."""
        wrong = []
        for built in reversed(list(self._built.values())):
            try:
                if leave := _kind(built.layer).leave:
                    leave(self, built)
            except (StorageError, Halt, OSError) as error:
                if isinstance(error, Halt) and error.fault.stage != "storage":
                    raise
                wrong.append(f"{built.layer.name}: {error}")
        os.sync()
        return wrong

    def built(self, kind: str) -> Sequence[BuiltLayer]:
        """The layers of a kind that stand already."""
        return [built for built in self._built.values() if built.layer.kind == kind]

    def nodes(self, names: Sequence[str]) -> list[str]:
        """What a program opens to reach each of these layers. Raises Halt(plan)."""
        return [self.node(name) for name in names]

    def run(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run a tool, with these variables beside our own. Raises Halt(storage), Halt(tools)."""
        demand(argv, stage="storage", timeout=self._limit, env={**os.environ, **(environment or {})})

    def disk(self, name: str) -> str:
        """The block device of a disk that QEMU attached."""
        return self._disks[name]

    def node(self, name: str) -> str:
        """What a program opens to reach the layer ``name``. Raises Halt(plan)."""
        if name not in self._built:
            raise Halt("plan", f"there is no layer {name}; there are {', '.join(self._built) or 'none'}")
        return self._built[name].node

    def is_mounted(self, name: str) -> bool:
        """Whether the layer ``name`` is a file system; False when there is none."""
        return name in self._built and _kind(self._built[name].layer).mounted

    def legs(self, name: str) -> tuple[str, ...]:
        """The layers that the layer ``name`` is made of."""
        return self._built[name].layer.of if name in self._built else ()

    def remount(self, name: str) -> None:
        """Take the file system ``name`` off and mount it again. Raises Halt(storage)."""
        built = self._built[name]
        if remount := _kind(built.layer).remount:
            remount(self, built)

    def find_again(self, names: Sequence[str], seconds: float) -> None:
        """Find disks whose controller was away for a while: their nodes may be others now. Raises Halt(storage)."""
        self._disks |= disks.find_disks(tuple(names), seconds)
        for layer in [self._built[name].layer for name in names]:
            with _halting(layer):
                self._built[layer.name] = _kind(layer).build(self, layer)

    def environment(self) -> dict[str, str]:
        """Variables with which a recipe's own program may change the storage. Raises Halt(tools)."""
        variables: dict[str, str] = {}
        try:
            for kind in table.KINDS.values() if self._vm else ():
                variables |= kind.environment(self.folder)
        except OSError as error:
            raise Halt("tools", f"the configuration of the storage's tools cannot be written: {error}") from None
        if self._udev:
            variables = {name: value for name, value in variables.items() if name not in WITHOUT_UDEV}
        return variables

    def standing(self) -> Mapping[str, BuiltLayer]:
        """Layer name → what was built of it."""
        return self._built

    def opened(self) -> dict[str, str]:
        """Layer name → what a program opens."""
        return {name: built.node for name, built in self._built.items()}

    def facts(self) -> tuple[LayerFacts, ...]:
        """Every layer as it is now."""
        return tuple(_facts(built) for built in list(self._built.values()))

    def _wait(self) -> None:
        """Wait until no layer syncs any more, for as long as a sync may take."""
        until = time.monotonic() + self._limit
        while any(_health(built)[0] == "syncing" for built in self._built.values()) and time.monotonic() < until:
            time.sleep(SYNC_POLL)

    def _sync(self) -> None:
        """Wait until every layer is healthy. Raises Halt(storage): degraded, or still syncing."""
        until = time.monotonic() + self._limit
        for name, built in self._built.items():
            while (found := _health(built))[0] == "syncing":
                if time.monotonic() > until:
                    raise Halt("storage", f"{name} did not become synced: {found[1]}")
                time.sleep(SYNC_POLL)
            if found[0] == "degraded" and not built.degraded:
                raise Halt("storage", f"{name} was degraded before its first use: {found[1]}")


@contextlib.contextmanager
def _halting(layer: machine.Layer) -> Iterator[None]:
    """What a kind cannot build is the trial's fault, with its stage, and with the layer where one was refused."""
    try:
        yield
    except StorageError as error:
        halt = Halt(error.stage, error.message, refused=error.stage == "storage")
    except Halt as error:
        halt = error
    else:
        return
    if halt.refused and halt.fault.stage == "storage":
        halt.fault = replace(halt.fault, refused=layer.name)
    raise halt from None


def _kind(layer: machine.Layer) -> Kind:
    """The kind of a layer. Raises Halt(plan) where this version has no such type."""
    if table.row(layer.kind, layer.type) is None:
        raise Halt("plan", f"{layer.name}: {layer.kind} {layer.type} is not supported by this version")
    return table.KINDS[layer.kind]


def _without_vm(layer: Layer) -> bool:
    return not layer.of and layer.kind in table.KINDS and table.KINDS[layer.kind].without_vm


def _health(built: BuiltLayer) -> tuple[str, str]:
    health = table.KINDS[built.layer.kind].health
    return health(built) if health else ("", "")


def _facts(built: BuiltLayer) -> LayerFacts:
    limits = disks.limits(built.device)
    health, status = _health(built)
    return LayerFacts(built.layer.name, built.node, limits.dma_alignment, limits.logical_block, health, status)


def rows(layers: Sequence[Layer]) -> list[Row]:
    """What is known of the types of these layers."""
    return [row for layer in layers if (row := table.row(layer.kind, layer.type))]


def parts(layer: machine.Layer) -> tuple[str, ...]:
    """Names of all layers that this one lies on."""
    row = table.row(layer.kind, layer.type)
    return row.parts(layer) if row else layer.of


def in_order(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with each behind those it is made of. Raises Halt(plan) for an unknown one and for a circle."""
    known = {layer.name: layer for layer in layers}
    ordered: dict[str, Layer] = {}

    def place(name: str, above: tuple[str, ...]) -> None:
        if name in ordered:
            return
        if name not in known or name in above:
            raise Halt("plan", f"{' of '.join((*above, name))}: {'a circle' if name in above else 'no such layer'}")
        for lower in parts(known[name]):
            place(lower, (*above, name))
        ordered[name] = known[name]

    for layer in layers:
        place(layer.name, ())
    return list(ordered.values())


def load_modules(layers: Sequence[Layer]) -> None:
    """Load what the layers need, where the kernel has modules."""
    known = [(row, dict(layer.options)) for layer in layers if (row := table.row(layer.kind, layer.type))]
    needed = [name for row, given in known for name in row.modules_for(given)]
    if needed:
        disks.load_modules(*dict.fromkeys(needed))
