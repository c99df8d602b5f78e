# SPDX-License-Identifier: GPL-2.0-only
"""What several commands need: the terminal, the store, a loaded recipe, a session, JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bisector.cli.options import AUTO
from bisector.cli.process import stop_in_order
from bisector.errors import BisectorError, InfraError, UsageError
from bisector.exitcodes import ExitCode

if TYPE_CHECKING:
    from bisector.events import EventLog
    from bisector.live_page import LivePage
    from bisector.model import Cell
    from bisector.recipe.model import Recipe
    from bisector.session import Session
    from bisector.store import Store
    from bisector.terminal import Terminal


@dataclass
class Common:
    """Options that stand before the command."""

    color: str = "auto"
    debug: bool = False
    terminal: Terminal | None = None


@dataclass(frozen=True)
class Slots:
    """As given on the command line. ``trials_at_once``: a number or auto; ``ahead``: builds at once that nobody needs
    yet, None: as processors are idle, or builders of the cluster; ``cluster``: where jobs run, "" for this host;
    ``build_all``: build also what has the inputs of another build."""

    trials_at_once: str = "1"
    ahead: int | None = 0
    cluster: str = ""
    build_all: bool = False


def terminal_of(context: typer.Context) -> Terminal:
    """The terminal of this call, opened at its first use."""
    from bisector.terminal import Terminal

    common: Common = context.obj
    if common.terminal is None:
        common.terminal = Terminal(sys.stdout, sys.stderr, os.environ, common.color)
    return common.terminal


def open_store(context: typer.Context) -> Store:
    """The database of campaigns in the state folder."""
    from bisector.store import Store
    from bisector.system.xdg import folders

    place = folders(os.environ).state
    _tighten(terminal_of(context), place)
    return Store(place)


def _tighten(terminal: Terminal, *places: Path) -> None:
    """Make our folders private, and say what was done to one that an earlier version left open."""
    from bisector.system.xdg import private

    for place in places:
        try:
            if said := private(place):
                terminal.say(f"note: {said}")
        except OSError as error:
            raise InfraError(
                f"{place} cannot be made: {error.strerror or error}",
                hint="give other folders by XDG_STATE_HOME and XDG_CACHE_HOME, or correct the rights above it",
            ) from error


def load_recipe(name: str, overrides: list[str] | None, kernel: str = "") -> tuple[Recipe, str]:
    """A recipe with its overrides, and its text as resolved. Raises RecipeError, UsageError.

    ``kernel``: what the VM (without one: the guest) boots, instead of the recipe's choice: a file, or a version of
    packages.
    """
    from bisector.recipe.load import load, override
    from bisector.recipe.resolve import resolved_yaml

    loaded = load(name)
    for each in overrides or []:
        loaded = override(loaded, each)
    if kernel:
        named = str(Path(kernel).resolve()) if "/" in kernel or Path(kernel).is_file() else kernel
        if loaded.vm is None and not loaded.guest:
            raise UsageError("--kernel: no kernel is booted in this recipe, which has neither a VM nor a guest")
        machine = "guest" if loaded.vm is None else "vm"
        loaded = override(loaded, f"{machine}.kernel={json.dumps(named)}")
    return loaded, resolved_yaml(loaded)


def open_session(
    context: typer.Context,
    jobs: int,
    log: EventLog | None = None,
    recipes: Sequence[Recipe] = (),
    slots: Slots = Slots(),
    *,
    no_sandbox: bool = False,
    page: Path | None = None,
) -> Session:
    """A session that stops in order on the first Ctrl-C, SIGTERM, SIGHUP or SIGQUIT.

    Its events go to ``log`` too.
    ``recipes``: what it will try; ``slots``: where it runs, and how much at once.
    ``no_sandbox``: what is built and tried runs as we do, which is said. ``page``: the file of the HTML page.
    """
    from bisector.session import Session, Setting
    from bisector.system.sandbox import CONFINED, NOTE, UNCONFINED
    from bisector.system.xdg import folders

    terminal = terminal_of(context)
    listener = log.beside(terminal.listen) if log else terminal.listen
    shown = _live_page(page, terminal) if page else None
    listener = shown.beside(listener) if shown else listener
    places = folders(os.environ)
    _tighten(terminal, places.state, places.cache)
    sandbox = UNCONFINED if no_sandbox else CONFINED
    trials, ahead = trial_slots(slots.trials_at_once, recipes), slots.ahead
    ahead = idle_builders(recipes, trials) if ahead is None and not slots.cluster else ahead
    setting = Setting(
        places, dict(os.environ), listener, jobs, sandbox, trials, ahead, slots.cluster, tuple(recipes), slots.build_all
    )
    session = Session(setting)
    if shown:
        session.before_close.enter_context(shown.of(session.store))
    if session.trials_at_once > 1:
        terminal.say(f"up to {session.trials_at_once} trials at once")
    if slots.trials_at_once == AUTO and not slots.cluster and (advice := more_at_once(trials, recipes)):
        terminal.say(advice)
    if no_sandbox:
        terminal.say(NOTE)

    stop_in_order(session.cancel.cancel)
    return session


def _live_page(path: Path, terminal: Terminal) -> LivePage:
    from bisector.live_page import LivePage

    return LivePage(path, terminal.say)


def trial_slots(given: str, recipes: Sequence[Recipe]) -> int:
    """Trials at once, from the command line's word. Raises UsageError for one that is no number."""
    from bisector.execute import slots
    from bisector.recipe.plan import largest_vm

    if given == AUTO:
        cpus, memory = largest_vm(recipes)
        return slots.automatic(cpus, memory, cpus=slots.processors(), free=slots.memory())
    if not given.isdecimal() or not 1 <= int(given) <= slots.MOST:
        raise UsageError(f"--trials-at-once {given}: a number from 1 to {slots.MOST}, or {AUTO}")
    return int(given)


