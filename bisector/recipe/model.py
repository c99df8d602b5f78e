# SPDX-License-Identifier: GPL-2.0-only
"""The grammar of a recipe as types. They mirror the file key by key: a fault's path in one is its path in the other.

What a single key may hold stands here; what keys must agree on stands in check.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PrivateAttr,
    StringConstraints,
)
from pydantic_core import CoreSchema

from bisector.agent.plan import lasting
from bisector.layers import arch
from bisector.model import FactKind
from bisector.recipe import together, values
from bisector.recipe.base import Base
from bisector.recipe.conditions import Condition
from bisector.recipe.fio import job as job_of_fio
from bisector.recipe.needs import Needs
from bisector.recipe.reboot import OTHER_KERNELS, RebootWord
from bisector.recipe.storage import Drive, Layer
from bisector.recipe.values import (
    Duration,
    FileName,
    Flag,
    Fraction,
    KernelOption,
    Line,
    MakeValue,
    MakeVariable,
    MaxError,
    OneOrMany,
    Pathspec,
    Revision,
    Size,
    Suite,
    Text,
    Word,
)

DEFAULT_TRIALS = 2
"""Trials per candidate of a recipe that names neither ``trials`` nor ``confidence``."""

Damage = Literal[
    "none", "zeroed", "stale", "torn", "flipped", "duplicate", "misdirected", "foreign", "xfs-metadata", "xfs-flip",
    "restored",
]  # fmt: skip
Verb = Literal[
    "start", "restart", "reset", "stop", "resume", "io", "stamp", "verify", "corrupt", "fail", "remove", "add",
    "unplug", "plug", "reboot", "power_cut", "suspend", "qmp", "fio", "run",
]  # fmt: skip
Level = Literal["freezer", "devices", "platform", "processors", "core"]
"""How far a suspend goes (Documentation/power/basic-pm-debugging.rst)."""
VERBS: tuple[Verb, ...] = get_args(Verb)
OPERATIONS = ("read", "write", "discard", "write_zeroes")  # of the verb io, each with the size of one
QEMU_PROGRAMS = ("qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon", arch.VM.qemu)

Name = Annotated[Text, StringConstraints(pattern=f"^{values.NAME}$", max_length=64)]
LayerName = Annotated[Text, StringConstraints(pattern=f"^{values.NAME}$", max_length=20)]
"""A disk is found by its serial, and NVMe, ATA and virtio-blk keep 20 characters of that."""


QmpCommand = Annotated[Text, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")]

VmMemory = Annotated[int, *values.memory_rules("128M")]
"""Of the VM: less does not hold a kernel with its agent's Python."""

GuestMemory = Annotated[int, *values.memory_rules("32M")]


# ---- target and search ---------------------------------------------------------------------------------------------


class KernelTarget(Base):
    """A kernel. ``config``: names of shipped fragments, or files (./my.config) beside the recipe."""

    config: tuple[Text, ...] = Field(min_length=1)
    base_config: Text | None = None
    make: dict[MakeVariable, MakeValue] = Field(default={})


class QemuTarget(Base):
    """A QEMU from source. ``build``: the programs that the recipe needs of it."""

    build: tuple[Text, ...] = Field(min_length=1)


class Target(Base):
    """The software under test: one of them."""

    kernel: KernelTarget | None = None
    qemu: QemuTarget | None = None


class Fixup(Base):
    """Cherry-pick ``fixed_by`` where ``broken_by`` is in and ``fixed_by`` is not."""

    broken_by: Revision
    fixed_by: Revision


class Search(Base):
    """Where to search. ``paths`` and ``first_parent`` are assumptions, and reported as such."""

    good: Revision | None = None
    bad: Revision | None = None
    paths: tuple[Pathspec, ...] = ()
    first_parent: Flag = False
    releases: Literal["auto", "only", "off"] = "auto"
    suites: tuple[Suite, ...] = Field(default=(), max_length=32)
    images: tuple[Text, ...] = ()
    fixups: tuple[Fixup, ...] = ()


class Confidence(Base):
    """``max_error``: the chance that the printed culprit is wrong."""

    max_error: MaxError


# ---- machines and storage ------------------------------------------------------------------------------------------


class Vm(Base):
    """The VM around a trial.

    ``kernel``: what it boots where QEMU is under test: a file (with a "/" in its name), or a packaged kernel by its
    version, the newest of a series by "6.12"; None: the newest package. Where a kernel is: one of OTHER_KERNELS, which
    is booted before the one under test. ``icount``: the VM's clock counts instructions.
    """

    memory: VmMemory = 2 << 30
    cpus: Annotated[int, BeforeValidator(values.count(1, 64)), Field(ge=1, le=64)] = 2
    append: tuple[KernelOption, ...] = ()
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    kernel: Revision | None = None
    icount: Flag = False


