# SPDX-License-Identifier: GPL-2.0-only
"""The command line: parse, call, print. The one place where exceptions become exit codes.

Heavy rooms are imported inside the commands, so that ``--help`` stays quick.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bisector import __version__
from bisector.errors import BisectorError, UsageError
from bisector.exitcodes import ExitCode

if TYPE_CHECKING:
    from bisector.events import EventLog
    from bisector.model import Cell
    from bisector.recipe.model import Recipe
    from bisector.store import Store
    from bisector.terminal import Terminal
    from bisector.workbench import Workbench

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a one-page recipe of a storage failure to the first bad commit, proven.",
)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
RepoOption = Annotated[
    Path | None, typer.Option("--repo", help="Git repository of the software under test; only read.")
]
CellOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--cell", metavar="PATH=VALUE", help="Override of the recipe, as in its matrix; may be repeated."),
]
CPUS = os.cpu_count() or 1
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Parallel jobs of a build.")]
EventsOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--events", metavar="FILE", help="Append what happens to this file, a JSON object a line."),
]
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or the start of it.")]


@dataclass
class Common:
    """Options that stand before the command."""

    color: str = "auto"
    debug: bool = False
    terminal: Terminal | None = None


@app.callback()
def _common(
    context: typer.Context,
    color: Annotated[str, typer.Option("--color", help="auto, always or never.")] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if color not in ("auto", "always", "never"):
        raise UsageError(f"--color {color}: not one of auto, always, never")
    context.obj.color, context.obj.debug = color, debug
    if version:
        typer.echo(f"bisector {__version__}")
        raise typer.Exit


# ---- campaign and test ---------------------------------------------------------------------------------------------


@app.command()
def run(
    context: typer.Context,
    recipe: RecipeArgument,
    repo: RepoOption = None,
    good: Annotated[str, typer.Option(help="A revision that is good; default: the recipe's.")] = "",
    bad: Annotated[str, typer.Option(help="A revision that is bad; default: the recipe's.")] = "",
    find_fix: Annotated[
        bool, typer.Option("--find-fix", help="Look for the first good commit after a bad one.")
    ] = False,
    releases: Annotated[
        str, typer.Option(metavar="auto|only|off", help="Packaged kernels before commits; default: the recipe's.")
    ] = "",
    scan: Annotated[bool, typer.Option("--scan", help="Test every series of releases, and no commit.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Try releases again that an earlier campaign tried for the same question.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished campaign of this question.")
    ] = False,
    cell: CellOption = None,
    jobs: JobsOption = CPUS,
    events: EventsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for the first bad release, and with --repo for the first bad commit: ends, search, proof, outcome."""
    from bisector import release_campaign, slide
    from bisector.campaign import Campaign, Request
    from bisector.events import watched
    from bisector.model import OutcomeKind
    from bisector.recipe.matrix import cells

    loaded, source = _load(recipe, cell)
    good, bad = good or loaded.search.good or "", bad or loaded.search.bad or ""
    mode = _release_mode(loaded, releases, scan, repo, good, bad)
    wanted = _applicable(cells(loaded), context, cell)
    first = release_campaign.Request(
        loaded, source, good, bad, wanted, bool(cell), find_fix, scan, resume, recipe, fresh
    )
    with watched(events, "run", recipe=loaded.recipe) as log, _bench(context, jobs, log) as bench:
        try:
            if mode == "only" or repo is None:
                row, outcome = release_campaign.ReleaseCampaign(first, bench).run()
            elif mode == "auto":
                row, outcome = slide.run(first, repo, bench)
            else:
                asked = Request(loaded, source, repo, good, bad, wanted, bool(cell), find_fix, resume)
                row, outcome = Campaign(asked, bench).run()
        except BisectorError as error:
            _add_resume_line(error, context)
            raise
        log.write("outcome", campaign=row.id, kind=outcome.kind.value, summary=outcome.summary)
        _print_report(context, bench.store, row.id, as_json)
    done = outcome.kind in (OutcomeKind.CULPRIT, OutcomeKind.RANGE)
    raise typer.Exit(ExitCode.OK if done else ExitCode.UNDECIDED)


