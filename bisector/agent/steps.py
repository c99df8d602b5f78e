# SPDX-License-Identifier: GPL-2.0-only
"""The verbs of a workload: a table from verb to function, so that a new verb is a function and a line."""

from __future__ import annotations

import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .command import TAIL, Halt, environment_of_program, fill, is_missing, programs_of, run, search_path
from .device_io import device_io
from .observe import Recorder
from .outcome import Again, Outcome
from .plan import LEFT_OUT, Io, Plan, Step, StepFacts
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

MANY, SLACK = 10, 1.0  # times, and seconds, that a repetition may last longer than all before it
CANNOT_RUN = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP)  # of a program of the host's


class GuestControl(ABC):
    """What the verbs need of the inner guest; guest.Guest is one. Here so that a plan without guest never loads it.

    ``fresh``: its storage was not made yet.
    """

    fresh: bool = True

    @abstractmethod
    def start(self, seconds: float, programs: str = "") -> Outcome:
        """Start it, within ``seconds``, by QEMU in the folder ``programs``; "": by the one under test."""

    @abstractmethod
    def stop(self) -> Outcome:
        """End it."""

    @abstractmethod
    def reset(self, seconds: float) -> Outcome:
        """Reset it, and wait until it is up again, within ``seconds``."""

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
    def run(self, argv: tuple[str, ...], seconds: float, keep: int) -> Outcome:
        """Run a program in it, within ``seconds``; the last ``keep`` bytes that it prints come back."""

    @abstractmethod
    def monitor(self, step: Step, seconds: float) -> Outcome:
        """Give QEMU the step's QMP command, and wait for its event, within ``seconds``."""

    @abstractmethod
    def plug(self, step: Step, seconds: float) -> Outcome:
        """Put the step's drives in, or pull them out (``unplug``), within ``seconds``."""

    @abstractmethod
    def suspend(self, step: Step, seconds: float) -> Outcome:
        """Suspend it as far as the step's level, and wake it, within ``seconds``."""

    @abstractmethod
    def close(self) -> None:
        """End it, and all that it writes."""


@dataclass(frozen=True)
class Workload:
    """What the verbs work on.

    ``files`` is the folder of the recipe's own files; ``go_down`` ends this boot of the VM, by a reboot or a cut of its
    power (True), with what was seen of the step so far, and does not come back; ``ended`` says whether a step that
    began with this one has ended.
    """

    plan: Plan
    storage: Storage
    recorder: Recorder
    files: str
    guest: GuestControl | None
    stamps: Stamps
    go_down: Callable[[bool, Outcome], Outcome] = lambda cut, seen: seen
    ended: Callable[[str], bool] = lambda name: True

    def programs(self, step: Step) -> str:
        """The folder of the programs of QEMU that do the step; "" for those under test."""
        return programs_of(os.path.dirname(self.files), step.by)

    def left(self) -> float:
        """Seconds until the deadline, at least a little."""
        return max(0.1, self.plan.deadline - self.recorder.now())

    def again(self, step: Step) -> Again:
        """Whether the step does its work once more: for its seconds, or while another step goes on (``during``).

        Never past the deadline: a step that only waits for another one does not hang when that one does.
        """
        until = time.monotonic() + min(step.seconds, self.left())

        def goes_on() -> bool:
            if step.during:
                return not self.ended(step.during) and self.recorder.now() < self.plan.deadline
            return time.monotonic() < until

        return goes_on

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
    return work.inner().start(work.left(), work.programs(step))


def _stop(work: Workload, step: Step) -> Outcome:
    return work.inner().stop()


def _restart(work: Workload, step: Step) -> Outcome:
    work.inner().stop()
    return _start(work, step)


def _reset(work: Workload, step: Step) -> Outcome:
    return work.inner().reset(work.left())


def _resume(work: Workload, step: Step) -> Outcome:
    return work.inner().resume(work.left())


def _qmp(work: Workload, step: Step) -> Outcome:
    return _repeated(work, step, lambda: work.inner().monitor(step, work.left()))


