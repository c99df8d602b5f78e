# SPDX-License-Identifier: GPL-2.0-only
"""The agent's side of stamp, verify and corrupt: a journal for each stamped object, kept outside of who writes it."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import zlib
from dataclasses import dataclass, field, replace

from .blocks import Pattern
from .command import Halt
from .integrity import Verification, drop_caches, forget, name, stamp, verify
from .journal import Extent, Journal
from .observe import BoundedLog
from .plan import DAY, Plan, Step
from .storage import Storage

OURS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of an open: the VM's want, which says nothing of storage


@dataclass(frozen=True)
class BackingLayer:
    """A layer of the VM that a stamped object lies on, ``shift`` bytes into it."""

    layer: str
    shift: int = 0


@dataclass
class StampTarget:
    """One stamped object: ``pattern`` makes its blocks; ``mapped``: they lie where its extents say."""

    name: str
    pattern: Pattern
    journal: Journal = field(default_factory=Journal)
    mapped: bool = False
    below: tuple[BackingLayer, ...] = ()

    def places(self) -> list[Extent] | None:
        """Where its blocks lie on what is below; None: at the same place."""
        return self.journal.extents if self.mapped else None


@dataclass(frozen=True)
class StampState:
    """A stamped object as one boot of the VM leaves it to the next; runs and extents as in the journal."""

    name: str
    flushed: tuple[tuple[int, int, int], ...]
    unsure: tuple[tuple[int, int, int], ...]
    extents: tuple[tuple[int, int, int], ...]
    mapped: bool
    below: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class DamagedBlock:
    """A block, ``place`` bytes into ``node``, as it was before a control's damage and as it is since."""

    node: str
    place: int
    before: bytes
    since: bytes


class Stamps:
    """All stamped objects of a trial. Lines of their writers are kept in ``SHARED/stamps.log``, too.

    ``damaged``: layer of the VM → what a control damaged on it, in order.
    """

    def __init__(self, plan: Plan, shared: str) -> None:
        self._token = plan.token
        self.vm = plan.vm
        self.damaged: dict[str, list[DamagedBlock]] = {}
        self._objects: dict[str, StampTarget] = {}
        self._recording = threading.Lock()
        stamping = any(step.verb == "stamp" for step in plan.steps)
        self._log = BoundedLog(f"{shared}/stamps.log") if stamping else None

    def of(self, name: str) -> StampTarget:
        """The object called ``name``, made when it is first needed."""
        if name not in self._objects:
            self._objects[name] = StampTarget(name, Pattern(zlib.crc32(f"{self._token}/{name}".encode())))
        return self._objects[name]

    def known(self, name: str) -> StampTarget | None:
        """The object called ``name`` when it was stamped."""
        return self._objects.get(name)

    def on(self, layer: str) -> list[tuple[StampTarget, int]]:
        """The stamped objects that lie on ``layer`` of the VM, and how many bytes into it."""
        return [
            (stamped, below.shift)
            for stamped in self._objects.values()
            for below in stamped.below
            if below.layer == layer
        ]

    def record(self, line: str) -> None:
        """Take ``NAME LINE`` of a writer."""
        object_name, _, rest = line.partition(" ")
        # A ValueError: the line was cut off by a kill, and what it reported counts as not reported.
        with self._recording, contextlib.suppress(ValueError):
            self.of(object_name).journal.record(rest)
            if self._log:
                self._log.write(f"{line}\n".encode())

    def freeze(self) -> None:
        """From now on no writer goes on, as each waits for its next line to be taken."""
        self._recording.acquire()

    def state(self) -> tuple[StampState, ...]:
        """What the next boot of the VM has to know. What was on its way may be there afterwards, or not, or half."""
        return tuple(
            StampState(
                one.name,
                tuple(one.journal.flushed),
                (*one.journal.abandoned, *one.journal.pending),
                tuple((extent.first, extent.place, extent.count) for extent in one.journal.extents),
                one.mapped,
                tuple((below.layer, below.shift) for below in one.below),
            )
            for one in self._objects.values()
        )

    def restore(self, states: tuple[StampState, ...]) -> None:
        """Take up what the boot before this one left."""
        for state in states:
            one = self.of(state.name)
            one.journal.flushed = list(state.flushed)
            one.journal.abandoned = list(state.unsure)
            one.journal.extents = [Extent(*extent) for extent in state.extents]
            one.mapped = state.mapped
            one.below = tuple(BackingLayer(*below) for below in state.below)

    def close(self) -> None:
        """End the log."""
        if self._log:
            self._log.close()