class Guest(Base):
    """The inner QEMU. ``os``: none (it opens its drives, no more), linux (our initramfs), image (what is on a disk).

    ``ready``: a regular expression for the console line at which a foreign image is up.
    """

    os: Literal["none", "linux", "image"]
    kernel: Text | None = None
    image: Text | None = None
    ready: Text | None = None
    drives: dict[LayerName, Drive] = Field(default={})
    passthrough: tuple[Text, ...] = ()
    storage: dict[LayerName, Layer] = Field(default={})
    memory: GuestMemory = 256 << 20
    accel: Literal["auto", "kvm", "tcg"] = "auto"


# ---- steps ---------------------------------------------------------------------------------------------------------


class Step(Base):
    """One step: exactly one of the verbs, with what the verb takes."""

    start: Text | None = None
    restart: Text | None = None
    reset: Text | None = None
    stop: Text | None = None
    resume: Text | None = None
    io: OneOrMany[Text] | None = None
    stamp: OneOrMany[Text] | None = None
    verify: OneOrMany[Text] | None = None
    corrupt: OneOrMany[Text] | None = None
    fail: OneOrMany[Text] | None = None
    remove: OneOrMany[Text] | None = None
    add: OneOrMany[Text] | None = None
    unplug: OneOrMany[Text] | None = None
    plug: OneOrMany[Text] | None = None
    reboot: RebootWord | None = None
    power_cut: Literal["vm"] | None = None
    suspend: Literal["vm", "guest"] | None = None
    qmp: Annotated[dict[QmpCommand, dict[str, Any]], BeforeValidator(values.qmp), Field(max_length=1)] | None = None
    fio: Annotated[dict[str, str] | Text | None, BeforeValidator(job_of_fio)] = None
    run: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    where: Literal["vm", "guest"] = Field("vm", alias="in")
    seconds: Duration | None = Field(None, alias="for")
    read: Size | None = None
    write: Size | None = None
    discard: Size | None = None
    write_zeroes: Size | None = None
    size: Size | None = None
    count: Annotated[int, BeforeValidator(values.count(1, 1_000_000_000))] | None = None
    offset: Annotated[int, BeforeValidator(lambda v: 0 if v == 0 and v is not False else values.size(v))] | None = None
    direct: Flag | None = None
    buffer_offset: Annotated[int, BeforeValidator(values.count(0, 4095))] | None = None
    flush: Flag | None = None
    sync: Flag | None = None
    vectors: Annotated[int, BeforeValidator(values.count(2, 1024))] | None = None
    caches: Literal["drop", "keep", "remount"] | None = None
    kill: Flag | None = None
    damage: Damage | None = Field(None, alias="class")
    to: Text | None = None
    level: Level | None = None
    until: Annotated[Text, StringConstraints(pattern=values.QMP_EVENT)] | None = None
    probability: Fraction | None = None
    during: Text | None = Field(None, alias="while")
    after: Duration | None = None
    by: Literal["good-end", "bad-end"] | None = None
    together: Text | None = None  # the name of its group, which stands around it in the file (together.py)

    model_config = ConfigDict(json_schema_extra=lambda schema: schema["properties"].pop("together"))

    @property
    def verb(self) -> Verb:
        """What the step does."""
        return next(verb for verb in VERBS if getattr(self, verb) is not None)

    @property
    def ends_boot(self) -> bool:
        """Whether the VM goes down in it, and is booted again."""
        return bool(self.reboot or self.power_cut or (self.kill and self.where == "vm"))

    @property
    def objects(self) -> tuple[str, ...]:
        """What it does it to: layers, drives or ``guest``; for ``run``, ``fio``, ``qmp`` and ``reboot`` nothing."""
        if self.verb in ("run", "fio", "qmp", "reboot"):
            return ()
        found = getattr(self, self.verb)
        return (found,) if isinstance(found, str) else tuple(found)


class _ListOfSteps:
    """``steps`` is a list of one-key mappings in the file (parse.py) and a mapping in the order of the list here."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        one = {**handler(schema), "minProperties": 1, "maxProperties": 1}
        inside = {"type": "array", "minItems": 2, "maxItems": together.MOST, "items": one}
        beside = {"properties": {together.WORD: inside}, "required": [together.WORD], "additionalProperties": False}
        several = {**one, "additionalProperties": {"type": "object", **beside}}
        return {"type": "array", "minItems": 1, "items": {"anyOf": [one, several]}}


def _in_file(steps: dict[str, Step]) -> list[dict[str, Any]]:
    alone = {name: step.model_copy(update={"together": None}) for name, step in steps.items()}
    return together.nested(alone, {name: step.together for name, step in steps.items() if step.together})


Steps = Annotated[dict[Name, Step], _ListOfSteps(), PlainSerializer(_in_file)]


class Control(Base):
    """Overrides under which the recipe's answer is known."""

    expect: Literal["good", "bad"]
    overrides: dict[str, Any] = Field(alias="set", min_length=1)


