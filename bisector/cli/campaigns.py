# SPDX-License-Identifier: GPL-2.0-only
"""campaigns, log and report: what past campaigns found."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bisector.cli.helpers import open_store, print_object, terminal_of
from bisector.cli.options import CampaignArgument, JsonOption
from bisector.errors import UsageError

if TYPE_CHECKING:
    from bisector.store.rows import CampaignSummary

commands = typer.Typer()


@commands.command()
def campaigns(context: typer.Context, as_json: JsonOption = False) -> None:
    """Past campaigns, oldest first."""
    terminal = terminal_of(context)
    rows = open_store(context).listed()
    if as_json:
        keep = ("id", "recipe", "repo", "good", "bad", "state", "created")
        listed = [{name: getattr(row, name) for name in keep} | {"outcome": _kind(row)} for row in rows]
        print_object(terminal, "campaigns", listed)
        return
    for row in rows:
        text = row.summary if row.kind else row.title
        lines = textwrap.wrap(text, 80, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
        terminal.write("\n".join([f"{row.id}  {_kind(row) or row.state}", *lines]) + "\n")
    if not rows:
        terminal.say("no campaigns yet: 'bisector run RECIPE --repo DIR' makes one")


def _kind(row: CampaignSummary) -> str:
    """Of its outcome, as people read it; a kind that a newer version wrote stays as it is."""
    from bisector.direction import direction  # here, because --help pays for each import
    from bisector.model import OutcomeKind

    return direction(bool(row.find_fix)).change if row.kind == OutcomeKind.CULPRIT else row.kind


@commands.command()
def log(context: typer.Context, campaign: CampaignArgument) -> None:
    """A campaign's 'git bisect log', for 'git bisect replay'."""
    store = open_store(context)
    row = store.campaign(campaign)
    if row.outcome is None or not row.outcome.bisect_log:
        raise UsageError(f"campaign {row.id} has no bisect log yet", hint="its search has not ended, or never began")
    terminal_of(context).write(row.outcome.bisect_log)


@commands.command()
def report(
    context: typer.Context,
    campaign: CampaignArgument,
    format_: Annotated[str, typer.Option("--format", help="text, json, html, junit, ktap, kcidb or mail.")] = "text",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", metavar="DIR", help="Write into this folder and print the paths."),
    ] = None,
    reply_to: Annotated[
        str, typer.Option("--reply-to", metavar="FILE|ID", help="mail: answer this mail (.eml, mbox or Message-ID).")
    ] = "",
    mbox: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--mbox", metavar="FILE", help="mail: the whole thread that is answered."),
    ] = None,
    to: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--to", metavar="ADDRESS", help="mail: one more recipient; may be repeated."),
    ] = None,
    signature: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--signature", metavar="FILE", help="mail: lines to stand below it."),
    ] = None,
    send: Annotated[
        bool, typer.Option("--send", help="mail: hand the drafts to git send-email, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="mail: with --send, do not ask.")] = False,
) -> None:
    """What a campaign found, with its evidence; a mail is a draft."""
    from bisector.cli.report_command import ReportOptions, run

    options = ReportOptions(format_, out, reply_to, mbox, tuple(to or ()), signature, send, yes)
    run(options, campaign, open_store(context), terminal_of(context), os.environ)
