# SPDX-License-Identifier: GPL-2.0-only
"""The verbs of a workload: a table from verb to function, so that a new verb is a function and a line."""

from __future__ import annotations

import errno
import mmap
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .command import TAIL, Halt, environment_of_program, fill, is_missing, run, search_path
from .observe import Recorder
from .plan import Io, Plan, Step, StepFacts
from .stamps import (
    BackingLayer,
    Stamps,
    StampTarget,
    VerifySummary,
    blocks_of,
    stamp_here,
    stamp_until_cut,
    together,
    verify_here,
)
from .storage import Storage

PAGE = mmap.PAGESIZE
CANNOT_RUN = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP)  # of a program of the host's


@dataclass(frozen=True)
class Outcome:
    """What a verb saw; the fields are those of StepFacts."""

    done: bool = True
    exit: int | None = None
    errno: str = ""
    count: int = 0
    failed: int = 0
    blocks: tuple[str, ...] = ()
    detail: str = ""


class GuestControl(ABC):
    """What the verbs need of the inner guest; guest.Guest is one. Here so that a plan without guest never loads it.

    ``fresh``: its storage was not made yet.
    """

    fresh: bool = True

    @abstractmethod
    def start(self, seconds: float) -> Outcome:
        """Start it, within ``seconds``."""

    @abstractmethod
    def stop(self) -> Outcome:
        """End it."""

    @abstractmethod
    def resume(self, seconds: float) -> Outcome:
        """Let it go on after a pause, and wait for the end of what the pause cut short, within ``seconds``."""

    @abstractmethod
    def stamp(self, step: Step, stamped: StampTarget, record: Callable[[str], None], seconds: float) -> Outcome:
        """Write blocks in it, within ``seconds``; ``record`` takes the journal's lines."""

    @abstractmethod
    def verify(self, step: Step, stamped: StampTarget, seconds: float) -> Outcome:
        """Verify blocks in it, within ``seconds``."""

    @abstractmethod
    def below(self, name: str) -> tuple[tuple[str, int], ...]:
        """Layers of the VM that hold what it has as ``name``, and how many bytes into them that begins."""

    @abstractmethod
    def is_mounted(self, name: str) -> bool:
        """Whether ``name`` is a file system of its."""

    @abstractmethod
    def io(self, drive: str, io: Io, repeat: float, seconds: float) -> Outcome:
        """Drive ``io`` in it for ``repeat`` seconds (0: once), within ``seconds``."""

    @abstractmethod
    def run(self, argv: tuple[str, ...], seconds: float) -> Outcome:
        """Run a program in it, within ``seconds``."""

    @abstractmethod
    def monitor(self, step: Step, seconds: float) -> Outcome:
        """Give QEMU the step's QMP command, and wait for its event, within ``seconds``."""

    @abstractmethod
    def close(self) -> None:
        """End it, and all that it writes."""


@dataclass(frozen=True)
class Workload:
    """What the verbs work on.

    ``files`` is the folder of the recipe's own files; ``go_down`` ends this boot of the VM, by a reboot or a cut of its
    power (True), with what was seen of the step so far, and does not come back.
    """

    plan: Plan
    storage: Storage
    recorder: Recorder
    files: str
    guest: GuestControl | None
    stamps: Stamps
    go_down: Callable[[bool, Outcome], Outcome] = lambda cut, seen: seen

    def left(self) -> float:
        """Seconds until the deadline, at least a little."""
        return max(0.1, self.plan.deadline - self.recorder.now())

    def inner(self) -> GuestControl:
        """The inner guest. Raises Halt(plan) when the plan has none."""
        if self.guest is None:
            raise Halt("plan", "a step needs the inner guest, and the plan has none")
        return self.guest


def demand_programs(plan: Plan) -> None:
    """Find the programs of all steps that run here, before anything is made. Raises Halt(tools)."""
    for step in plan.steps:
        program = "fio" if step.verb == "fio" else step.argv[0] if step.verb == "run" and step.argv else ""
        if program and step.where == "vm" and is_missing(program):
            raise Halt("tools", f"step {step.name}: {program} is not installed; searched {search_path()}")


def perform(work: Workload, step: Step) -> StepFacts:
    """Perform one step, or leave it out by its probability. Raises Halt."""
    started = round(work.recorder.now(), 3)
    facts = step.begun(started)
    if not issued(step, work.plan.seed):
        return replace(facts, done=True, skipped=True, exit=0)
    verb = VERBS.get(step.verb)
    if verb is None:
        raise Halt("plan", f"{step.name}: {step.verb} is not supported by this version")
    seen = verb(work, step)
    return replace(
        facts,
        ended=round(work.recorder.now(), 3),
        done=seen.done,
        exit=seen.exit,
        errno=seen.errno,
        count=seen.count,
        failed=seen.failed,
        blocks=seen.blocks,
        detail=seen.detail,
    )