@dataclass(frozen=True)
class VerifySummary:
    """What a verify saw of one object, or what kept it from that."""

    classes: tuple[str, ...] = ()
    judged: int = 0
    findings: int = 0
    errno: str = ""
    lines: tuple[str, ...] = ()


def summary_of(seen: Verification) -> VerifySummary:
    """What was found, as plain facts."""
    return VerifySummary(seen.classes(), seen.judged, len(seen.findings), seen.errno, tuple(seen.describe()))


def together(seen: list[VerifySummary]) -> VerifySummary:
    """Several summaries as one: every class that was seen, and clean only when all that was verified is."""
    bad = {kind for one in seen for kind in one.classes} - {"clean"}
    all_judged = all(one.classes for one in seen)
    return VerifySummary(
        tuple(sorted(bad)) or (("clean",) if seen and all_judged else ()),
        sum(one.judged for one in seen),
        sum(one.findings for one in seen),
        next((one.errno for one in seen if one.errno), ""),
        tuple(line for one in seen for line in one.lines),
    )


def path_of(storage: Storage, layer: str) -> str:
    """What stamp and verify open of a layer of the VM."""
    node = storage.node(layer)
    return f"{node}/stamped" if storage.is_mounted(layer) else node


def stamp_here(stamps: Stamps, storage: Storage, step: Step, seconds: float) -> tuple[str, int, str]:
    """Stamp the step's object in the VM: errno ("" for none), blocks written, detail."""
    stamped = stamps.of(step.objects[0])
    mapped = storage.is_mounted(stamped.name)
    stamped.mapped = mapped
    stamped.below = tuple(BackingLayer(leg) for leg in storage.legs(stamped.name)) if mapped else ()
    done = stamp(
        path_of(storage, stamped.name),
        stamped.pattern,
        blocks_of(step),
        stamped.journal.latest() + 1,
        direct=step.direct,
        record=lambda line: stamps.record(f"{stamped.name} {line}"),
        seconds=min(step.seconds, seconds),
    )
    return done.errno, done.count, done.detail


def stamp_until_cut(stamps: Stamps, storage: Storage, step: Step) -> tuple[str, int, str] | None:
    """Stamp the step's object for its seconds, and stop in the middle: None; else what ``stamp_here`` says."""
    ended: list[tuple[str, int, str]] = []
    endless = replace(step, seconds=step.seconds + DAY)
    writer = threading.Thread(target=lambda: ended.append(stamp_here(stamps, storage, endless, DAY)), daemon=True)
    writer.start()
    writer.join(step.seconds)
    if not writer.is_alive():
        return ended[0] if ended else ("", 0, "the writer broke off")
    stamps.freeze()
    return None


def verify_here(stamps: Stamps, storage: Storage, layer: str, step: Step) -> VerifySummary:
    """Verify a layer of the VM: what was stamped on it, or what was stamped on something that lies on it.

    Raises Halt(step) when nothing was stamped there: a guest may have died before it did.
    """
    stamped, above = stamps.known(layer), stamps.on(layer)
    if stamped is None and not above:
        raise Halt("step", f"{step.name}: nothing that was stamped lies on {layer}")
    if not step.direct and step.caches != "keep":
        if step.caches == "remount" and storage.is_mounted(layer):
            storage.remount(layer)
        if stamps.vm:  # the host's caches are not ours
            drop_caches()
        else:
            forget(path_of(storage, layer))
    if stamped is not None:
        return _verify_path(path_of(storage, layer), stamped, step.direct, None, 0)
    return together(
        [_verify_path(storage.node(layer), stamped, step.direct, stamped.places(), shift) for stamped, shift in above]
    )


def _verify_path(
    path: str, stamped: StampTarget, direct: bool, below: list[Extent] | None, shift: int
) -> VerifySummary:
    if below == []:
        return VerifySummary(lines=(f"where the blocks of {stamped.name} lie was never reported",))
    try:
        if not os.path.exists(path):
            return VerifySummary(("unreadable",), errno="ENOENT", lines=(f"{path} is not there",))
        return summary_of(verify(path, stamped.pattern, stamped.journal, direct=direct, below=below, shift=shift))
    except OSError as error:
        if error.errno in OURS:
            raise Halt("step", f"{path} cannot be verified: {error.strerror}") from error
        return VerifySummary(("unreadable",), errno=name(error), lines=(f"{path}: {error.strerror}",))


def blocks_of(step: Step) -> int:
    """How many blocks a stamp writes. Raises Halt(plan) for less than one."""
    if step.size < 4096 or len(step.objects) != 1:
        raise Halt("plan", f"{step.name}: stamp needs one object and a size of 4k or more")
    return step.size // 4096
