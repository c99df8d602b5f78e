# SPDX-License-Identifier: GPL-2.0-only
"""doctor and cache: this host, and what lies on it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bisector.cli.helpers import load_recipe, open_store, print_object, terminal_of
from bisector.cli.options import JsonOption
from bisector.errors import UsageError
from bisector.exitcodes import ExitCode

commands = typer.Typer()


@commands.command()
def doctor(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Check for what this recipe needs.")] = "",
    as_json: JsonOption = False,
) -> None:
    """What this host lacks, with the command that installs it."""
    from bisector import doctor
    from bisector.system.xdg import folders

    loaded = load_recipe(recipe, None)[0] if recipe else None
    findings = doctor.examine(loaded, folders(os.environ), os.environ)
    terminal = terminal_of(context)
    if as_json:
        print_object(terminal, "doctor", [vars(finding) for finding in findings])
    else:
        terminal.write(doctor.as_text(findings))
    raise typer.Exit(ExitCode.INFRA if any(finding.needed and not finding.ok for finding in findings) else ExitCode.OK)


@commands.command()
def cache(
    context: typer.Context,
    prune: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Remove images and packages, longest unused first, down to SIZE (10G)."),
    ] = "",
    forget_failures: Annotated[
        bool, typer.Option("--forget-failures", help="Forget what could not be built: it is tried again when needed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """What the cache holds, and freeing space in it."""
    from bisector import cache as contents
    from bisector.recipe.values import size
    from bisector.system.xdg import folders

    places, terminal = folders(os.environ), terminal_of(context)
    if forget_failures:
        forgotten = contents.forget_failures(places, open_store(context))
        if as_json:
            print_object(terminal, "cache", {"forgotten": forgotten})
        else:
            terminal.write(f"forgot {forgotten} {'failure' if forgotten == 1 else 'failures'} to build\n")
        return
    if not prune:
        sizes, entries = contents.sizes(places), contents.entries(places)
        if as_json:
            listed = [{"part": e.part, "path": str(e.path), "size": e.size, "used": e.used} for e in entries]
            print_object(terminal, "cache", {"sizes": sizes, "entries": listed})
        else:
            terminal.write(contents.as_text(sizes, entries, places.cache))
        return
    try:
        limit = 0 if prune == "0" else size(int(prune) if prune.isdecimal() else prune)
    except ValueError:
        raise UsageError(f"--prune {prune} is not a size", hint="write 500M, 10G, or 0 to remove all") from None
    done = contents.prune(places, open_store(context), limit)
    if as_json:
        print_object(terminal, "cache", {"removed": [str(entry.path) for entry in done.removed], "left": done.left})
    else:
        terminal.write(contents.pruned_text(done))


@commands.command("cluster-worker", hidden=True)
def cluster_worker() -> None:
    """Be a worker of the campaign at the other end of stdin and stdout (bisector/execute/served.py)."""
    import json
    import sys
    from typing import Any

    from bisector.execute.served import serve

    def say(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    serve(os.environ, sys.stdin.fileno(), say)
