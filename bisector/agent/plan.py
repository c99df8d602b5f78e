# SPDX-License-Identifier: GPL-2.0-only
"""The types that cross the wall of the VM: a plan goes in, a result comes out, both as JSON.

Standard library only, and of ours the codec alone is imported: this file runs on both sides of the wall.
Times are seconds; sizes are bytes; ``at``/``started``/``ended`` count from the agent's start.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field, replace

from .codec import LARGEST, dump

SCHEMA = 1

DAY = 86400.0  # seconds; no step of a recipe lasts longer (``for:``)
LEFT_OUT = "[what was printed before this is left out] "
"""Stands before a step's output of which the end alone was kept, and so before the rest of a line."""

LEFT_OUT_EVENTS = "events-left-out"
"""The agent's event where there were more than a result holds."""

ITEMS = 10_000  # of a list that a person or a program of ours makes

LEAK, LEAKS_SOUGHT = "leak", "leaks-sought"
"""Events of the agent's: a place that leaks, and that leaks were looked for, whether there are any or not."""

CANDIDATE = "candidate"
"""The kernel under test, among those that one trial boots."""


# A number in 0..the figure, as ``load`` holds it to; of a tuple how many items.
Seconds = typing.Annotated[float, 1000 * DAY]
Natural = typing.Annotated[int, LARGEST]


@dataclass(frozen=True)
class Layer:
    """One piece of storage.

    ``kind`` and ``type`` as in the table (layers/table.py). ``size`` 0 means all there is. ``options`` holds what only
    some types have (``cluster_size``, ``full``, ``errors`` ...), each as its option carries it (layers/option.py).
    """

    name: str
    kind: str
    type: str
    of: tuple[str, ...] = ()
    size: int = 0
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Drive:
    """A drive of the inner guest: the layer ``of`` behind the guest device ``device``."""

    name: str
    of: str
    device: str = "virtio-blk"  # virtio-blk, ide, ahci, scsi, nvme
    aio: str = "threads"  # native, threads, io_uring
    cache_direct: bool = True
    format: str = "raw"
    werror: str = ""  # "" leaves QEMU's default
    rerror: str = ""
    words: tuple[tuple[str, str], ...] = ()  # of its device and of what is below it (layers/drive.py)


@dataclass(frozen=True)
class Guest:
    """The inner QEMU. ``os``: ``none`` (QEMU opens its drives, that is all), ``linux`` (our initramfs), ``image``."""

    os: str = "none"
    kernel: str = ""  # "": the kernel under test; else a kernel image readable in the VM
    image: str = ""  # os=image: a foreign disk image, console only
    ready: str = ""  # os=image: a console line that matches this regular expression says that it is up
    drives: tuple[Drive, ...] = ()
    passthrough: tuple[str, ...] = ()
    storage: tuple[Layer, ...] = ()
    memory: int = 256 << 20
    accel: str = "auto"  # auto, kvm, tcg


@dataclass(frozen=True)
class Io:
    """Plain I/O on a layer or a guest's drive: ``count`` operations of ``block`` bytes from offset ``offset``."""

    operation: str  # read, write; discard, write_zeroes of a device
    block: Natural
    count: Natural = 1
    direct: bool = False
    buffer_offset: Natural = 0  # bytes past a page boundary at which the user's buffer starts
    offset: Natural = 0
    flush: bool = False  # write: fsync at the end
    sync: bool = False  # write: each is on the medium when it ends (O_SYNC)
    vectors: Natural = 0  # read, write: so many buffers for one operation; 0: one