# ---- the recipe ----------------------------------------------------------------------------------------------------


class _OrNone:
    """In the schema too, ``none`` is the word and not an empty value."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        either = handler(schema)["anyOf"]
        return {"anyOf": [one for one in either if one.get("type") != "null"] + [{"const": "none"}]}


class Recipe(Base):
    """One recipe."""

    recipe: FileName
    title: Line | None = None
    links: tuple[Line, ...] = ()
    target: Target
    search: Search = Search()
    vm: Annotated[
        Vm | None,
        BeforeValidator(lambda value: None if value == "none" else value),
        PlainSerializer(lambda vm: "none" if vm is None else vm),
        _OrNone(),
    ] = Vm()
    needs: Needs = Needs()
    storage: dict[LayerName, Layer] = Field(default={})
    guest: Guest | None = None
    steps: Steps = Field(min_length=1)
    bad_when: dict[Name, Condition] = Field(min_length=1)
    good_when: dict[Name, Condition] = Field(min_length=1)
    matrix: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default={})
    controls: dict[Name, Control] = Field(default={})
    deadline: Duration | None = None
    trials: Annotated[int, BeforeValidator(values.count(1, 10_000))] | None = None
    confidence: Confidence | None = None

    _file: Path = PrivateAttr(default=Path("recipe.yaml"))
    _named_by_person: frozenset[str] = PrivateAttr(default=frozenset())
    _edits: dict[str, Any] = PrivateAttr(default_factory=dict)  # matrix.py: overrides → what they make of it

    @property
    def file(self) -> Path:
        """The file it was read from; the files it names lie beside it."""
        return self._file

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of QEMU that are tested; () when a kernel is."""
        return self.target.qemu.build if self.target.qemu else ()

    @property
    def other_kernel(self) -> str | None:
        """The kernel that is booted and not tested: a file, a version of packages, "" for the newest; None: none is.

        It is the VM's where there is one, and its guest's; else the guest's (``vm: none``).
        """
        if not self.programs:
            return None
        if self.vm is not None:
            return self.vm.kernel or ""
        return (self.guest.kernel or "") if self.guest and self.guest.os == "linux" else None

    @property
    def kernels_beside(self) -> tuple[str, ...]:
        """Whose kernels a trial boots beside the one under test (OTHER_KERNELS), or whose programs of QEMU do some of
        its steps; () for most recipes."""
        if self.programs:
            others = {step.by for step in self.steps.values()}
            return tuple(whose for whose in OTHER_KERNELS if whose in others)
        named = [
            self.vm.kernel if self.vm else None,
            *(step.reboot.kernel for step in self.steps.values() if step.reboot),
        ]
        return tuple(whose for whose in OTHER_KERNELS if whose in named)

    @property
    def lasting(self) -> float:
        """Seconds that its steps last by their ``for``."""
        steps = self.steps.values()
        return lasting((step.together or "", (step.seconds or 0.0) + (step.after or 0.0)) for step in steps)

    @property
    def looks_for_leaks(self) -> bool:
        """Whether a condition asks for leaks of the kernel."""
        conditions = (*self.bad_when.values(), *self.good_when.values())
        return any(fact.row.kind is FactKind.LEAK for condition in conditions for fact in condition.facts())

    @property
    def has_blocks_in_guest(self) -> bool:
        """Whether any step stamps or verifies in the inner guest."""
        return any(step.where == "guest" and step.verb in ("stamp", "verify") for step in self.steps.values())

    @property
    def named_by_person(self) -> frozenset[str]:
        """Absolute paths that the command line put into it; all others name files below the recipe's folder."""
        return self._named_by_person

    def beside(self, name: str) -> Path:
        """Where the recipe's own file ``name`` lies.

        An absolute name that the command line did not give is looked for below the recipe's folder, too: there lies the
        copy that a campaign, or an export of one, keeps of a file that somebody had named on a command line.
        """
        return Path(name) if name in self._named_by_person else self._file.parent / name.lstrip("/")

    def place_as(self, other: Recipe) -> Recipe:
        """This recipe, with its files where ``other`` has them."""
        self._file, self._named_by_person = other._file, other._named_by_person
        return self

    def __copy__(self) -> Recipe:
        """A copy, which may be changed (``model_copy``): what edits make of this one is not what they make of that."""
        copied = super().__copy__()
        copied._edits = {}
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Recipe:
        """As ``__copy__``."""
        copied = super().__deepcopy__(memo)
        copied._edits = {}
        return copied

    def __eq__(self, other: object) -> bool:
        """Two recipes are equal when they say the same, wherever they lie."""
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        """Equal recipes hash alike."""
        return hash(self.model_dump_json())
