# SPDX-License-Identifier: GPL-2.0-only
"""The application: options before the command, the commands, and exceptions turned into exit codes."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.main import get_command

from bisector import __version__
from bisector.cli import campaigns, host, new, nightly, packs, recipes, search
from bisector.cli.helpers import Common
from bisector.cli.process import NO_ROOM, drop_stdout, open_streams, stopped_by_signals
from bisector.errors import BisectorError, InfraError, UsageError
from bisector.exitcodes import ExitCode

_ParserError: Any = typer.BadParameter.__mro__[1]
"""What the parser of the command line raises: UsageError of click, or of the copy of click that newer typers carry."""

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a one-page recipe of a storage failure to the first bad commit, proven.",
)
for module in (search, recipes, new, campaigns, packs, nightly, host):
    app.add_typer(module.commands)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bisector {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    color: Annotated[str, typer.Option("--color", help="auto, always or never.")] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if color not in ("auto", "always", "never"):
        raise UsageError(f"--color {color}: not one of auto, always, never")
    context.obj.color, context.obj.debug = color, debug


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit code (bisector/exitcodes.py)."""
    open_streams()
    common = Common()
    with stopped_by_signals():
        code = _run(common, arguments)
        try:
            sys.stdout.flush()
        except OSError as error:
            drop_stdout()
            code = code or (ExitCode.INFRA if isinstance(error, BrokenPipeError) else _full(common, error))
    return code


@functools.cache
def _command() -> Any:
    """What the application's definitions make, once in a process: it takes longer than a short command itself."""
    return get_command(app)


def _run(common: Common, arguments: list[str] | None) -> int:
    try:
        return _command()(args=arguments, obj=common, prog_name="bisector", standalone_mode=False) or ExitCode.OK
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else ExitCode.USAGE
    except _ParserError as error:
        return _refused(common, error)
    except BisectorError as error:
        return _report_error(common, error, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has gone
        drop_stdout()
        return ExitCode.INFRA
    except OSError as error:
        return _full(common, error) if error.errno in NO_ROOM else _unexpected(common, error)
    except Exception as error:  # noqa: BLE001 (law 1: whatever goes wrong in here is the harness's, exit 3)
        return _unexpected(common, error)


def _unexpected(common: Common, error: Exception) -> int:
    what = BisectorError(f"unexpected {type(error).__name__}: {error}", hint="--debug shows where; please report it")
    return _report_error(common, what, ExitCode.INFRA)


def _full(common: Common, error: OSError) -> int:
    """Say that there is no space for what was to be written: stdout, where the error names no file."""
    drop_stdout()
    what = InfraError(
        f"{error.filename or 'stdout, or a file,'} cannot be written: {error.strerror or error}",
        hint="free space ('bisector cache' shows what we keep) and repeat the command; what was finished is stored",
    )
    return _report_error(common, what, what.exit_code)


def _refused(common: Common, error: Any) -> int:
    """Say a fault of the command line in the voice of all other errors; where there are no words at all, the help."""
    context = error.ctx
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True)
        return ExitCode.USAGE
    command = context.command_path if context is not None else "bisector"
    what = UsageError(error.format_message().rstrip("."), hint=f"'{command} --help' shows how it is used")
    return _report_error(common, what, ExitCode.USAGE)


def _report_error(common: Common, error: BisectorError, code: ExitCode) -> int:
    from bisector.terminal import Terminal

    terminal = common.terminal or Terminal(sys.stdout, sys.stderr, os.environ, common.color)
    if common.debug:
        terminal.say(traceback.format_exc())
    terminal.fail(error)
    return code