@dataclass(frozen=True)
class Step:
    """One step of the workload.

    ``verb``: start restart reset stop resume io stamp verify corrupt fail remove add run fio qmp plug unplug
    reboot power_cut suspend. ``argv``: of fio the options of its job, or the name of a job file.
    """

    name: str
    verb: str
    objects: tuple[str, ...] = ()
    where: str = "vm"  # vm, guest
    seconds: typing.Annotated[float, DAY] = 0.0  # repeat for that long (0: once)
    io: Io | None = None
    argv: tuple[str, ...] = ()
    size: int = 0
    damage: str = ""  # corrupt: the class of damage, or "none"
    direct: bool = False
    caches: str = ""  # verify without direct: drop them before (""), keep them, or remount
    kill: bool = False  # stamp: the machine that writes is killed when ``seconds`` are over, in the middle of it
    keep: Natural = 0  # bytes of a program's output that are kept; 0: what is kept of each
    qmp: str = ""  # a command for the inner QEMU's monitor: {"execute": NAME, "arguments": {...}}
    until: str = ""  # qmp: the event of QMP's that is waited for
    to: str = ""  # add: the array, where the layer is no member of one
    boot_kernel: str = ""  # reboot: whose kernel comes up, CANDIDATE or one of the plan's; "": the one that runs
    probability: float = 1.0  # issue the step with this chance, drawn from the seed (a flaky probe, for tests)
    group: str = ""  # steps in a row that have the same one run beside each other; "": it runs alone
    level: str = ""  # suspend: as far as that test of the kernel's (pm_test); "": to RAM
    after: typing.Annotated[float, DAY] = 0.0  # seconds that it begins later than the others of its group
    during: str = ""  # io, run, qmp, suspend: again and again while this step of its group goes on
    by: str = ""  # start, restart, run: whose programs of QEMU do it, of the plan's; "": the candidate's

    @property
    def ends_boot(self) -> bool:
        """Whether the VM goes down in it, and is booted again."""
        return self.verb in ("reboot", "power_cut") or (self.kill and self.where == "vm")

    def begun(self, at: float) -> StepFacts:
        """Its facts when it has begun, ``at`` seconds from the agent's start, and nothing more is known."""
        inside = self.where == "guest" or self.verb in ("start", "restart", "reset", "stop", "resume", "qmp")
        return StepFacts(self.name, at, at, where="guest" if inside else "vm", group=self.group)


def lasting(steps: typing.Iterable[tuple[str, float]]) -> float:
    """Seconds that steps last which have a time, each as its group and its seconds: of a group the longest."""
    alone, groups = 0.0, dict[str, float]()
    for group, seconds in steps:
        if group:
            groups[group] = max(groups.get(group, 0.0), seconds)
        else:
            alone += seconds
    return alone + sum(groups.values())


@dataclass(frozen=True)
class Watch:
    """A regular expression searched for in a console. ``decisive``: its first match ends the trial.

    ``most``: so many matches are reported; 0: as many as of each.
    """

    name: str
    where: str  # vm, guest
    pattern: str
    decisive: bool
    most: Natural = 0


@dataclass(frozen=True)
class File:
    """A file of the recipe's own that the workload needs; ``sha256`` makes its content part of the question."""

    name: str  # path relative to the recipe
    path: str  # where it lies on the host
    sha256: str


@dataclass(frozen=True)
class Plan:
    """One trial's workload. The fields marked (this trial) are not part of the plan's identity."""

    steps: typing.Annotated[tuple[Step, ...], ITEMS]
    layers: typing.Annotated[tuple[Layer, ...], ITEMS] = ()
    guest: Guest | None = None
    watches: typing.Annotated[tuple[Watch, ...], ITEMS] = ()
    files: typing.Annotated[tuple[File, ...], ITEMS] = ()
    vm: bool = True  # False: no VM, the agent runs in a sandbox on this host
    memory: int = 2 << 30
    cpus: int = 2
    append: tuple[str, ...] = ()  # further kernel options of the VM
    udev: bool = False  # the VM's udevd lives, and the storage's tools wait for it
    leaks: bool = False  # behind the last step, leaks of the kernel are looked for
    cgroups: tuple[str, ...] = ()  # controllers of cgroup2 that groups of a script's own have
    kernel: str = ""  # identity of the kernel that the VM boots, "" for the one under test
    icount: bool = False  # the VM's clock counts instructions
    kernels: typing.Annotated[tuple[tuple[str, str], ...], ITEMS] = ()  # used beside the candidate's: whose, identity
    first_kernel: str = ""  # whose is booted first; "": the candidate's
    schema: int = SCHEMA
    seed: int = 0  # (this trial)
    token: str = ""  # (this trial) stands in every marker
    deadline: Seconds = 120.0  # (this trial) seconds from the agent's start to its result
    accel: str = ""  # (this trial) "kvm" or "tcg"

    @property
    def by_others(self) -> bool:
        """Whether ``kernels`` are programs of QEMU, that do some of the steps, and no kernels."""
        return any(step.by for step in self.steps)

    def boots(self) -> int:
        """How often the VM is booted at most."""
        return 1 + sum(step.ends_boot for step in self.steps)

    def identity(self) -> str:
        """Hash of the question: equal for two trials whose answers may be put together. 64 hex digits."""
        import hashlib  # here, because the agent never needs it and its start in an emulated VM pays for each import

        nowhere = tuple(replace(file, path="") for file in self.files)
        question = replace(self, seed=0, token="", deadline=0.0, accel="", files=nowhere)
        return hashlib.sha256(dump(question).encode()).hexdigest()


