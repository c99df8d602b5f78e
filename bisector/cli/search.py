# SPDX-License-Identifier: GPL-2.0-only
"""run and test: the commands that build and boot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bisector.cli.estimates import print_estimate
from bisector.cli.helpers import (
    Slots,
    add_resume_line,
    applicable,
    load_recipe,
    open_session,
    print_report,
    terminal_of,
)
from bisector.cli.options import (
    AUTO,
    CPUS,
    AheadOption,
    BuildAllOption,
    CellOption,
    ClusterOption,
    EventsOption,
    JobsOption,
    JsonOption,
    KernelOption,
    NoSandboxOption,
    PageOption,
    RecipeArgument,
    RepoOption,
    TrialsAtOnceOption,
)
from bisector.errors import BisectorError, UsageError
from bisector.exitcodes import ExitCode

if TYPE_CHECKING:
    from bisector.campaign.releases import ReleaseRequest
    from bisector.events import EventLog
    from bisector.model import Outcome
    from bisector.recipe.model import Recipe
    from bisector.session import Session
    from bisector.store import CampaignRow
    from bisector.targets import Subject

commands = typer.Typer()

NOTHING_GIVEN = "give one of: --repo DIR --rev REV, --package VERSION, --image PATH"

OTHER_KERNEL = (
    "For a recipe that also boots the {} end's kernel: which one, a packaged version, an image, or with --repo a"
    " revision; default: the recipe's."
)

TrialsOption = Annotated[
    int, typer.Option(min=0, help="Trials of each cell at most; all clean: it is good (0: the recipe's).")
]

GoodOption = Annotated[str, typer.Option(help="A revision that is good; default: the recipe's.")]
BadOption = Annotated[str, typer.Option(help="A revision that is bad; default: the recipe's.")]
FindFixOption = Annotated[bool, typer.Option("--find-fix", help="Look for the first good commit after a bad one.")]
ReleasesOption = Annotated[
    str,
    typer.Option(
        metavar="auto|only|off",
        help="Packaged kernels, then commits; packaged kernels only; commits only. Default: the recipe's.",
    ),
]
ScanOption = Annotated[bool, typer.Option("--scan", help="Test packaged kernels of every series, and no commits.")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Try releases again that an earlier campaign tried for the same question.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the newest unfinished campaign of this question.")
]
OnOption = Annotated[
    str, typer.Option(metavar="FINGERPRINT", help="Search for another crash, one that a campaign's report lists.")
]
EstimateOption = Annotated[
    bool, typer.Option("--estimate", help="Say what the search would take, by what this host has measured, and end.")
]
CheckFixedOption = Annotated[
    bool,
    typer.Option("--check-fixed", help="After the outcome try the newest mainline in --repo, and a fix that is there."),
]


@commands.command()
def run(
    context: typer.Context,
    recipe: RecipeArgument,
    repo: RepoOption = None,
    good: GoodOption = "",
    bad: BadOption = "",
    find_fix: FindFixOption = False,
    releases: ReleasesOption = "",
    scan: ScanOption = False,
    fresh: FreshOption = False,
    resume: ResumeOption = False,
    cell: CellOption = None,
    kernel: KernelOption = "",
    on: OnOption = "",
    check_fixed: CheckFixedOption = False,
    jobs: JobsOption = CPUS,
    trials_at_once: TrialsAtOnceOption = AUTO,
    ahead: AheadOption = None,
    cluster: ClusterOption = "",
    build_all: BuildAllOption = False,
    no_sandbox: NoSandboxOption = False,
    events: EventsOption = None,
    page: PageOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for the first bad release, or commit (with --repo).

    Ends, search, proof, outcome: progress on stderr, the outcome on stdout."""
    from bisector.campaign.releases import ReleaseRequest
    from bisector.direction import direction
    from bisector.events import watched

    loaded, source = _recipe_of(recipe, cell, kernel, on)
    good, bad = good or loaded.search.good or "", bad or loaded.search.bad or ""
    mode, way = _release_mode(loaded, releases, scan, repo, good, bad), direction(find_fix)
    cells = applicable(loaded, context, cell)
    first = ReleaseRequest(loaded, source, good, bad, cells, bool(cell), way, scan, resume, recipe, fresh)
    if estimate:
        return print_estimate(context, first, mode, repo, as_json)
    at_once = Slots(trials_at_once, ahead, cluster, build_all)
    with (
        watched(events, "run", recipe=loaded.recipe) as log,
        open_session(context, jobs, log, (loaded,), at_once, no_sandbox=no_sandbox, page=page) as session,
    ):
        row = _log_outcome(log, *_search(context, first, mode, repo, session))
        print_report(context, session.store, row.id, as_json)
        if check_fixed:
            _check_fixed(context, row, loaded, session)
    raise typer.Exit(log.exit_code)


