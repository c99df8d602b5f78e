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
    typer.Option(
        "--cell", metavar="PATH=VALUE", help="Set one value of the recipe, as in steps.load.count=8; may be repeated."
    ),
]
KernelOption = Annotated[
    str,
    typer.Option(
        "--kernel", metavar="FILE|VERSION", help="Where QEMU is tested: the kernel that its VM boots, or its guest."
    ),
]
CPUS = os.cpu_count() or 1
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Jobs of a build at once (make -j).")]
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
    bool, typer.Option("--build-all", help="Build every candidate, also where no file differs that a build reads.")
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
    typer.Option(
        "--no-sandbox", help="Run what is built and tried as you, with network and all your rights; reports say so."
    ),
]
EventsOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--events", metavar="FILE", help="Append what happens to this file, one JSON object a line."),
]
PageOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--page", metavar="FILE", help="Write an HTML page here that follows the campaign."),
]
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or the start of it.")]
