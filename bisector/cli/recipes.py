# SPDX-License-Identifier: GPL-2.0-only
"""check, show, recipes and schema: recipes, and nothing is run."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from bisector.cli.helpers import load_recipe, print_object, terminal_of
from bisector.cli.options import CPUS, CellOption, JobsOption, JsonOption, RecipeArgument
from bisector.errors import UsageError
from bisector.exitcodes import ExitCode

if TYPE_CHECKING:
    from bisector.model import Cell
    from bisector.recipe.model import Recipe

commands = typer.Typer()


@commands.command()
def check(
    context: typer.Context,
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="Recipe files or names.")],
    as_json: JsonOption = False,
) -> None:
    """Validate recipes, try nothing; errors with line and column."""
    from bisector.errors import RecipeError
    from bisector.recipe.load import load
    from bisector.recipe.matrix import cells, controls

    terminal = terminal_of(context)
    faults, good = [], []
    for name in recipes:
        try:
            loaded = load(name)
            parts = {"cell": cells(loaded), "control": controls(loaded)}
            every = [cell for some in parts.values() for cell in some]
            lacking = _lacking(loaded, every)
        except RecipeError as error:
            faults += [str(diagnostic) for diagnostic in error.diagnostics]
            continue
        count = [f"{len(some)} {word}{'s' if len(some) > 1 else ''}" for word, some in parts.items() if some]
        good.append(f"{name}: ok, {', '.join(count)}")
        good += [f"  not applicable: {cell.name}: {cell.not_applicable}" for cell in every if cell.not_applicable]
        good += lacking
    if as_json:
        print_object(terminal, "check", {"ok": not faults, "errors": faults, "notes": good})
    else:
        terminal.write("".join(line + "\n" for line in good))
        for fault in faults:
            terminal.say(fault)
    raise typer.Exit(ExitCode.INVALID if faults else ExitCode.OK)


def _lacking(recipe: Recipe, every: list[Cell]) -> list[str]:
    """What this host lacks of what the steps start: no fault of the recipe's, and worth a word.

    Raises RecipeError for what the installed fio does not take.
    """
    from bisector.errors import RecipeError
    from bisector.recipe.load import diagnostics
    from bisector.recipe.matrix import apply
    from bisector.system.proc import Processes
    from bisector.system.xdg import folders
    from bisector.trial.fio_jobs import faults
    from bisector.trial.programs import missing

    processes = Processes(folders(os.environ).state / "processes")
    applied = [apply(recipe, cell) for cell in every if not cell.not_applicable]
    refused = [one for some in applied for one in diagnostics(some, faults(some, processes))]
    if refused:
        raise RecipeError(tuple(dict.fromkeys(refused)))
    return list(dict.fromkeys(f"  {one.what}" for some in applied for one in missing(some, os.environ, processes)))


@commands.command()
def show(
    context: typer.Context,
    recipe: RecipeArgument,
    cell: CellOption = None,
    jobs: JobsOption = CPUS,
    as_json: JsonOption = False,
) -> None:
    """The recipe as resolved, and the commands that it runs.

    Cells are shown one by one. BUILD, IMAGE, KERNEL and WORK stand for files and folders that are made for each.
    """
    from bisector.cli import plan_text

    loaded, source = load_recipe(recipe, cell)
    terminal = terminal_of(context)
    host = plan_text.Host(jobs, os.environ.get("PATH", os.defpath))
    if as_json:
        print_object(terminal, "show", plan_text.as_object(loaded, source, host))
    else:
        terminal.write(plan_text.as_text(loaded, source, host))


@commands.command()
def recipes(context: typer.Context, as_json: JsonOption = False) -> None:
    """The shipped recipes."""
    from bisector.recipe.load import load
    from bisector.system import shipped

    terminal = terminal_of(context)
    found = [load(path) for path in sorted(shipped.recipes().glob("*.yaml"))]
    if as_json:
        print_object(terminal, "recipes", [{"recipe": r.recipe, "title": r.title or ""} for r in found])
    else:
        terminal.write("".join(_listed(r.recipe, r.title or "", max(len(r.recipe) for r in found)) for r in found))


@commands.command()
def schema(
    context: typer.Context,
    of: Annotated[
        str, typer.Option("--of", help="recipe, nightly, or report: what 'report --format json' prints.")
    ] = "recipe",
) -> None:
    """The JSON Schema of recipes, watches or reports, for an editor."""
    if of not in ("recipe", "nightly", "report"):
        raise UsageError(f"--of {of}: not one of recipe, nightly, report")
    if of == "recipe":
        from bisector.recipe.schema import text
    elif of == "nightly":
        from bisector.nightly.config import schema_text as text
    else:
        from bisector.report.json_format import schema_text as text
    terminal_of(context).write(text())


def _listed(name: str, title: str, longest: int) -> str:
    """A recipe on as few lines of 80 columns as it needs."""
    lines = textwrap.wrap(title, 79 - longest) or [""]
    names = [name, *[""] * (len(lines) - 1)]
    return "".join(f"{shown:<{longest}} {line}".rstrip() + "\n" for shown, line in zip(names, lines, strict=True))
