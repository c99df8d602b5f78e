# SPDX-License-Identifier: GPL-2.0-only
"""The programs that a recipe's own steps start: ``run:``, ``fio:``, and the interpreters of own scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from bisector.recipe.model import Recipe

_FIRST_LINE = 256  # bytes of it that the kernel reads (BINPRM_BUF_SIZE)


@dataclass(frozen=True)
class StepProgram:
    """A program that a step needs. ``script``: the recipe's own file that it interprets, "" when the step names it.

    ``step`` is "" of one that ``needs:`` names.
    """

    name: str
    step: str
    script: str = ""
    in_guest: bool = False


def of_steps(recipe: Recipe) -> Iterator[StepProgram]:
    """What ``needs:`` names, then in the order of the steps; ``recipe`` has a cell's overrides applied."""
    yield from (StepProgram(name, "") for name in recipe.needs.programs)
    for step_name, step in recipe.steps.items():
        if step.fio:
            yield StepProgram("fio", step_name)
        if step.write_zeroes and step.where == "guest":
            yield StepProgram("fallocate", step_name)  # it is packed into the guest (agent/machine.py, ZEROER)
        if not step.run:
            continue
        first, in_guest = step.run[0], step.where == "guest"
        if first.startswith("./"):
            for name in interpreters(recipe.beside(first)):
                yield StepProgram(name, step_name, first, in_guest)
        elif "{" not in first:  # else a layer's path, which is not there yet
            yield StepProgram(first, step_name, "", in_guest)


def interpreters(script: Path) -> tuple[str, ...]:
    """What the first line of ``script`` starts; none for a program of its own. Of env, env and what it looks up."""
    try:
        with script.open("rb") as file:
            line = file.readline(_FIRST_LINE)
    except OSError:
        return ()
    words = line.decode(errors="replace").removeprefix("#!").split() if line.startswith(b"#!") else []
    if words and PurePath(words[0]).name == "env":
        wanted = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        return (words[0], *wanted[:1])
    return tuple(words[:1])