def _repeated(work: Workload, step: Step, once: Callable[[], Outcome]) -> Outcome:
    """Do ``once`` as often as the step says: what was seen, all counts together. All but ``io`` ends with a failure.

    A repetition that the deadline cuts short, while another step hangs, is none that hangs: what there was before
    counts. It hangs where it had the time of many before it.
    """
    again, longest = work.again(step), 0.0
    seen: Outcome | None = None
    while True:
        began = time.monotonic()
        one = once()
        lasted = time.monotonic() - began
        if step.verb != "io":
            one = replace(one, count=int(one.done and one.exit == 0))
        if seen and step.during and not one.done and one.exit is None and lasted < MANY * longest + SLACK:
            return seen
        seen, longest = (_added(seen, one, step.keep) if seen else one), max(longest, lasted)
        goes_on = one.done and (one.exit == 0 or (step.verb == "io" and one.exit is not None))
        if not goes_on or not again():
            return seen


def _added(seen: Outcome, one: Outcome, keep: int) -> Outcome:
    """With one repetition more: the first error, and the words of a failure before those of a success.

    Where a condition looks into the words (``keep``), the end of all that was printed is there.
    """
    failed = seen if seen.exit and one.exit == 0 else one
    errno = seen.errno or one.errno
    detail = failed.detail
    if keep:
        between = "" if not seen.detail or seen.detail.endswith("\n") else "\n"
        detail = f"{seen.detail}{between}{one.detail}"
        detail = detail if len(detail) <= len(LEFT_OUT) + keep else LEFT_OUT + detail[-keep:]
    return replace(failed, count=seen.count + one.count, failed=seen.failed + one.failed, errno=errno, detail=detail)


def _io(work: Workload, step: Step) -> Outcome:
    if step.io is None or len(step.objects) != 1:
        raise Halt("plan", f"{step.name}: io needs one object and what to do with it")
    if step.where == "guest":
        drive, io = step.objects[0], step.io
        return _repeated(work, step, lambda: work.inner().io(drive, io, step.seconds, work.left()))
    path, mounted = work.storage.node(step.objects[0]), work.storage.is_mounted(step.objects[0])
    seen = device_io(f"{path}/io" if mounted else path, step.io, work.again(step), makes=mounted)
    return replace(seen, exit=int(seen.failed > 0))  # as a program would end, and as dd in the guest does


def _run(work: Workload, step: Step) -> Outcome:
    names = {**work.storage.opened(), "seed": str(work.plan.seed)}
    if step.where == "guest":
        return _repeated(work, step, lambda: work.inner().run(step.argv, work.left(), step.keep or TAIL))
    argv = fill(step.argv, names)
    environment = environment_of_program(work.plan.seed, work.storage.environment(), work.programs(step))

    def once() -> Outcome:
        # A name with a slash is the recipe's own file (the working folder is theirs); any other is found in PATH.
        try:
            ran = run(argv, timeout=work.left(), env=environment, cwd=work.files, keep=step.keep or TAIL)
        except OSError as error:
            own = "{" not in step.argv[0] and error.errno in CANNOT_RUN  # else what lies on the storage under test
            why = f"{step.name}: {argv[0]} cannot be run: {error} (PATH {environment['PATH']})"
            raise Halt("tools" if own else "step", why) from None
        return Outcome(done=ran.exit is not None, exit=ran.exit, detail=ran.shown)

    return _repeated(work, step, once)


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
    if step.where == "guest":
        return work.inner().plug(step, work.left())
    from .plugs import Plugs

    plugs = Plugs(work.storage)
    act = plugs.unplug if step.verb == "unplug" else plugs.plug
    wrong = [said for name in step.objects if (said := act(name, work.left()))]
    count = len(step.objects) - len(wrong)
    return Outcome(exit=int(bool(wrong)), count=count, failed=len(wrong), detail="\n".join(wrong))


def _suspend(work: Workload, step: Step) -> Outcome:
    if step.where == "guest":
        return _repeated(work, step, lambda: work.inner().suspend(step, work.left()))
    from .suspend import suspend  # here: few plans have it

    return _repeated(work, step, lambda: suspend(step.level))


def _change(work: Workload, step: Step) -> Outcome:
    from .members import change

    code, said = change(work.storage, step, work.left())
    return Outcome(done=code is not None, exit=code, detail=said)


Verb = Callable[[Workload, Step], Outcome]
VERBS: Mapping[str, Verb] = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "reset": _reset,
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
    "suspend": _suspend,
}
