# SPDX-License-Identifier: GPL-2.0-only
"""nightly: one night's work against linux-next or a stable review, for a timer or a CI job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bisector.cli.helpers import Slots, open_session, print_object, terminal_of
from bisector.cli.options import (
    AUTO,
    CPUS,
    AheadOption,
    BuildAllOption,
    ClusterOption,
    EventsOption,
    JobsOption,
    JsonOption,
    NoSandboxOption,
    TrialsAtOnceOption,
)

commands = typer.Typer()


@commands.command()
def nightly(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The file of the watch, see docs/nightly.md.")],
    check: Annotated[bool, typer.Option("--check", help="Check the file and its recipes, and run nothing.")] = False,
    jobs: JobsOption = CPUS,
    trials_at_once: TrialsAtOnceOption = AUTO,
    ahead: AheadOption = None,
    build_all: BuildAllOption = False,
    cluster: ClusterOption = "",
    no_sandbox: NoSandboxOption = False,
    events: EventsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the newest linux-next, or a stable review, with recipes.

    Exit code 0: nothing new; 1: a new regression; 3: the harness failed.
    """
    from bisector.events import watched
    from bisector.nightly import config as grammar
    from bisector.nightly import night, summary

    watch, terminal = grammar.load(config), terminal_of(context)
    if check:
        checked = {"ok": True, "recipes": [{"recipe": each.name, "cells": len(each.wanted)} for each in watch.items]}
        lines = "".join(f"{each.name}: {len(each.wanted)} cells\n" for each in watch.items)
        if as_json:
            print_object(terminal, "check", checked)
        else:
            terminal.write(lines)
        return
    recipes = [each.recipe for each in watch.items]
    with (
        watched(events, "nightly", watch=watch.name) as log,
        open_session(
            context, jobs, log, recipes, Slots(trials_at_once, ahead, cluster, build_all), no_sandbox=no_sandbox
        ) as session,
    ):
        terminal.names_recipes = session.trials_at_once > 1
        report = night.run(watch, session)
        code = log.exit_code = report.exit_code
    if as_json:
        terminal.write(summary.document(report.night, report.regressions, int(code), nothing=report.nothing))
    elif report.nothing:
        terminal.write(summary.nothing_text(report.night))
    else:
        terminal.write(summary.text(report.night, report.regressions))
        terminal.say(f"summaries are in {watch.out}, {watch.out / 'index.html'} shows them all")
    raise typer.Exit(code)
