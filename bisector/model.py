# SPDX-License-Identifier: GPL-2.0-only
"""The words of the project as frozen types (docs/architecture.md). Every package uses them, and they use none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bisector.agent.plan import Result
from bisector.causes import BuildStage, Cause, FailureCause, Trouble
from bisector.numbers import Numbers

# ---- candidate and image -------------------------------------------------------------------------------------------


class TargetKind(StrEnum):
    """The software under test, by where it comes from."""

    KERNEL_SOURCE = "kernel_source"
    KERNEL_PACKAGE = "kernel_package"
    GIVEN = "given"
    QEMU_SOURCE = "qemu_source"


FROM_SOURCE = (TargetKind.KERNEL_SOURCE, TargetKind.QEMU_SOURCE)
"""What is built from a commit: the revision is its id."""


class EditKind(StrEnum):
    """What an edit does with its commit."""

    FIXUP = "fixup"  # cherry-picks it where it is needed, to judge the candidate at all
    APPLY = "apply"  # cherry-picks it, to see what it changes
    REVERT = "revert"


@dataclass(frozen=True)
class Edit:
    """A change laid over a revision."""

    kind: EditKind
    commit: str  # 40 hex digits


@dataclass(frozen=True)
class Candidate:
    """What can be judged. ``revision``: 40 hex digits (source), a package version, or a path (given).

    ``config_lines``: of a .config, laid over the recipe's fragments; with them configs are a history as commits are.
    """

    target: TargetKind
    revision: str
    edits: tuple[Edit, ...] = ()
    label: str = field(default="", compare=False)  # for people: v6.18, culprit^1 ...
    config_lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = self.label or (self.revision[:12] if self.target in FROM_SOURCE else self.revision)
        edits = (f"{edit.kind} {edit.commit[:12]}" for edit in self.edits)
        return " ".join((name, *edits, *self.config_lines))


@dataclass(frozen=True)
class BuildConfig:
    """How a kernel is configured and made: ``fragments`` laid in order over ``base_config`` (or over allnoconfig).

    ``fragments`` are names of shipped fragments or paths of files; ``make`` holds variables for make (LLVM=1, CC=...).
    """

    fragments: tuple[str, ...] = ()
    base_config: str = ""
    make: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Image:
    """What is tried: a kernel that boots, or programs of QEMU. Trials are keyed by ``identity``, a hash of it."""

    identity: str
    kernel: str  # path of the kernel image, "" for an image of programs
    modules: str = ""  # folder that holds lib/modules, "" when the kernel has none
    build_id: str = ""  # GNU build id in hex, "" when the image shows none
    release: str = ""
    config: str = ""  # path of the final .config
    tools: tuple[tuple[str, str], ...] = ()  # compiler, make, host: name and version
    commands: tuple[str, ...] = ()  # the exact commands that made it
    seconds: float = 0.0
    programs: str = ""  # folder of the programs under test, "" for a kernel
    same_inputs: str = ""  # what was built, where the candidate was not: nothing it changes is read by this build
    host: str = ""  # name of the cluster's worker that built it, "" for the campaign's host

    @property
    def path(self) -> str:
        """What must be there for the image to be tried."""
        return self.programs or self.kernel


@dataclass(frozen=True)
class BuildFailure:
    """A candidate that did not become an image. It is a skip, never bad."""

    stage: BuildStage
    errors: tuple[str, ...]  # the first error lines
    log: str = ""  # path of the whole log
    seconds: float = 0.0
    cause: FailureCause = FailureCause.SOURCE

    @property
    def lasting(self) -> bool:
        """Whether another build would end the same; else a command begun later builds it again."""
        return self.cause is FailureCause.SOURCE


# ---- trial ---------------------------------------------------------------------------------------------------------


class Ending(StrEnum):
    """How a trial ended, as the harness saw it. No opinion."""

    FINISHED = "finished"  # the agent reported a complete result
    DECISIVE = "decisive"  # a decisive console line ended it
    CRASH = "crash"  # the kernel under test crashed
    DEADLINE = "deadline"  # the agent was alive and the clock ran out
    VM_GONE = "vm_gone"  # the VM ended by itself without a complete result (reset, power off)
    NO_AGENT = "no_agent"  # the VM never reached the agent
    HARNESS = "harness"  # vng or QEMU failed, the wrong kernel booted, the shared folder broke: no facts, but what
    # the console had shown by then stands
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    """Why a console line mattered."""

    WATCH = "watch"  # a condition of the recipe looks for it
    CRASH = "crash"


@dataclass(frozen=True)
class ConsoleEvent:
    """A console line that mattered. ``at``: seconds from the start of the trial.
    ``name``: of a watch the watch's, of a crash its kind (panic, oops, bug, lockup, hung)."""

    at: float
    where: str  # vm, guest
    kind: EventKind
    name: str
    text: str
    fingerprint: str = ""  # of a crash: its kind and the top functions of its trace, equal for crashes of one cause