def _recipe_of(name: str, cell: list[str] | None, kernel: str, on: str) -> tuple[Recipe, str]:
    """The recipe and its text as resolved; with ``on`` it looks for that other crash."""
    from bisector.recipe.another import on_failure
    from bisector.recipe.resolve import resolved_yaml

    loaded, source = load_recipe(name, cell, kernel)
    if not on:
        return loaded, source
    other = on_failure(loaded, on)
    return other, resolved_yaml(other)


def _log_outcome(log: EventLog, row: CampaignRow, outcome: Outcome) -> CampaignRow:
    """Write the outcome's event, and set what the command exits with; gives the row back."""
    from bisector.interfaces import Phase, Progress
    from bisector.model import OutcomeKind

    done = outcome.kind in (OutcomeKind.CULPRIT, OutcomeKind.RANGE)
    log.exit_code = ExitCode.OK if done else ExitCode.UNDECIDED
    log.listen(Progress(Phase.OUTCOME, outcome.summary, outcome=outcome, campaign=row.id, recipe=row.recipe))
    return row


def _search(
    context: typer.Context, request: ReleaseRequest, mode: str, repo: Path | None, session: Session
) -> tuple[CampaignRow, Outcome]:
    """Search releases, commits, or both: ``mode`` is auto, only or off, and ``repo`` is given unless it is only."""
    try:
        return _searched(request, mode, repo, session)
    except BisectorError as error:
        add_resume_line(error, context)
        raise


def _searched(request: ReleaseRequest, mode: str, repo: Path | None, session: Session) -> tuple[CampaignRow, Outcome]:
    from bisector.campaign import both
    from bisector.campaign.commits import CommitCampaign, CommitRequest
    from bisector.campaign.releases import ReleaseCampaign

    if mode == "only" or repo is None:
        return ReleaseCampaign(request, session).run()
    if mode == "auto":
        return both.run(request, repo, session)
    commits = CommitRequest(
        request.recipe, request.source, repo, request.good, request.bad, request.cells, request.pinned,
        request.direction, request.resume,
    )  # fmt: skip
    return CommitCampaign(commits, session).run()


def _check_fixed(context: typer.Context, row: CampaignRow, recipe: Recipe, session: Session) -> None:
    """What comes after the outcome may fail or be stopped, and the outcome stands."""
    from bisector.followup import recheck
    from bisector.mail.fixed import HINT

    terminal = terminal_of(context)
    try:
        found = recheck(row, recipe, session)
    except BisectorError as error:
        terminal.say(f"whether it is fixed already is left open, the outcome stands: {error.what}")
        return
    hints = found.fixed.hints
    for line in (*found.lines, *((HINT, *hints) if hints else ())):
        terminal.say(line)


