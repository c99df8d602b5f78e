# SPDX-License-Identifier: GPL-2.0-only
"""Recipe and cell → what other packages take: a trial's plan, a question for its reading, a config for the build."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator

from bisector.agent import plan as agent
from bisector.errors import InfraError
from bisector.layers import table
from bisector.layers.device import DEVICES, HOTPLUG
from bisector.layers.drive import WORDS
from bisector.layers.row import Row
from bisector.model import BuildConfig, Cell, Condition, Fact, FactKind, Question
from bisector.recipe import files, matrix, patterns
from bisector.recipe.conditions import Condition as Wanted
from bisector.recipe.facts import comparison, number
from bisector.recipe.facts.table import ROWS
from bisector.recipe.model import OPERATIONS, Recipe, Step
from bisector.recipe.options import carried
from bisector.recipe.storage import Layer

DEADLINE = 120.0
"""Seconds from the agent's start for storage and a short workload under software emulation (FACTS: 12-16 s alone)."""

GUEST_START = 120.0
"""Seconds more for each start of an inner Linux guest: 52 s measured for emulation inside emulation."""


LEAKS = 60.0
"""Seconds more for a look for leaks."""

BOOT = 60.0
"""Seconds more for each further boot of the VM: 7 s measured, 45 s with the modules of a distribution's kernel."""


# ---- plan ----------------------------------------------------------------------------------------------------------


def plan_for(recipe: Recipe, cell: Cell) -> agent.Plan:
    """The plan of the recipe's trials in ``cell``, without what belongs to one trial (seed, token, accel).

    Raises:
        UsageError: the cell does not fit the recipe.
        InfraError: a file of the recipe's cannot be read any more.
    """
    recipe = matrix.apply(recipe, cell)
    try:
        own_files = files.of_workload(recipe)
    except OSError as error:
        raise InfraError(f"recipe {recipe.recipe}: {error.filename}: {error.strerror}") from None
    question = question_for(recipe)
    kept = {fact.where: ROWS[fact.kind].output for fact in question.facts if _looks_into(recipe, fact)}
    plan = agent.Plan(
        steps=tuple(_step(name, step, kept.get(name, 0)) for name, step in recipe.steps.items()),
        layers=tuple(_layer(name, layer) for name, layer in _bottom_up(recipe.storage)),
        guest=_guest(recipe),
        watches=tuple(_watches(question)),
        files=own_files,
        vm=recipe.vm is not None,
        deadline=deadline(recipe),
    )
    if recipe.vm is None:
        return plan
    return dataclasses.replace(
        plan,
        memory=recipe.vm.memory,
        cpus=recipe.vm.cpus,
        append=(*recipe.vm.append, *(["kmemleak=on"] if recipe.looks_for_leaks else [])),
        udev=recipe.needs.udev,
        leaks=recipe.looks_for_leaks,
        cgroups=tuple(sorted(set(recipe.needs.cgroups))),
        first_kernel=recipe.vm.kernel or "" if recipe.kernels_beside and not recipe.programs else "",
        icount=recipe.vm.icount,
    )


def _looks_into(recipe: Recipe, fact: Fact) -> bool:
    """Whether a fact is looked for in all that a step printed; ``output`` not in the numbers that fio gives as JSON."""
    words = fact.kind is FactKind.OUTPUT and recipe.steps[fact.where].verb == "fio"
    return ROWS[fact.kind].output > 0 and not words


def deadline(recipe: Recipe) -> float:
    """Seconds that a trial gets, from the agent's start: the recipe's own, or enough under software emulation."""
    if recipe.deadline is not None:
        return recipe.deadline
    seconds = DEADLINE + recipe.lasting
    seconds += BOOT * sum(step.ends_boot for step in recipe.steps.values())
    seconds += LEAKS * recipe.looks_for_leaks
    if recipe.guest and recipe.guest.os != "none":
        seconds += GUEST_START * sum(step.verb in ("start", "restart", "reset") for step in recipe.steps.values())
    return seconds