@dataclass(frozen=True)
class Timing:
    """Where a trial's time went, in seconds."""

    boot: float = 0.0  # start to the agent's first sign
    storage: float = 0.0  # building and syncing the layers
    workload: float = 0.0  # the steps
    total: float = 0.0


@dataclass(frozen=True)
class Observation:
    """What a trial saw: facts from the agent, console events with their times. No opinion."""

    ending: Ending
    result: Result | None = None
    console: tuple[ConsoleEvent, ...] = ()
    detail: str = ""  # for ending harness/no_agent/vm_gone: what was seen, in words
    timing: Timing = Timing()
    accel: str = ""  # kvm, tcg, none
    vng: str = ""  # version of virtme-ng
    trouble: Trouble = Trouble.NONE  # for ending harness
    deadline: float = 0.0  # seconds that the agent's part was given; 0 where it was stored without
    starved: float = 0.0  # seconds for which one of its threads was ready to run and this host had no processor for it
    sandbox: str = ""  # what confined it; "" where that was not recorded
    slot: str = ""  # that it ran in, "trial 2"; "" where that was not recorded
    worker: str = ""  # name of the machine that ran it; "" for the campaign's own host


# ---- question: what is bad, what is good ---------------------------------------------------------------------------


class FactKind(StrEnum):
    """What a condition may name; recipe/facts/ has a row for each."""

    CONSOLE = "console"
    EXIT = "exit"
    OUTPUT = "output"
    ERRNO = "errno"
    HEALTH = "health"
    BLOCKS = "blocks"
    EVENT = "event"
    HANG = "hang"
    OOPS = "oops"
    SECONDS = "seconds"
    VALUE = "value"
    COUNT = "count"
    TAP = "tap"
    MADE = "made"
    LEAK = "leak"


@dataclass(frozen=True)
class Fact:
    """One fact to look for. ``where``: a step, a layer, or vm/guest. ``values`` is *one of*; ``negate`` turns it round.
    ``values`` are written as recipe/facts says; ``name``: the number's, the test's, the expression counted."""

    kind: FactKind
    where: str
    values: tuple[str, ...]
    negate: bool = False
    name: str = ""


@dataclass(frozen=True)
class Condition:
    """All facts together; its name is the signature's name: "same bug" means same condition."""

    name: str
    facts: tuple[Fact, ...]

    def watch_name(self, index: int) -> str:
        """Name of the watch that stands for the console fact ``facts[index]``."""
        return f"{self.name}/{index}"


@dataclass(frozen=True)
class Question:
    """A recipe's conditions: any one of ``bad``, else of ``good``. ``required``: numbers that a clean trial gives."""

    bad: tuple[Condition, ...]
    good: tuple[Condition, ...]
    required: tuple[Fact, ...] = ()

    @property
    def facts(self) -> Iterator[Fact]:
        """The facts of all conditions."""
        return (fact for condition in (*self.bad, *self.good) for fact in condition.facts)


@dataclass(frozen=True)
class Cell:
    """One combination of a recipe's overrides: a cell of its matrix, or a control."""

    name: str  # "guest.drives.vda.aio=native", or the control's name; "" for a recipe without matrix
    overrides: tuple[tuple[str, str], ...] = ()
    expect: Verdict | None = None  # of a control: what it has to answer
    not_applicable: str | None = None  # why the software refuses this cell; None when it runs


# ---- signal and verdict --------------------------------------------------------------------------------------------


class Signal(StrEnum):
    """An observation read against the recipe."""

    REPRODUCED = "reproduced"
    CLEAN = "clean"
    OTHER_FAILURE = "other_failure"
    INFRA = "infra"