def issued(step: Step, seed: int) -> bool:
    """Whether the step is issued in the trial with this seed."""
    if step.probability >= 1.0:
        return True
    import random

    return random.Random(f"{seed}:{step.name}").random() < step.probability


def _start(work: Workload, step: Step) -> Outcome:
    return work.inner().start(work.left())


def _stop(work: Workload, step: Step) -> Outcome:
    return work.inner().stop()


def _restart(work: Workload, step: Step) -> Outcome:
    work.inner().stop()
    return work.inner().start(work.left())


def _resume(work: Workload, step: Step) -> Outcome:
    return work.inner().resume(work.left())


def _qmp(work: Workload, step: Step) -> Outcome:
    return work.inner().monitor(step, work.left())


def _io(work: Workload, step: Step) -> Outcome:
    if step.io is None or len(step.objects) != 1:
        raise Halt("plan", f"{step.name}: io needs one object and what to do with it")
    if step.where == "guest":
        return work.inner().io(step.objects[0], step.io, step.seconds, work.left())
    if work.storage.is_mounted(step.objects[0]):
        raise Halt("plan", f"{step.name}: io goes to a device or a file, and {step.objects[0]} is a file system")
    seen = device_io(work.storage.node(step.objects[0]), step.io, min(step.seconds, work.left()))
    return replace(seen, exit=int(seen.failed > 0))  # as a program would end, and as dd in the guest does