def more_at_once(trials: int, recipes: Sequence[Recipe]) -> str:
    """How more trials would fit on this host: with one processor a VM, where the recipe does not say how many.

    "" where none would, or where a single trial decides.
    """
    from bisector.execute import slots
    from bisector.recipe.plan import largest_vm

    left = [each.vm for each in recipes if each.vm and each.trials != 1 and "cpus" not in each.vm.model_fields_set]
    fit = slots.automatic(1, largest_vm(recipes)[1], cpus=slots.processors(), free=slots.memory())
    if not left or len(left) < len(recipes) or fit <= trials:
        return ""
    return (
        f"{trials} at a time, as a VM has {max(vm.cpus for vm in left)} processors; a bug that is no race may be tried "
        f"by {fit} at once: vm.cpus=1 (docs/performance.md)"
    )


def idle_builders(recipes: Sequence[Recipe], trials: int) -> int:
    """Builds ahead at once: one where a processor is idle while so many VMs run."""
    from bisector.execute import slots
    from bisector.recipe.plan import largest_vm

    return int(slots.processors() > trials * largest_vm(recipes)[0])


def applicable(recipe: Recipe, context: typer.Context, overrides: list[str] | None) -> tuple[Cell, ...]:
    """The cells that the software does not refuse, the others are shown. One without axis is named by its overrides."""
    from bisector.recipe.matrix import cells

    terminal, every = terminal_of(context), cells(recipe)
    for cell in every:
        if cell.not_applicable:
            terminal.say(f"not applicable: {cell.name}: {cell.not_applicable}")
    named = ", ".join(overrides or ())
    return tuple(replace(cell, name=cell.name or named) for cell in every if not cell.not_applicable)


def print_report(context: typer.Context, store: Store, campaign: str, as_json: bool) -> None:
    """A campaign on stdout, as text or as JSON."""
    from bisector.report import facts, json_format, text

    gathered = facts.gather(store, store.campaign(campaign))
    terminal_of(context).write(json_format.render(gathered) if as_json else text.render(gathered))


def add_resume_line(error: BisectorError, context: typer.Context) -> None:
    """Every end of a campaign that keeps its state says how to go on."""
    if error.exit_code in (ExitCode.INFRA, ExitCode.INTERRUPTED):
        words = [word for word in sys.argv[1:] if word != "--resume"]
        error.hint = f"{error.hint}\ngo on with: {shlex.join(['bisector', *words, '--resume'])}".strip()


def print_object(terminal: Terminal, what: str, body: object) -> None:
    """One JSON object with the version of its schema."""
    terminal.write(json.dumps({"schema": f"bisector.{what}/1", what: body}, indent=2, default=str) + "\n")
