# SPDX-License-Identifier: GPL-2.0-only
"""The file of a nightly watch: its grammar, its loader with line and column of every fault, its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from bisector.errors import Diagnostic, RecipeError, UsageError
from bisector.execute import slots
from bisector.model import Cell, TargetKind
from bisector.nightly.trees.clone import URL
from bisector.recipe import load as recipes
from bisector.recipe.base import Base
from bisector.recipe.matrix import cells
from bisector.recipe.model import Recipe
from bisector.recipe.parse import faults_of
from bisector.recipe.plan import question_for
from bisector.recipe.resolve import resolved_yaml
from bisector.recipe.text import MAX_BYTES, Document, Fault, TextError, dotted, read
from bisector.recipe.text import Path as Keys
from bisector.recipe.values import Duration, FileName, Flag, OneOrMany, Revision, Text, duration_rules, shown, wrong
from bisector.system import files
from bisector.system.files import read_named
from bisector.targets import subject_of

MAX_RECIPES = 64
BRANCH = re.compile(r"linux-\d{1,3}\.\d{1,3}\.y")
DEFAULT_BUDGET = 8 * 3600.0  # seconds
MOST_MACHINE = 24 * 3600.0 * slots.MOST  # seconds; a day of as many slots as there may be


class _OrName:
    """In the schema too, a recipe's name alone stands for the mapping."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


MachineTime = Annotated[float, *duration_rules(MOST_MACHINE)]


class Item(Base):
    """A recipe to try every night. ``cell``: overrides as ``--cell`` takes them, which pin it to one cell."""

    recipe: Text
    cell: OneOrMany[Text] = ()


def _source(value: str) -> str:
    if value.startswith("-") or "::" in value or ("://" in value and not URL.match(value)):
        raise wrong(f"{shown(value)} is neither a folder nor a URL that git fetches over https, git, ssh or file")
    return value


def _branch(value: object) -> object:
    if isinstance(value, str) and not BRANCH.fullmatch(value):
        raise wrong(f"{shown(value)} is no branch of a stable series (linux-6.12.y)")
    return value


class Config(Base):
    """A nightly watch on a tree that is built anew again and again."""

    nightly: FileName = Field(description="Name of the watch; its memory and its lock go by it.")
    repo: Annotated[Text, BeforeValidator(lambda value: _source(value) if isinstance(value, str) else value)] = Field(
        description="A repository of that tree: a URL, or a folder (from the file's own)."
    )
    tree: Literal["linux-next", "stable-rc"] = Field(
        default="linux-next", description="What is followed: linux-next, or the review of a stable release."
    )
    branch: Annotated[Text, BeforeValidator(_branch)] | None = Field(
        default=None, description="With stable-rc: the branch of the series, linux-X.Y.y."
    )
    recipes: Annotated[
        tuple[
            Annotated[
                Item, BeforeValidator(lambda value: {"recipe": value} if isinstance(value, str) else value), _OrName()
            ],
            ...,
        ],
        Field(
            min_length=1,
            max_length=MAX_RECIPES,
            description="What to try every night: names of shipped recipes, or files beside this one.",
        ),
    ]
    good: OneOrMany[Revision] = Field(
        default=(), description="Mainline revisions known to be good, to search from when no earlier night knows one."
    )
    budget: Duration = Field(default=DEFAULT_BUDGET, description="Time for one night; what is left is done the next.")
    machine_budget: MachineTime | None = Field(
        default=None,
        description="Machine time for one night, of all builds and trials together; by default the budget is its end.",
    )
    check_fixed: Flag = Field(
        default=True, description="Before a draft is written, try the newest mainline at hand, and a fix."
    )
    out: Text = Field(description="Folder for summaries, reports and drafts (from the file's own).")


@dataclass(frozen=True)
class WatchedRecipe:
    """One recipe of a watch. ``source``: as resolved; ``wanted``: the cells that the software does not refuse."""

    recipe: Recipe
    source: str
    wanted: tuple[Cell, ...]
    pinned: bool  # the file names the cell

    @property
    def name(self) -> str:
        """The recipe's name, which is unique in a watch."""
        return self.recipe.recipe


@dataclass(frozen=True)
class Watch:
    """A watch, ready to work: every recipe of it is loaded. ``branch``: "" for linux-next."""

    name: str
    repo: str
    items: tuple[WatchedRecipe, ...]
    good: tuple[str, ...]
    budget: float  # seconds
    out: Path
    file: Path
    check_fixed: bool = True
    machine_budget: float = 0.0  # seconds; 0: no end
    tree: str = "linux-next"
    branch: str = ""


def load(file: Path) -> Watch:
    """Read and check the file of a watch, and every recipe that it names.

    Raises RecipeError with every fault found, in this file and in the recipes.
    """
    document = _document(file)
    config, faults = _parse(document.data)
    found = {Diagnostic(str(file), place.line, place.column, field, text) for place, field, text in document.faults}
    items, beside = _items(config, file.absolute().parent) if config else ((), ())
    found |= {_diagnostic(fault, document, file) for fault in (*faults, *_of_items(beside))}
    elsewhere = [each for one in beside if isinstance(one, RecipeError) for each in one.diagnostics]
    if found or elsewhere or config is None:
        own = sorted(found, key=lambda item: (item.line, item.column, item.field, item.message))
        raise RecipeError((*own, *elsewhere))
    folder = file.absolute().parent
    repo = config.repo if URL.match(config.repo) else str((folder / Path(config.repo).expanduser()).resolve())
    out = (folder / Path(config.out).expanduser()).resolve()
    return Watch(
        config.nightly, repo, items, config.good, config.budget, out, file.absolute(), config.check_fixed,
        config.machine_budget or 0.0, config.tree, config.branch or "",
    )  # fmt: skip