@dataclass(frozen=True)
class Reading:
    """A signal and why. ``condition``: the matched condition's name; ``fingerprint``: of a crash that is not ours.
    ``neither``: the workload came to its end, and no condition of the recipe held, neither a bad nor a good one.
    ``awaits_control``: the VM never reached the agent, and the boot of a known-good image that says whose fault that
    is has still to come. Until then it is no evidence.
    """

    signal: Signal
    condition: str = ""
    reason: str = ""
    fingerprint: str = ""
    awaits_control: bool = False
    neither: bool = False


class Verdict(StrEnum):
    """Of a candidate, from its trials."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"
    WEAK = "weak"


@dataclass(frozen=True)
class Trial:
    """One finished trial as stored. ``stage`` says which part of the campaign it is of (ends, search, proof)."""

    number: int  # store-wide
    candidate: Candidate
    image: str  # identity
    plan: str  # identity of the question
    stage: str
    cell: str
    seed: int
    reading: Reading
    observation: Observation
    folder: str  # relative to the campaign's folder; ../CAMPAIGN/... of a trial that another campaign ran

    @property
    def taken_from(self) -> str | None:
        """Id of the campaign that ran it and from which it was taken over; None for a trial of the campaign's own."""
        above, _, rest = self.folder.partition("/")
        return rest.partition("/")[0] if above == ".." else None


@dataclass(frozen=True)
class Judgement:
    """A candidate's verdict with all that it stands on. ``harness_failures``: trials beside ``trials`` that the harness
    failed, as far as they are the candidate's."""

    candidate: Candidate
    verdict: Verdict
    reason: str
    cell: str = ""
    image: str = ""  # identity, "" when there is none
    trials: tuple[Trial, ...] = ()
    failure: BuildFailure | None = None
    plan: str = ""  # identity of the question, by which its trials are found; "" where it was stored without
    harness_failures: int = 0
    cause: Cause = Cause.NONE
    same_inputs: str = ""  # see Image

    @property
    def counts(self) -> tuple[int, int]:
        """Trials that reproduced, and conclusive trials (reproduced or clean)."""
        reproduced = sum(trial.reading.signal is Signal.REPRODUCED for trial in self.trials)
        clean = sum(trial.reading.signal is Signal.CLEAN for trial in self.trials)
        return reproduced, reproduced + clean


# ---- campaign ------------------------------------------------------------------------------------------------------


class OutcomeKind(StrEnum):
    """How a campaign ended."""

    CULPRIT = "culprit"
    RANGE = "range"
    NARROWED = "narrowed"
    ENDS_ALIKE = "ends_alike"
    UNRESOLVED = "unresolved"
    NOT_CONFIRMED = "not_confirmed"


@dataclass(frozen=True)
class Commit:
    """A commit as people know it."""

    oid: str
    subject: str
    author: str = ""
    parents: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'{self.oid[:12]} ("{self.subject}")'


@dataclass(frozen=True)
class ReleaseFacts:
    """What a search over releases found beside its verdicts. ``last`` and ``first``: the pair, the older one first."""

    last: str = ""
    first: str = ""
    series: tuple[str, ...] = ()
    candidates: int = 0
    limit: int = 0  # how many it may ask; 0 for a scan, which asks every series
    downloaded: int = 0  # bytes, by this campaign
    left_out: tuple[str, ...] = ()  # releases that cannot be had, in words
    changes: tuple[str, ...] = ()  # of a scan, in words
    tags: tuple[tuple[str, str], ...] = ()  # pairs (the older first) to search between in the source, best first
    next_command: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a campaign found, what proves it, and what was not checked (laws 3 and 6)."""

    kind: OutcomeKind
    summary: str
    culprit: Commit | None = None
    suspects: tuple[Commit, ...] = ()  # narrowed: the set; not_confirmed: the commit that was not confirmed
    good: Judgement | None = None
    bad: Judgement | None = None
    proof: tuple[Judgement, ...] = ()
    judgements: tuple[Judgement, ...] = ()  # of the search, in order
    cell: str = ""
    bisect_log: str = ""
    assumptions: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    find_fix: bool = False
    releases: ReleaseFacts | None = None
    newer_untested: bool = False  # it is not known whether a newer kernel (or QEMU) than the bad end has it fixed
    same_inputs: int = 0  # builds that were not made: another one reads the same inputs
    numbers: tuple[Numbers, ...] = ()  # of both ends, where the recipe compares with the good end's