def _release_mode(recipe: Recipe, wanted: str, scan: bool, repo: Path | None, good: str, bad: str) -> str:
    """auto (releases, then commits), only or off. Raises UsageError for what does not fit together."""
    from bisector.recipe.plan import question_for

    if wanted not in ("", "auto", "only", "off"):
        raise UsageError(f"--releases {wanted}: not one of auto, only, off")
    mode = "only" if scan else wanted or recipe.search.releases
    if scan and wanted == "off":
        raise UsageError("--scan tests releases, and --releases off leaves them out")
    if not _subject(recipe).has_releases:
        mode = "off"
    if mode != "off" and question_for(recipe).required:
        if mode == "only" or repo is None:
            raise UsageError(
                "the recipe compares numbers with the good end's, and releases are judged one by one",
                hint="search among commits (--repo DIR), or name a number in the place of a factor",
            )
        mode = "off"
    if mode == "only" or (mode == "auto" and repo is None):
        return mode
    for name, revision in (("good", good), ("bad", bad)):
        if not revision:
            raise UsageError(f"no {name} end", hint=f"give --{name} REV, or write search.{name} in the recipe")
    if repo is None:
        raise UsageError("which repository?", hint="give --repo DIR, a git repository that holds both ends")
    return mode


@commands.command()
def test(
    context: typer.Context,
    recipe: RecipeArgument,
    repo: RepoOption = None,
    rev: Annotated[str, typer.Option(help="The revision of --repo to try.")] = "",
    image: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A kernel image or a build folder to try; of QEMU, a folder with its programs."),
    ] = None,
    package: Annotated[
        str, typer.Option(metavar="VERSION", help="A packaged kernel (6.18.9, a package version, a .deb) to try.")
    ] = "",
    good: Annotated[str, typer.Option(help=OTHER_KERNEL.format("good"))] = "",
    bad: Annotated[str, typer.Option(help=OTHER_KERNEL.format("bad"))] = "",
    trials: TrialsOption = 0,
    cell: CellOption = None,
    kernel: KernelOption = "",
    controls: Annotated[bool, typer.Option("--controls", help="Run the recipe's controls too.")] = False,
    jobs: JobsOption = CPUS,
    trials_at_once: TrialsAtOnceOption = AUTO,
    cluster: ClusterOption = "",
    build_all: BuildAllOption = False,
    no_sandbox: NoSandboxOption = False,
    events: EventsOption = None,
    page: PageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a recipe on one kernel, or on one QEMU, in all its cells.

    One cell prints its verdict, several a table. A recipe for QEMU tries the installed one when nothing else is named.
    """
    from bisector.campaign import single
    from bisector.events import watched
    from bisector.report import table

    loaded, source = load_recipe(recipe, cell, kernel)
    _check_given(loaded, repo, rev, image, package)
    request = single.SingleRequest(
        loaded, source, repo, rev, image, trials, controls, overrides=tuple(cell or ()), package=package,
        good=good, bad=bad,
    )  # fmt: skip
    slots = Slots(trials_at_once, 0, cluster, build_all)
    with (
        watched(events, "test", recipe=loaded.recipe) as log,
        open_session(context, jobs, log, (loaded,), slots, no_sandbox=no_sandbox, page=page) as session,
    ):
        answer = single.run(request, session)
        log.exit_code = answer.exit_code
    terminal_of(context).write(table.as_json(answer) if as_json else table.as_text(answer))
    raise typer.Exit(answer.exit_code)


def _check_given(recipe: Recipe, repo: Path | None, rev: str, image: Path | None, package: str) -> None:
    """Raises UsageError where the command line does not name one kernel, or one QEMU, to test."""
    given = sum((image is not None, bool(package), repo is not None and bool(rev)))
    installed = repo is None and not rev and _subject(recipe).installed  # with nothing given
    if given > 1 or not (given or installed):
        raise UsageError("what is to be tested?", hint=NOTHING_GIVEN)


def _subject(recipe: Recipe) -> Subject:
    from bisector.targets import subject_of  # here, because --help pays for each import

    return subject_of(recipe)
