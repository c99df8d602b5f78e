# SPDX-License-Identifier: GPL-2.0-only
"""What steps that run beside each other must agree on. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from bisector.recipe.model import Recipe, Step
from bisector.recipe.text import Fault, Path
from bisector.recipe.values import suggestion

ALONE = {
    "start": "the guest is up, or down, for all steps of a group",
    "restart": "the guest is up, or down, for all steps of a group",
    "stop": "the guest is up, or down, for all steps of a group",
    "resume": "it waits for the end of a step before it; 'qmp: cont' lets a paused guest go on",
    "corrupt": "what is damaged must lie still",
    "reboot": "the VM goes down with all steps of a group",
    "power_cut": "the VM goes down with all steps of a group",
}
"""Verbs that do not stand beside other steps, and why."""

BY_MONITOR = ("plug", "unplug")
"""Verbs on the guest's drives that QEMU's monitor does; the guest is only asked what it shows."""

CHANGES = ("fail", "remove", "add", "unplug", "plug", "stamp")
"""Verbs of which two on one object would not know of each other."""


def of_group(recipe: Recipe) -> dict[str, dict[str, Step]]:
    """Steps that run beside each other, by their group's name."""
    found: dict[str, dict[str, Step]] = {}
    for name, step in recipe.steps.items():
        if step.together:
            found.setdefault(step.together, {})[name] = step
    return found


def faults(recipe: Recipe) -> Iterator[Fault]:
    """Faults of steps whose own keys are right."""
    for name, step in recipe.steps.items():
        path: Path = ("steps", name)
        for key, given in (("while", step.during), ("after", step.after)):
            if given is not None and not step.together:
                yield Fault((*path, key), "no step runs beside this one ('together: [STEP, STEP]')", at_key=True)
        for other in ("for", "until") if step.during is not None else ():
            if getattr(step, {"for": "seconds"}.get(other, other)) is not None:
                yield Fault((*path, "while"), f"either while or {other}, not both", at_key=True)
    for steps in of_group(recipe).values():
        yield from _alone(steps)
        yield from _at_once(steps)
        yield from _while(steps)


def _alone(steps: Mapping[str, Step]) -> Iterator[Fault]:
    for name, step in steps.items():
        path: Path = ("steps", name)
        if step.verb in ALONE:
            yield Fault((*path, step.verb), f"does not stand beside other steps: {ALONE[step.verb]}", at_key=True)
        if step.kill:
            yield Fault((*path, "kill"), "what is killed would end the steps beside this one, too", at_key=True)


def _at_once(steps: Mapping[str, Step]) -> Iterator[Fault]:
    """Pairs that would be in each other's way."""
    for (first, one), (second, other) in itertools.combinations(steps.items(), 2):
        path: Path = ("steps", second)
        if one.where == other.where == "guest" and not {one.verb, other.verb} & set(BY_MONITOR):
            message = f"the guest does one step at a time, and {first} is in it; two of its programs are one 'run'"
            yield Fault((*path, "in"), message)
        if one.verb == other.verb == "suspend":
            message = f"{first} suspends at the same time, and a machine that is suspended does nothing else"
            yield Fault((*path, "suspend"), message, at_key=True)
        if one.until and one.until == other.until:
            message = f"{first} waits for {one.until} as well, and the event does not say whose it is"
            yield Fault((*path, "until"), message)
        if {one.verb, other.verb} == {"stamp", "verify"}:
            message = "what is written at the same time cannot be verified; verify it in a step behind them"
            yield Fault((*path, other.verb), message, at_key=True)
        if one.verb in CHANGES and other.verb in CHANGES:
            for name in sorted({*one.objects} & {*other.objects}):
                yield Fault((*path, other.verb), f"{first} changes {name} at the same time")


def _while(steps: Mapping[str, Step]) -> Iterator[Fault]:
    for name, step in steps.items():
        path: Path = ("steps", name, "while")
        if step.during is None:
            continue
        others = [other for other in steps if other != name]
        if step.during not in others:
            yield Fault(path, f"no step {step.during!r} beside this one{suggestion(step.during, others)}")
        elif (waits := steps[step.during].during) is not None:
            yield Fault(path, f"{step.during} itself goes on while {waits} does; name that one")