def _bottom_up(layers: dict[str, Layer]) -> Iterator[tuple[str, Layer]]:
    """Layers in an order in which each finds what it lies on. They have no cycle."""
    placed: set[str] = set()
    while len(placed) < len(layers):
        for name, layer in layers.items():
            if name not in placed and all(below in placed or below not in layers for below in layer.parts):
                placed.add(name)
                yield name, layer


def _layer(name: str, layer: Layer) -> agent.Layer:
    row = _row(layer)
    options = carried(row.options, layer.options or {}) | carried(row.words, layer.words)
    if layer.log:
        options["log"] = layer.log
    if layer.full:
        options["full"] = "true"
    return agent.Layer(name, layer.kind, layer.type, layer.of or (), layer.size or 0, tuple(sorted(options.items())))


def _row(layer: Layer) -> Row:
    return table.ROWS[layer.kind, layer.type]


def _guest(recipe: Recipe) -> agent.Guest | None:
    guest = recipe.guest
    if guest is None:
        return None
    drives = [
        agent.Drive(
            name,
            drive.of,
            drive.device,
            drive.aio,
            drive.cache.direct,
            _row(recipe.storage[drive.of]).format,
            drive.werror or "",
            drive.rerror or "",
            tuple(sorted(carried(WORDS, drive.words).items())),
        )
        for name, drive in guest.drives.items()
    ]
    return agent.Guest(
        os=guest.os,
        kernel=files.name_in_trial(guest.kernel or "") if recipe.vm else "",  # without a VM: the plan's
        image=files.name_in_trial(guest.image or ""),
        ready=guest.ready or "",
        drives=tuple(drives),
        passthrough=guest.passthrough,
        storage=tuple(_layer(name, layer) for name, layer in _bottom_up(guest.storage)),
        memory=guest.memory,
        accel=guest.accel,
    )


def _step(name: str, step: Step, keep: int) -> agent.Step:
    return agent.Step(
        name=name,
        verb=step.verb,
        objects=step.objects,
        where=step.suspend or step.where,
        seconds=step.seconds or 0.0,
        io=_io(step) if step.verb == "io" else None,
        argv=step.run or _job(step),
        size=step.size or 0 if step.verb != "io" else 0,
        damage=step.damage or "",
        direct=bool(step.direct),
        caches=step.caches or "",
        kill=bool(step.kill),
        to=step.to or "",
        level=step.level or "",
        boot_kernel=step.reboot.kernel or "" if step.reboot else "",
        keep=keep,
        qmp=json.dumps({"execute": next(iter(step.qmp)), "arguments": next(iter(step.qmp.values()))})
        if step.qmp
        else "",
        until=step.until or "",
        probability=1.0 if step.probability is None else step.probability,
        group=step.together or "",
        after=step.after or 0.0,
        during=step.during or "",
        by=step.by or "",
    )


def _job(step: Step) -> tuple[str, ...]:
    """Of fio: each option as a line of its job, or the name of the job file."""
    if isinstance(step.fio, str):
        return (step.fio,)
    return tuple(f"{name}={value}" for name, value in (step.fio or {}).items())


def _io(step: Step) -> agent.Io:
    operation = next((one for one in OPERATIONS if getattr(step, one)), "read")
    block = getattr(step, operation) or 0
    count = step.count if step.count is not None else (step.size or block) // block
    return agent.Io(
        operation=operation,
        block=block,
        count=count,
        direct=bool(step.direct),
        buffer_offset=step.buffer_offset or 0,
        offset=step.offset or 0,
        flush=bool(step.flush),
        sync=bool(step.sync),
        vectors=step.vectors or 0,
    )


# ---- question ------------------------------------------------------------------------------------------------------


def question_for(recipe: Recipe) -> Question:
    """What is bad and what is good, as the verdict package reads it."""
    bad = tuple(_condition(name, wanted) for name, wanted in recipe.bad_when.items())
    good = tuple(_condition(name, wanted) for name, wanted in recipe.good_when.items())
    facts = (fact for condition in bad for fact in condition.facts)
    required = (fact for fact in facts if fact.kind in number.NUMBERS and comparison.relative(fact.values))
    return Question(bad, good, tuple(required))