def _release_mode(recipe: Recipe, asked: str, scan: bool, repo: Path | None, good: str, bad: str) -> str:
    """auto (releases, then commits), only or off. Raises UsageError for what does not fit together."""
    if asked not in ("", "auto", "only", "off"):
        raise UsageError(f"--releases {asked}: not one of auto, only, off")
    mode = "only" if scan else asked or recipe.search.releases
    if scan and asked == "off":
        raise UsageError("--scan tests releases, and --releases off leaves them out")
    if recipe.target.kernel is None:
        mode = "off"
    if mode == "only" or (mode == "auto" and repo is None):
        return mode
    for name, revision in (("good", good), ("bad", bad)):
        if not revision:
            raise UsageError(f"no {name} end", hint=f"give --{name} REV, or write search.{name} in the recipe")
    if repo is None:
        raise UsageError("which repository?", hint="give --repo DIR, a git repository that holds both ends")
    return mode


@app.command()
def test(
    context: typer.Context,
    recipe: RecipeArgument,
    repo: RepoOption = None,
    rev: Annotated[str, typer.Option(help="The revision of --repo to try.")] = "",
    image: Annotated[Optional[Path], typer.Option(help="A kernel image or a build folder to try.")] = None,  # noqa: UP045
    package: Annotated[
        str, typer.Option(metavar="VERSION", help="A packaged kernel (6.18.9, a package version, a .deb) to try.")
    ] = "",
    trials: Annotated[int, typer.Option(min=0, help="Clean trials that make it good (0: the recipe's).")] = 0,
    cell: CellOption = None,
    controls: Annotated[bool, typer.Option("--controls", help="Run the recipe's controls too.")] = False,
    jobs: JobsOption = CPUS,
    as_json: JsonOption = False,
) -> None:
    """Reproduce on one candidate; with a matrix all its cells, as a table."""
    from bisector import reproduce
    from bisector.report import table

    loaded, source = _load(recipe, cell)
    if sum((image is not None, bool(package), repo is not None and bool(rev))) != 1:
        hint = "give one of: --repo DIR --rev REV, --package VERSION, --image PATH"
        raise UsageError("what is to be tested?", hint=hint)
    request = reproduce.Request(
        loaded, source, repo, rev, image, trials, controls, overrides=tuple(cell or ()), package=package
    )
    with _bench(context, jobs) as bench:
        answer = reproduce.run(request, bench)
    terminal = _terminal(context)
    terminal.write(table.as_json(answer) if as_json else table.as_text(answer))
    raise typer.Exit(answer.exit_code)


# ---- recipes -------------------------------------------------------------------------------------------------------


@app.command()
def check(
    context: typer.Context,
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="Recipe files or names.")],
    as_json: JsonOption = False,
) -> None:
    """Validate recipes and run nothing; every error with its line and column."""
    from bisector.errors import RecipeError
    from bisector.recipe.load import load
    from bisector.recipe.matrix import cells, controls

    terminal = _terminal(context)
    faults, good = [], []
    for name in recipes:
        try:
            loaded = load(name)
            every = (*cells(loaded), *controls(loaded))
        except RecipeError as error:
            faults += [str(diagnostic) for diagnostic in error.diagnostics]
            continue
        good.append(f"{name}: ok, {len(every)} cells and controls")
        good += [f"  not applicable: {cell.name}: {cell.not_applicable}" for cell in every if cell.not_applicable]
    if as_json:
        _write_json(terminal, "check", {"ok": not faults, "errors": faults, "notes": good})
    else:
        terminal.write("".join(line + "\n" for line in good))
        for fault in faults:
            terminal.say(fault)
    raise typer.Exit(ExitCode.INVALID if faults else ExitCode.OK)


@app.command()
def show(context: typer.Context, recipe: RecipeArgument, cell: CellOption = None, as_json: JsonOption = False) -> None:
    """The recipe as resolved, its cells, and the exact commands that a trial would run."""
    from bisector.report import plan_text

    loaded, source = _load(recipe, cell)
    terminal = _terminal(context)
    if as_json:
        _write_json(terminal, "show", plan_text.as_object(loaded, source))
    else:
        terminal.write(plan_text.as_text(loaded, source))