def device_io(path: str, io: Io, seconds: float) -> Outcome:
    """Do ``io`` on ``path`` once, or over and over for ``seconds``.

    The buffer starts ``buffer_offset`` bytes past a page boundary: an mmap is page-aligned, a bytearray is not.
    ``errno`` is the first one seen; a short transfer counts as failed and is named in ``detail``.
    """
    reading = io.operation == "read"
    flags = (os.O_RDONLY if reading else os.O_WRONLY) | os.O_CLOEXEC | (os.O_DIRECT if io.direct else 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        return Outcome(errno=errno_name(error), failed=1, detail=f"open {path}: {error.strerror}")
    seen = Outcome()
    memory = mmap.mmap(-1, io.block + io.buffer_offset + PAGE)
    buffer = memoryview(memory)[io.buffer_offset : io.buffer_offset + io.block]
    if not reading:
        buffer[:] = pattern(io.block)
    until = time.monotonic() + seconds
    while True:
        for index in range(io.count):
            seen = _transfer(seen, descriptor, buffer, io.offset + index * io.block, reading)
        if time.monotonic() >= until:
            break
    return _flushed(seen, descriptor, flush=io.flush and not reading)


def _transfer(seen: Outcome, descriptor: int, buffer: memoryview, offset: int, reading: bool) -> Outcome:
    try:
        moved = os.preadv(descriptor, [buffer], offset) if reading else os.pwritev(descriptor, [buffer], offset)
    except OSError as error:
        where = seen.detail or f"at {offset}: {error.strerror}"
        return replace(seen, failed=seen.failed + 1, errno=seen.errno or errno_name(error), detail=where)
    if moved == len(buffer):
        return replace(seen, count=seen.count + 1)
    short = seen.detail or f"at {offset}: {moved} of {len(buffer)} bytes"
    return replace(seen, failed=seen.failed + 1, detail=short)


def _flushed(seen: Outcome, descriptor: int, *, flush: bool) -> Outcome:
    try:
        if flush:
            os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        where = seen.detail or f"flush: {error.strerror}"
        return replace(seen, failed=seen.failed + 1, errno=seen.errno or errno_name(error), detail=where)
    return seen


def pattern(size: int) -> bytes:
    """Bytes that are not zero and differ from one 8-byte word to the next."""
    words = (size + 7) // 8
    return b"".join((0xB15EC70200000000 + index).to_bytes(8, "big") for index in range(words))[:size]


def errno_name(error: OSError) -> str:
    """``EINVAL`` for an OSError."""
    return errno.errorcode.get(error.errno or 0, f"E{error.errno}")


def _run(work: Workload, step: Step) -> Outcome:
    names = {**work.storage.opened(), "seed": str(work.plan.seed)}
    if step.where == "guest":
        return work.inner().run(step.argv, work.left())
    argv = fill(step.argv, names)
    environment = environment_of_program(work.plan.seed, work.storage.environment())
    until = time.monotonic() + step.seconds
    count = 0
    while True:
        # A name with a slash is the recipe's own file (the working folder is theirs); any other is found in PATH.
        try:
            ran = run(argv, timeout=work.left(), env=environment, cwd=work.files, keep=step.keep or TAIL)
        except OSError as error:
            own = "{" not in step.argv[0] and error.errno in CANNOT_RUN  # else what lies on the storage under test
            why = f"{step.name}: {argv[0]} cannot be run: {error} (PATH {search_path()})"
            raise Halt("tools" if own else "step", why) from None
        count += ran.exit == 0
        if ran.exit != 0 or time.monotonic() >= until:
            return Outcome(done=ran.exit is not None, exit=ran.exit, count=count, detail=ran.output)


def _fio(work: Workload, step: Step) -> Outcome:
    from .fio import perform  # here: few plans have it

    return perform(work, step)


def _stamp(work: Workload, step: Step) -> Outcome:
    blocks = blocks_of(step)
    if step.ends_boot:
        ended = stamp_until_cut(work.stamps, work.storage, step)
        if ended is None:
            return work.go_down(True, Outcome(exit=0, count=work.stamps.of(step.objects[0]).journal.blocks()))
        return Outcome(exit=1, errno=ended[0], count=ended[1], failed=1, detail=ended[2])
    if step.where != "guest":
        errno, count, detail = stamp_here(work.stamps, work.storage, step, work.left())
        return Outcome(exit=int(bool(errno)), errno=errno, count=count, failed=int(bool(errno)), detail=detail)
    guest, stamped = work.inner(), work.stamps.of(step.objects[0])
    stamped.mapped = guest.is_mounted(stamped.name)
    stamped.below = tuple(BackingLayer(layer, shift) for layer, shift in guest.below(stamped.name))
    seen = guest.stamp(step, stamped, lambda line: work.stamps.record(f"{stamped.name} {line}"), work.left())
    return replace(seen, detail=seen.detail or f"{stamped.journal.blocks()} of {blocks} blocks flushed")


def _verify(work: Workload, step: Step) -> Outcome:
    if step.where != "guest":
        return _outcome(together([verify_here(work.stamps, work.storage, name, step) for name in step.objects]))
    seen, ended = [], Outcome()
    for name in step.objects:
        stamped = work.stamps.known(name)
        if stamped is None:
            raise Halt("plan", f"{step.name}: nothing was stamped on {name} in the guest")
        ended = work.inner().verify(step, stamped, work.left())
        lines = tuple(ended.detail.splitlines())
        seen.append(VerifySummary(ended.blocks, ended.count, ended.failed, ended.errno, lines))
        if not ended.done or ended.exit is None:
            break
    return replace(_outcome(together(seen)), done=ended.done, exit=ended.exit)


def _outcome(seen: VerifySummary) -> Outcome:
    bad = bool(seen.findings or seen.errno)
    detail = "\n".join(seen.lines)
    return Outcome(True, int(bad), seen.errno, seen.judged, seen.findings, seen.classes, detail)


def _corrupt(work: Workload, step: Step) -> Outcome:
    if step.damage == "none":
        return Outcome(exit=0)
    from .damage import corrupt  # here: only a control needs it

    nodes = {name: work.storage.node(name) for name in step.objects}
    try:
        return Outcome(exit=0, count=len(nodes), detail=corrupt(work.stamps, nodes, step.damage, work.plan.seed))
    except OSError as error:
        mounted = error.errno == errno.EBUSY
        hint = "; a mounted device is written with vm: {append: [bdev_allow_write_mounted=1]}" if mounted else ""
        raise Halt("step", f"{step.name}: {error}{hint}") from None


def _reboot(work: Workload, step: Step) -> Outcome:
    """As a shutdown does: the guest is ended, all storage taken off."""
    guest = work.guest.stop() if work.guest else Outcome()
    wrong = [] if guest.done else [f"the guest: {guest.detail}"]
    wrong += work.storage.leave()
    return work.go_down(False, Outcome(exit=int(bool(wrong)), failed=len(wrong), detail="\n".join(wrong)))


def _power_cut(work: Workload, step: Step) -> Outcome:
    return work.go_down(True, Outcome(exit=0))


def _plug(work: Workload, step: Step) -> Outcome:
    from .plugs import Plugs

    plugs = Plugs(work.storage)
    act = plugs.unplug if step.verb == "unplug" else plugs.plug
    wrong = [said for name in step.objects if (said := act(name, work.left()))]
    count = len(step.objects) - len(wrong)
    return Outcome(exit=int(bool(wrong)), count=count, failed=len(wrong), detail="\n".join(wrong))


def _change(work: Workload, step: Step) -> Outcome:
    from .members import change

    code, said = change(work.storage, step, work.left())
    return Outcome(done=code is not None, exit=code, detail=said)


Verb = Callable[[Workload, Step], Outcome]
VERBS: Mapping[str, Verb] = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "resume": _resume,
    "qmp": _qmp,
    "io": _io,
    "run": _run,
    "fio": _fio,
    "stamp": _stamp,
    "verify": _verify,
    "corrupt": _corrupt,
    "fail": _change,
    "remove": _change,
    "add": _change,
    "unplug": _plug,
    "plug": _plug,
    "reboot": _reboot,
    "power_cut": _power_cut,
}
