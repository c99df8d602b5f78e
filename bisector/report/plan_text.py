# SPDX-License-Identifier: GPL-2.0-only
"""``bisector show``: the recipe as resolved, its cells, and what a trial of each would run. Pure."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from bisector.agent.plan import Plan
from bisector.model import Cell, Image
from bisector.recipe.matrix import apply, cells, controls
from bisector.recipe.model import Recipe
from bisector.recipe.plan import build_config, plan_for
from bisector.target.make import Make
from bisector.trial.vng import Places, arguments


def as_object(recipe: Recipe, source: str) -> dict[str, object]:
    """For --json: recipe, config, commands of the build, and per cell its plan and the command of its VM."""
    every = (*cells(recipe), *controls(recipe))
    return {
        "recipe": source,
        "config": list(_config(recipe, every)),
        "build": list(_build(recipe, every)),
        "cells": [_cell(recipe, cell) for cell in every],
    }


def as_text(recipe: Recipe, source: str) -> str:
    """For people: the same, with the resolved recipe first."""
    every = (*cells(recipe), *controls(recipe))
    lines = [source.rstrip(), "", "# config fragments: " + ", ".join(_config(recipe, every)), "", "# build:"]
    lines += ["#   " + command for command in _build(recipe, every)]
    for cell in every:
        expect = f" (control, must be {cell.expect})" if cell.expect else ""
        lines += ["", f"# cell {cell.name or '(the recipe as it is)'}{expect}"]
        if cell.not_applicable:
            lines.append(f"#   not applicable: {cell.not_applicable}")
            continue
        plan = plan_for(apply(recipe, cell), cell)
        lines += [f"#   layer {_layer(layer)}" for layer in plan.layers]
        lines += [f"#   step {step.name}: {step.verb} {' '.join(step.objects or step.argv)}" for step in plan.steps]
        if plan.vm:
            lines.append("#   " + _command(plan))
    return "\n".join(lines) + "\n"


def _layer(layer: object) -> str:
    values = dataclasses.asdict(layer)  # type: ignore[call-overload]
    return " ".join(f"{name}={value}" for name, value in values.items() if value)


def _cell(recipe: Recipe, cell: Cell) -> dict[str, object]:
    if cell.not_applicable:
        return {"name": cell.name, "not_applicable": cell.not_applicable}
    plan = plan_for(apply(recipe, cell), cell)
    command = _command(plan) if plan.vm else ""
    return {"name": cell.name, "expect": cell.expect, "plan": dataclasses.asdict(plan), "vm": command}


def _config(recipe: Recipe, every: tuple[Cell, ...]) -> tuple[str, ...]:
    config = build_config(recipe, every)
    return ((config.base_config,) if config.base_config else ()) + config.fragments


def _build(recipe: Recipe, every: tuple[Cell, ...]) -> tuple[str, ...]:
    make = Make(build_config(recipe, every).make)
    return tuple(
        shlex.join(make.argv(Path("TREE"), *targets)) for targets in (("olddefconfig",), (make.architecture.target,))
    )


def _command(plan: Plan) -> str:
    image = Image(identity="", kernel="IMAGE")
    return shlex.join(arguments(image, plan, Places(Path("WORK")), accel=plan.accel or "tcg"))