@app.command()
def recipes(context: typer.Context, as_json: JsonOption = False) -> None:
    """The shipped recipes."""
    from bisector.recipe.load import load
    from bisector.system import shipped

    terminal = _terminal(context)
    found = [load(path) for path in sorted(shipped.recipes().glob("*.yaml"))]
    if as_json:
        _write_json(terminal, "recipes", [{"recipe": r.recipe, "title": r.title or ""} for r in found])
    else:
        terminal.write("".join(f"{r.recipe:<28} {r.title or ''}\n" for r in found))


@app.command()
def schema(
    context: typer.Context,
    of: Annotated[str, typer.Option("--of", help="recipe, or report: what 'report --format json' prints.")] = "recipe",
) -> None:
    """The JSON Schema of recipes, for an editor; or of reports."""
    if of not in ("recipe", "report"):
        raise UsageError(f"--of {of}: not one of recipe, report")
    if of == "recipe":
        from bisector.recipe.schema import text
    else:
        from bisector.report.json_format import schema_text as text
    _terminal(context).write(text())


# ---- past campaigns ------------------------------------------------------------------------------------------------


@app.command()
def campaigns(context: typer.Context, as_json: JsonOption = False) -> None:
    """Past campaigns, oldest first."""
    terminal = _terminal(context)
    rows = _store().campaigns()
    if as_json:
        keep = ("id", "recipe", "repo", "good", "bad", "state", "created")
        listed = [{name: getattr(row, name) for name in keep} | {"outcome": _kind(row)} for row in rows]
        _write_json(terminal, "campaigns", listed)
        return
    for row in rows:
        terminal.write(f"{row.id}  {_kind(row) or row.state}  {row.outcome.summary if row.outcome else row.title}\n")
    if not rows:
        terminal.say("no campaigns yet: 'bisector run RECIPE --repo DIR' makes one")


@app.command()
def log(context: typer.Context, campaign: CampaignArgument) -> None:
    """A campaign's 'git bisect log'; 'git bisect replay' takes it."""
    store = _store()
    row = store.campaign(campaign)
    if row.outcome is None or not row.outcome.bisect_log:
        raise UsageError(f"campaign {row.id} has no bisect log yet", hint="its search has not ended, or never began")
    _terminal(context).write(row.outcome.bisect_log)


@app.command()
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
    """What a campaign found, with its evidence; as a mail it is a draft."""
    from bisector.report import command

    asked = command.Asked(format_, out, reply_to, mbox, tuple(to or ()), signature, send, yes)
    command.run(asked, campaign, _store(), _terminal(context), os.environ)


@app.command()
def doctor(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="[RECIPE]", help="Check for what this recipe needs.")] = "",
    as_json: JsonOption = False,
) -> None:
    """What this host lacks, with the command that mends it."""
    from bisector import doctor as room
    from bisector.system.xdg import folders

    loaded = _load(recipe, None)[0] if recipe else None
    findings = room.examine(loaded, folders(os.environ), os.environ)
    terminal = _terminal(context)
    if as_json:
        _write_json(terminal, "doctor", [vars(finding) for finding in findings])
    else:
        terminal.write(room.as_text(findings))
    raise typer.Exit(ExitCode.INFRA if any(finding.needed and not finding.ok for finding in findings) else ExitCode.OK)