@dataclass(frozen=True)
class StepFacts:
    """What one step saw. ``errno`` is a name such as EINVAL, "" when every operation succeeded."""

    name: str
    started: Seconds
    ended: Seconds
    done: bool = False  # ran to its end (whatever it saw); False: the trial ended inside it
    skipped: bool = False  # not issued, by its probability
    exit: int | None = None
    errno: str = ""
    count: int = 0  # operations that succeeded
    failed: int = 0  # operations that failed
    blocks: tuple[str, ...] = ()  # verify: classes of mismatch seen; ("clean",) when none
    detail: str = ""
    where: str = "vm"  # vm, guest: what it worked on, or brought up or down
    group: str = ""  # as in Step: steps of one group ran beside each other


@dataclass(frozen=True)
class LayerFacts:
    """A layer as built. ``dma_alignment`` and ``logical_block`` are the kernel's own figures, -1 when there is none."""

    name: str
    node: str
    dma_alignment: int = -1
    logical_block: int = -1
    health: str = ""  # healthy, degraded, syncing, none (no redundancy to lose), "" (not known)
    status: str = ""  # the raw line it was read from


@dataclass(frozen=True)
class AgentEvent:
    """Something that happened at a known time: ``source`` is agent, guest, qmp."""

    at: Seconds
    source: str
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Fault:
    """The harness's own failure inside the VM: never evidence about the kernel.

    ``refused``: the layer that the kernel or a tool refused to make; "" where that is not what happened.
    """

    stage: str  # plan, storage, guest, step, tools
    message: str
    refused: str = ""


@dataclass(frozen=True)
class KernelFacts:
    """A kernel that ran. ``build_id``: the GNU build id in hex, "" when the kernel shows none."""

    release: str = ""
    version: str = ""
    build_id: str = ""
    taint: int = 0
    command_line: str = ""
    whose: str = ""  # where the trial boots several: whose it is, as in Plan.kernels


@dataclass(frozen=True)
class Result:
    """What the agent saw; written early and again after each step, so that a kill leaves the last whole state."""

    token: str = ""
    complete: bool = False
    kernel: KernelFacts = field(default_factory=KernelFacts)
    layers: typing.Annotated[tuple[LayerFacts, ...], ITEMS] = ()
    steps: typing.Annotated[tuple[StepFacts, ...], ITEMS] = ()
    events: typing.Annotated[tuple[AgentEvent, ...], 1000] = ()
    fault: Fault | None = None
    guest_accel: str = ""
    tools: tuple[tuple[str, str], ...] = ()  # versions inside the VM: qemu, lvm, python
    elapsed: Seconds = 0.0
    later_kernels: typing.Annotated[
        tuple[KernelFacts, ...], ITEMS
    ] = ()  # of each further boot, where there are several
    schema: int = SCHEMA

    @property
    def tested(self) -> KernelFacts:
        """The kernel under test; empty where the trial boots several and that one never ran."""
        ran = (self.kernel, *self.later_kernels)
        return next((kernel for kernel in ran if kernel.whose in ("", CANDIDATE)), KernelFacts())

    def step(self, name: str) -> StepFacts | None:
        """The facts of the step called ``name``, or None when it was never reached."""
        return next((step for step in self.steps if step.name == name), None)

    def layer(self, name: str) -> LayerFacts | None:
        """The facts of the layer called ``name``, or None when it was never built."""
        return next((layer for layer in self.layers if layer.name == name), None)


MARKER = "bisector"


def marker(token: str, *words: str) -> str:
    """A line that the agent puts on the console; the same words give the same line on both sides of the wall.

    Words are ``begin``, ``storage``, ``step NAME begin``, ``step NAME end``, ``guest WATCH LINE``, ``end``; where the
    trial boots several kernels ``boot WHOSE`` (from outside of the VM) and ``up`` (a further boot has its agent).
    """
    return " ".join((MARKER, token, *words))
