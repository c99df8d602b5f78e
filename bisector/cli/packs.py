# SPDX-License-Identifier: GPL-2.0-only
"""export and replay: a campaign for somebody else, and one of its trials once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bisector.cli.helpers import open_session, open_store, print_object, terminal_of
from bisector.cli.options import CPUS, CampaignArgument, EventsOption, JobsOption, JsonOption, NoSandboxOption

if TYPE_CHECKING:
    from bisector.pack.source import Source

commands = typer.Typer()


@commands.command()
def export(
    context: typer.Context,
    campaign: CampaignArgument,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", metavar="FILE", help="The file to write; default: CAMPAIGN.tar.gz here."),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Pack the kernels that were tried, with their modules.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Pack a campaign into one file, for somebody else.

    Recipe, config, commands, versions, hashes, trials, logs, outcome.
    """
    from bisector.pack import show
    from bisector.pack.export import export as write_export

    store = open_store(context)
    row = store.campaign(campaign)
    done = write_export(store, row, out or Path(f"{row.id}.tar.gz"), with_images=with_images)
    if as_json:
        print_object(terminal_of(context), "export", show.exported_object(done))
    else:
        terminal_of(context).write(show.exported_text(done))


@commands.command()
def replay(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="CAMPAIGN|FILE", help="A campaign's id, or a file of 'export'.")],
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Argument(metavar="STEP", help="The trial to repeat; left out: the list of them."),
    ] = None,
    image: Annotated[Optional[Path], typer.Option(help="Repeat it on this kernel image or build folder.")] = None,  # noqa: UP045
    repo: Annotated[Optional[Path], typer.Option(help="Build its candidate from this repository.")] = None,  # noqa: UP045
    trust: Annotated[
        bool, typer.Option("--trust", help="Let a recipe without a VM, from a FILE, run its programs on this host.")
    ] = False,
    jobs: JobsOption = CPUS,
    no_sandbox: NoSandboxOption = False,
    events: EventsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat one recorded trial, and say what differs.

    Of a campaign here, or of an exported one.
    """
    from bisector.errors import UsageError
    from bisector.events import watched
    from bisector.pack import replay as trial_again
    from bisector.pack import show

    if image and repo:
        raise UsageError("--image and --repo are two sources of one image", hint="give one of them")
    terminal = terminal_of(context)
    with _opened(context, source, step) as found:
        if step is None:
            if as_json:
                print_object(terminal, "steps", show.steps_object(found))
            else:
                terminal.write(show.steps_text(found))
            return
        found.trial(step)  # before a session is opened: a wrong number is the caller's
        about = {"source": source, "step": step}
        with (
            watched(events, "replay", **about) as log,
            open_session(context, jobs, log, no_sandbox=no_sandbox) as session,
        ):
            done = trial_again.run(trial_again.ReplayRequest(step, image, repo, trust), found, session)
            log.exit_code = done.exit_code
    terminal.write(show.replayed_json(done) if as_json else show.replayed_text(done))
    raise typer.Exit(done.exit_code)


@contextmanager
def _opened(context: typer.Context, source: str, step: int | None) -> Iterator[Source]:
    from bisector.pack.source import of_campaign, of_file

    path = Path(source)
    if path.is_file():
        with of_file(path, image_of=step) as found:
            yield found
    else:
        store = open_store(context)
        found = of_campaign(store, store.campaign(source))
        store.close()
        yield found