@app.command()
def cache(
    context: typer.Context,
    prune: Annotated[
        str, typer.Option(metavar="SIZE", help="Remove the least recently used images and packages until SIZE (10G).")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """What the cache holds, and making room in it."""
    from bisector import cache as room
    from bisector.recipe.values import size
    from bisector.system.xdg import folders

    places, terminal = folders(os.environ), _terminal(context)
    if not prune:
        sizes, entries = room.sizes(places), room.entries(places)
        if as_json:
            listed = [{"part": e.part, "path": str(e.path), "size": e.size, "used": e.used} for e in entries]
            _write_json(terminal, "cache", {"sizes": sizes, "entries": listed})
        else:
            terminal.write(room.as_text(sizes, entries, places.cache))
        return
    try:
        limit = 0 if prune == "0" else size(int(prune) if prune.isdecimal() else prune)
    except ValueError:
        raise UsageError(f"--prune {prune} is not a size", hint="write 500M, 10G, or 0 to remove all") from None
    done = room.prune(places, _store(), limit)
    if as_json:
        _write_json(terminal, "cache", {"removed": [str(entry.path) for entry in done.removed], "left": done.left})
    else:
        terminal.write(room.pruned_text(done))


# ---- shared pieces -------------------------------------------------------------------------------------------------


def _terminal(context: typer.Context) -> Terminal:
    from bisector.terminal import Terminal

    common: Common = context.obj
    if common.terminal is None:
        common.terminal = Terminal(sys.stdout, sys.stderr, os.environ, common.color)
    return common.terminal


def _store() -> Store:
    from bisector.store import Store
    from bisector.system.xdg import folders

    return Store(folders(os.environ).state)


def _load(name: str, overrides: list[str] | None) -> tuple[Recipe, str]:
    from bisector.recipe.load import load
    from bisector.recipe.matrix import override
    from bisector.recipe.resolve import resolved_yaml

    loaded = load(name)
    for each in overrides or []:
        loaded = override(loaded, each)
    return loaded, resolved_yaml(loaded)


def _bench(context: typer.Context, jobs: int, log: EventLog | None = None) -> Workbench:
    """A workbench that stops cleanly on the first Ctrl-C or SIGTERM; what it tells goes to ``log`` too."""
    from bisector.system.xdg import folders
    from bisector.workbench import Setting, Workbench

    terminal = _terminal(context)
    listener = log.beside(terminal.listen) if log else terminal.listen
    bench = Workbench(Setting(folders(os.environ), dict(os.environ), listener, jobs))

    def stop(number: int, _: Any) -> None:
        bench.cancel.cancel()
        signal.signal(number, signal.default_int_handler)  # a second one ends at once
        os.write(2, b"\nstopping; what is finished is kept (again: stop at once)\n")

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return bench


def _applicable(every: tuple[Cell, ...], context: typer.Context, overrides: list[str] | None) -> tuple[Cell, ...]:
    """The cells that the software does not refuse; those are told. A cell without axis is named by its overrides."""
    terminal = _terminal(context)
    for cell in every:
        if cell.not_applicable:
            terminal.say(f"not applicable: {cell.name}: {cell.not_applicable}")
    named = ", ".join(overrides or ())
    return tuple(replace(cell, name=cell.name or named) for cell in every if not cell.not_applicable)


def _print_report(context: typer.Context, store: Store, campaign: str, as_json: bool) -> None:
    from bisector.report import facts, json_format, text

    gathered = facts.gather(store, store.campaign(campaign))
    _terminal(context).write(json_format.render(gathered) if as_json else text.render(gathered))


def _add_resume_line(error: BisectorError, context: typer.Context) -> None:
    """Every end of a campaign that keeps its state says how to go on."""
    if error.exit_code in (ExitCode.INFRA, ExitCode.INTERRUPTED):
        words = [word for word in sys.argv[1:] if word != "--resume"]
        error.hint = f"{error.hint}\ngo on with: bisector {' '.join(words)} --resume".strip()


def _kind(row: Any) -> str:
    return row.outcome.kind.value if row.outcome else ""


def _write_json(terminal: Terminal, what: str, body: object) -> None:
    terminal.write(json.dumps({"schema": f"bisector.{what}/1", what: body}, indent=2, default=str) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit code (bisector/exitcodes.py)."""
    common = Common()
    try:
        app(args=arguments, obj=common, prog_name="bisector")
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else ExitCode.USAGE
    except BisectorError as error:
        return _told(common, error, error.exit_code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of stdout has gone; nothing to flush
        return ExitCode.INFRA
    except Exception as error:  # noqa: BLE001 (law 1: whatever goes wrong in here is the harness's, exit 3)
        what = BisectorError(
            f"unexpected {type(error).__name__}: {error}", hint="--debug shows where; please report it"
        )
        return _told(common, what, ExitCode.INFRA)
    return ExitCode.OK


def _told(common: Common, error: BisectorError, code: ExitCode) -> int:
    from bisector.terminal import Terminal

    if common.debug:
        traceback.print_exc()
    terminal = common.terminal or Terminal(sys.stdout, sys.stderr, os.environ, common.color)
    terminal.fail(error)
    return code
