# SPDX-License-Identifier: GPL-2.0-only
"""``bisector show``: the recipe as resolved, its cells, and what a build and a trial of each would run.

BUILD, IMAGE, KERNEL and WORK stand for folders and files that are made for the build or the trial; "[x]" is there
where the revision or its config asks for it. Pure.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.model import Cell, Image
from bisector.recipe.matrix import apply, cells, controls
from bisector.recipe.model import Recipe
from bisector.recipe.modules import modules_for, not_applied
from bisector.recipe.plan import build_config, plan_for
from bisector.target.kernel_source import described
from bisector.target.make import Make
from bisector.target.qemu_source import ninja_of
from bisector.trial.vng import Places, arguments


@dataclasses.dataclass(frozen=True)
class Host:
    """What of this host the commands depend on: jobs of a build, and PATH with its tools."""

    jobs: int = 1
    path: str = ""


def as_object(recipe: Recipe, source: str, host: Host) -> dict[str, object]:
    """For --json: recipe, config, commands of the build, and per cell its plan and the command of its VM."""
    every = (*cells(recipe), *controls(recipe))
    return {
        "recipe": source,
        "config": list(_config(recipe, every)),
        "build": list(_build(recipe, every, host)),
        "notes": list(_notes(recipe, every)),
        "cells": [_cell(recipe, cell) for cell in every],
    }


def as_text(recipe: Recipe, source: str, host: Host) -> str:
    """For people: the same, with the resolved recipe first."""
    every = (*cells(recipe), *controls(recipe))
    lines = [source.rstrip(), ""]
    if recipe.target.kernel:
        lines += ["# config fragments: " + ", ".join(_config(recipe, every)), ""]
    lines += ["# build of a revision:", *(f"#   {command}" for command in _build(recipe, every, host))]
    lines += [f"# {note}" for note in _notes(recipe, every)]
    for cell in every:
        expect = f" (control, must be {cell.expect})" if cell.expect else ""
        lines += ["", f"# cell {cell.name or '(the recipe as it is)'}{expect}"]
        if cell.not_applicable:
            lines.append(f"#   not applicable: {cell.not_applicable}")
            continue
        plan = plan_for(apply(recipe, cell), cell)
        lines += [f"#   layer {_layer(layer)}" for layer in plan.layers]
        lines += [f"#   step {step.name}: {step.verb} {' '.join(step.objects or step.argv)}" for step in plan.steps]
        lines.append("#   " + _command(recipe, plan))
    return "\n".join(lines) + "\n"


def _layer(layer: object) -> str:
    values = dataclasses.asdict(layer)  # type: ignore[call-overload]
    return " ".join(f"{name}={value}" for name, value in values.items() if value)


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


def _config(recipe: Recipe, every: tuple[Cell, ...]) -> tuple[str, ...]:
    if recipe.target.qemu:
        return ()
    config = build_config(recipe, every)
    return ((config.base_config,) if config.base_config else ()) + config.fragments


def _build(recipe: Recipe, every: tuple[Cell, ...], host: Host) -> tuple[str, ...]:
    """The commands in the order in which they run."""
    folder = Path("BUILD")
    if recipe.target.qemu:
        return ninja_of(recipe.target.qemu.build, host.jobs, host.path).described(folder / "tree")
    config = build_config(recipe, every)
    ccache = "ccache" if shutil.which("ccache", path=host.path) else ""
    return described(Make(config.make, host.jobs, ccache), folder, base=bool(config.base_config))


def _notes(recipe: Recipe, every: tuple[Cell, ...]) -> tuple[str, ...]:
    """What else is tried than a revision, and what is not done for it."""
    if recipe.target.qemu:
        by_make = (
            "a tree without meson (to 5.1) is built by make; options that its configure does not know are left out"
        )
        others = "without --repo: the installed QEMU, or the programs in the folder of --image; nothing is built"
        return (by_make, others)
    needed = " ".join(modules_for(recipe, (cell for cell in every if not cell.not_applicable)))
    packaged = f"a packaged kernel (releases, --package): nothing is built; modules {needed}, and what they need"
    return (packaged, *not_applied(recipe))


def _command(recipe: Recipe, plan: Plan) -> str:
    """What runs one trial."""
    if not plan.vm:
        path = "PATH=IMAGE/bin:$PATH " if recipe.target.qemu else ""
        return f"{path}python3 -I -S WORK/s/bisector/agent/main.py WORK/s"
    programs = recipe.target.qemu is not None
    command = arguments(Image(identity="", kernel="KERNEL" if programs else "IMAGE"), plan, Places(Path("WORK")),
                        accel=plan.accel or "tcg")  # fmt: skip
    return shlex.join((*command, "--rodir=IMAGE=IMAGE") if programs else command)