def _condition(name: str, wanted: Wanted) -> Condition:
    facts = [
        Fact(one.row.kind, one.where, tuple(map(_fact_value, one.expect.values)), one.expect.negate, one.name)
        for one in wanted.facts()
    ]
    return Condition(name, tuple(facts))


def _fact_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _watches(question: Question) -> Iterator[agent.Watch]:
    """A watch for each watched fact. It ends the trial where its line alone makes a trial bad."""
    for condition in (*question.bad, *question.good):
        for index, fact in enumerate(condition.facts):
            if not ROWS[fact.kind].watched:
                continue
            name = condition.watch_name(index)
            if fact.kind is FactKind.COUNT:
                yield agent.Watch(name, fact.where, fact.name, False, number.most(fact.values))
                continue
            alone = condition in question.bad and len(condition.facts) == 1 and not fact.negate
            yield agent.Watch(name, fact.where, patterns.joined(fact.values), alone)


# ---- build ---------------------------------------------------------------------------------------------------------


def build_config(recipe: Recipe, cells: Iterable[Cell]) -> BuildConfig:
    """One config for all ``cells`` (cells and controls), so that a matrix costs boots and not builds.

    Fragments that the layers need and the recipe does not name are added after its own (``added_fragments``).
    """
    kernel = recipe.target.kernel
    if kernel is None:
        return BuildConfig()
    named = [_config(recipe, name) if files.is_file(name) else name for name in kernel.config]
    base = _config(recipe, kernel.base_config) if kernel.base_config else ""
    return BuildConfig((*named, *added_fragments(recipe, cells)), base, tuple(kernel.make.items()))


def _config(recipe: Recipe, name: str) -> str:
    """Path of a config of the recipe's own. Raises InfraError when it is no file of the recipe's any more."""
    files.opened(recipe, name).close()
    return str(recipe.beside(name).resolve())


def added_fragments(recipe: Recipe, cells: Iterable[Cell]) -> tuple[str, ...]:
    """Names of the shipped fragments that the layers of ``cells`` need and that the recipe does not name, by name."""
    if recipe.target.kernel is None:
        return ()
    needed: set[str] = set()
    for cell in cells:
        if not cell.not_applicable:
            needed |= set(_needed(matrix.apply(recipe, cell)))
    return tuple(sorted(needed - set(recipe.target.kernel.config)))


def _needed(recipe: Recipe) -> Iterator[str]:
    layers = list(recipe.storage.values())
    guest = recipe.guest
    asleep = {(step.suspend, step.level) for step in recipe.steps.values() if step.suspend}
    if guest and guest.kernel:
        asleep = {(machine, level) for machine, level in asleep if machine == "vm"}
    yield from ["suspend"] if asleep else []
    yield from ["suspend-ram"] if ("guest", None) in asleep else []
    if recipe.looks_for_leaks:
        yield "kmemleak"
    yield from (f"cgroup-{name}" for name in recipe.needs.cgroups)
    if guest and guest.os == "linux" and not guest.kernel:  # then the inner kernel is the one under test
        layers += guest.storage.values()
        for drive in guest.drives.values():
            yield from DEVICES[drive.device].fragments
            yield from HOTPLUG if "hotplug" in drive.words and DEVICES[drive.device].on_port else ()
    if guest and guest.passthrough:
        yield "vfio"
    if guest and guest.accel == "kvm":
        yield "kvm"
    for layer in layers:
        yield from _row(layer).fragments_for(layer.words)


def largest_vm(recipes: Iterable[Recipe]) -> tuple[int, int]:
    """Processors and bytes of memory that a VM of these recipes has at most; 0 where none runs in one.

    Without a VM around it the guest is the machine, and has one processor.
    """
    sizes = [(recipe.vm.cpus, recipe.vm.memory) for recipe in recipes if recipe.vm]
    sizes += [(1, recipe.guest.memory) for recipe in recipes if recipe.vm is None and recipe.guest]
    return max((cpus for cpus, _ in sizes), default=0), max((memory for _, memory in sizes), default=0)