def schema_text() -> str:
    """The grammar as JSON Schema (draft 2020-12), as docs/nightly.schema.json has it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _document(file: Path) -> Document:
    try:
        return read(read_named(file, MAX_BYTES))
    except files.ReadError as error:
        raise RecipeError((Diagnostic(str(file), 1, 1, "", str(error)),)) from None
    except TextError as error:
        raise RecipeError((Diagnostic(str(file), error.place.line, error.place.column, "", error.message),)) from None


def _parse(data: object) -> tuple[Config | None, list[Fault]]:
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"expected a mapping at the top, found {shown(data)}"
        return None, [Fault((), f"{what}; a watch begins with 'nightly: NAME'")]
    empty = [Fault((key,), "has no value; give one or take the key out", True) for key in data if data[key] is None]
    gone = {fault.path[0] for fault in empty}
    try:
        config = Config.model_validate({key: value for key, value in data.items() if key not in gone})
        return config, [*empty, *_unfit_branch(config)]
    except ValidationError as error:
        found = faults_of(error, data, Config)
        return None, empty + [fault for fault in found if fault.path[:1] not in {one.path for one in empty}]


def _unfit_branch(config: Config) -> Iterator[Fault]:
    if config.tree == "stable-rc" and config.branch is None:
        yield Fault(("tree",), "stable-rc needs the branch of a series, as in 'branch: linux-6.12.y'")
    if config.tree != "stable-rc" and config.branch is not None:
        yield Fault(("branch",), f"has a meaning with 'tree: stable-rc' alone, and the tree is {config.tree}", True)


def _diagnostic(fault: Fault, document: Document, file: Path) -> Diagnostic:
    """The fault at its place. Parts that are not in the file (``good: a`` means ``good: [a]``) are left out."""
    path: Keys = ()
    for part in fault.path:
        if isinstance(part, str) or (*path, part) in document.values:
            path = (*path, part)
    place = document.place(path, at_key=fault.at_key)
    return Diagnostic(str(file), place.line, place.column, dotted(path), fault.message)


_Met = tuple[int, str] | RecipeError
"""What is wrong with a recipe of the list: its place in it and a message, or the faults of its own file."""


def _items(config: Config, folder: Path) -> tuple[tuple[WatchedRecipe, ...], tuple[_Met, ...]]:
    loaded: list[WatchedRecipe] = []
    met: list[_Met] = []
    names: dict[Path, str] = {}  # each file is read once, however often a watch lists it
    for index, item in enumerate(config.recipes):
        try:
            file = _file(item, folder)
        except RecipeError as error:
            met.append((index, error.diagnostics[0].message))
            continue
        if file in names:
            met.append((index, f"a second recipe named {names[file]}"))
            continue
        names[file] = file.stem
        try:
            one = _item(item, file)
        except RecipeError as error:
            met.append(error)
            continue
        except UsageError as error:
            met.append((index, error.what))
            continue
        names[file] = one.name
        wrong_with_it = _unfit(one, loaded)
        met += [(index, wrong_with_it)] if wrong_with_it else []
        loaded.append(one)
    return tuple(loaded), tuple(met)


def _file(item: Item, folder: Path) -> Path:
    beside = folder / item.recipe
    try:
        return beside if beside.is_file() else recipes.find(item.recipe)
    except OSError:  # too long for a name
        return recipes.find(item.recipe)


def _item(item: Item, file: Path) -> WatchedRecipe:
    recipe = recipes.load(file)
    for each in item.cell:
        recipe = recipes.override(recipe, each)
    named = ", ".join(item.cell)
    every = tuple(replace(cell, name=cell.name or named) for cell in cells(recipe) if not cell.not_applicable)
    return WatchedRecipe(recipe, resolved_yaml(recipe), every, bool(item.cell))


def _unfit(one: WatchedRecipe, before: list[WatchedRecipe]) -> str:
    if subject_of(one.recipe).commits is not TargetKind.KERNEL_SOURCE:
        return f"{one.name} does not test a kernel"
    if question_for(one.recipe).required:
        return f"{one.name} compares numbers with a good end's, and a night judges trees one by one; name a number"
    if one.recipe.kernels_beside:
        return f"{one.name} boots the kernel of an end of a search too, and a night judges trees one by one"
    if not one.wanted:
        return f"no cell of {one.name} can run"
    return f"a second recipe named {one.name}" if one.name in [other.name for other in before] else ""


def _of_items(met: tuple[_Met, ...]) -> Iterator[Fault]:
    for one in met:
        if not isinstance(one, RecipeError):
            yield Fault(("recipes", one[0]), one[1])
