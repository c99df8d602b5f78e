# SPDX-License-Identifier: GPL-2.0-only
"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
RepoOption = Annotated[
    Path | None, typer.Option("--repo", help="Git repository of the software under test; only read.")
]
CellOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--cell", metavar="PATH=VALUE", help="Override of the recipe, as in its matrix; may be repeated."),
]
KernelOption = Annotated[
    str,
    typer.Option(
        "--kernel", metavar="FILE|VERSION", help="What the VM (without one: the guest) boots, where QEMU is tested."
    ),
]
CPUS = os.cpu_count() or 1
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Parallel jobs of a build.")]
AUTO = "auto"
TrialsAtOnceOption = Annotated[
    str, typer.Option("--trials-at-once", metavar="N|auto", help="Trials at once; auto: by processors and memory.")
]
AheadOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--ahead", min=0, max=16, metavar="N", help="Build the next N candidates while trials run; default: if idle."
    ),
]
BuildAllOption = Annotated[
    bool, typer.Option("--build-all", help="Build also what changes nothing that an earlier build reads.")
]
ClusterOption = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Run on other hosts: ssh:HOST,HOST, ssh:FILE, or a Dask cluster: tcp://HOST:PORT, tls://HOST:PORT,"
        " local:N.",
    ),
]
NoSandboxOption = Annotated[
    bool,
    typer.Option("--no-sandbox", help="What is built and tried may read and change all that you may; reports say so."),
]
EventsOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--events", metavar="FILE", help="Append what happens to this file, a JSON object a line."),
]
PageOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--page", metavar="FILE", help="Write the HTML page here, anew as the campaign goes."),
]
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or the start of it.")]
