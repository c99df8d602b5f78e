# SPDX-License-Identifier: GPL-2.0-only
"""``bisector show``: the recipe as resolved, its cells, and what a build and a trial of each would run.

BUILD, IMAGE, KERNEL and WORK stand for folders and files that are made for the build or the trial; "[x]" is there
where the revision or its config asks for it. Pure.
"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from bisector.agent.plan import Plan, Step
from bisector.model import Cell, Image
from bisector.recipe.matrix import apply, cells, controls
from bisector.recipe.model import Recipe
from bisector.recipe.plan import plan_for
from bisector.targets import subject_of
from bisector.trial.vng import Places, arguments


@dataclasses.dataclass(frozen=True)
class Host:
    """What of this host the commands depend on: jobs of a build, and PATH with its tools."""

    jobs: int = 1
    path: str = ""


def as_object(recipe: Recipe, source: str, host: Host) -> dict[str, object]:
    """For --json: recipe, config, commands of the build, and per cell its plan and the command of its VM."""
    every, subject = (*cells(recipe), *controls(recipe)), subject_of(recipe)
    return {
        "recipe": source,
        "config": list(subject.config(every)),
        "build": list(subject.build_commands(every, host.jobs, host.path)),
        "notes": list(subject.notes(every)),
        "cells": [_cell(recipe, cell) for cell in every],
    }


def as_text(recipe: Recipe, source: str, host: Host) -> str:
    """For people: the same, with the resolved recipe first."""
    every, subject = (*cells(recipe), *controls(recipe)), subject_of(recipe)
    lines = [source.rstrip(), ""]
    if config := subject.config(every):
        lines += ["# config fragments: " + ", ".join(config), ""]
    commands = subject.build_commands(every, host.jobs, host.path)
    lines += ["# build of a revision:", *(f"#   {command}" for command in commands)]
    lines += [f"# {note}" for note in subject.notes(every)]
    for cell in every:
        expect = f" (control, must be {cell.expect})" if cell.expect else ""
        lines += ["", f"# cell {cell.name or '(the recipe as it is)'}{expect}"]
        if cell.not_applicable:
            lines.append(f"#   not applicable: {cell.not_applicable}")
            continue
        plan = plan_for(apply(recipe, cell), cell)
        lines += [f"#   layer {_layer(layer)}" for layer in plan.layers]
        lines += [f"#   step {step.name}{_beside(step)}: {step.verb} {_what(step)}" for step in plan.steps]
        lines.append("#   " + _command(recipe, plan))
    return "\n".join(lines) + "\n"


def _beside(step: Step) -> str:
    """With which steps it runs at once."""
    return f" (beside the others of {step.group})" if step.group else ""


def _what(step: Step) -> str:
    """What a step works on, or the program or command that it gives."""
    lasts = f" while {step.during}" if step.during else ""
    if step.qmp:
        return step.qmp + (f" until {step.until}" if step.until else "") + lasts
    return " ".join(step.objects or step.argv) + lasts


def _layer(layer: object) -> str:
    values = dataclasses.asdict(layer)  # type: ignore[call-overload]
    return " ".join(f"{name}={_shown(value)}" for name, value in values.items() if value)


def _shown(value: object) -> str:
    """``a,b`` of several, ``name=value`` of a pair among them; words of one value stand on lines in the plan."""
    if not isinstance(value, tuple):
        return " ".join(str(value).splitlines())
    return ",".join("=".join(map(_shown, one)) if isinstance(one, tuple) else _shown(one) for one in value)


def _cell(recipe: Recipe, cell: Cell) -> dict[str, object]:
    if cell.not_applicable:
        return {"name": cell.name, "not_applicable": cell.not_applicable}
    plan = plan_for(apply(recipe, cell), cell)
    command = _command(recipe, plan)
    return {
        "name": cell.name,
        "expect": cell.expect or "",
        "plan": dataclasses.asdict(plan),
        "vm": command if plan.vm else "",
    }


def _command(recipe: Recipe, plan: Plan) -> str:
    """What runs one trial."""
    if not plan.vm:
        path = "PATH=IMAGE/bin:$PATH " if subject_of(recipe).programs else ""
        return f"{path}python3 -I -S WORK/s/bisector/agent/main.py WORK/s"
    programs = not subject_of(recipe).is_vm_kernel
    command = arguments(Image(identity="", kernel="KERNEL" if programs else "IMAGE"), plan, Places(Path("WORK")),
                        accel=plan.accel or "tcg")  # fmt: skip
    return shlex.join((*command, "--rodir=IMAGE=IMAGE") if programs else command)
